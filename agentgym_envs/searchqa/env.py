"""AgentGym/SearchQA-v0: answer questions by searching a corpus."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from agentgym_envs.core import TextEnv
from agentgym_envs.parsing_search import read_action
from agentgym_envs.retrieval.types import Hit, RetrievalError
from agentgym_envs.searchqa.protocol import find_protocol
from agentgym_envs.searchqa.tasks import Choice, Source, open_tasks
from agentgym_envs.searchqa.thoughts import thoughts
from agentgym_envs.searchqa.verify import verify
from agentgym_envs.seeds import seeds_of
from agentgym_envs.types import Advice, Scene, Task
from agentgym_envs.vector import TextVectorEnv

LONGEST_QUERY = 2000  # characters that are searched for; what follows is dropped
_WORD = re.compile(r"\w+")


class SearchQAEnv(TextEnv):
    """Search a corpus, read what comes back, answer.

    Actions: `<search>query</search>` and `<answer>text</answer>`, found in a response by the
    protocol's parser; an answer ends the episode. Anything else, and a blank query, is a turn that
    the protocol's correction answers. On the last turn a search is not carried out.

    data: question files or folders (see `read_questions`), or None for a generated world
    (`world_preset`, `world_seed`: one seed, or several for as many worlds). corpus: a jsonl file of
    passages; by default `corpus.jsonl` beside the questions. cache: a folder for the corpus's
    offsets file, by default beside it.
    retriever: what `open_retriever` takes ("bm25", "e5", {"kind": "http", "url": ...}, ...).
    topk: passages a search (the protocol's 3).
    split: train, dev, test, evaluate (of each set its test, else dev, else train rows) or all; a
    generated world has train and test. datasets: only these sets, or "in_domain" or
    "out_of_domain". questions: split -> at most so many, evenly over the order.
    protocol: `search_r1` or `verl_agent`: how passages are written, what counts as an action, how
    many turns there are. information_words: longest information block, in words of passages.
    verifier: em, sub_em, f1 or format (see `searchqa.verify`).
    on_retrieval_error: "raise" (RetrievalError leaves `step`: trouble is not evidence) or "observe"
    (the turn shows an error text; `info["error"]` has it too).

    Raises ValueError for a setting that is not known or a split without questions, KeyError for an
    unknown world preset, and FileNotFoundError or ValueError where files are missing or malformed.
    Questions, corpus and retriever are shared by the environments of a process and never change.

    Infos, besides those of every TextEnv: `data_source`; of the last turn `searched` (its query or
    ""), `passage_ids`, `retrieval_scores`, `action_executable` (an answer, or a search that was
    carried out) and `error`; of the episode `searches` (carried out) and `gold_found` (share of the
    gold passages met so far; None where none are known).
    """

    version: ClassVar[str] = "0"
    prompt_folder: ClassVar[str] = "agentgym_envs.searchqa:prompts"
    yardsticks: ClassVar[Mapping[str, str]] = {
        **TextEnv.yardsticks,
        "closed_book": "agentgym_envs.searchqa.yardsticks:ClosedBook",
        "one_query": "agentgym_envs.searchqa.yardsticks:OneQuery",
        "oracle": "agentgym_envs.searchqa.yardsticks:Oracle",
    }
    verify = staticmethod(verify)

    def __init__(
        self,
        *,
        data: str | Path | Sequence[str | Path] | None = None,
        corpus: str | Path | None = None,
        cache: str | Path | None = None,
        retriever: str | Mapping[str, Any] = "bm25",
        topk: int | None = None,
        world_preset: str = "small",
        world_seed: int | Sequence[int] = 0,
        split: str = "train",
        datasets: str | Sequence[str] | None = None,
        questions: Mapping[str, int] | None = None,
        protocol: str = "search_r1",
        information_words: int | None = None,
        verifier: str = "em",
        on_retrieval_error: Literal["raise", "observe"] = "raise",
        max_turns: int | None = None,
        parser: str | None = None,
        observation_mode: Literal["text", "dict"] = "text",
        reward_scale: float = 1.0,
        invalid_penalty: float = 0.0,
        info_level: Literal["public", "debug"] = "public",
        render_mode: str | None = None,
    ) -> None:
        if on_retrieval_error not in ("raise", "observe"):
            raise ValueError(f"on_retrieval_error is 'raise' or 'observe': {on_retrieval_error!r}")
        for name, size in (("topk", topk), ("information_words", information_words)):
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        rules = find_protocol(protocol)
        source = Source(
            data=_paths(data),
            corpus=None if corpus is None else str(corpus),
            cache=None if cache is None else str(cache),
            retriever=json.dumps(retriever, sort_keys=True),
            world_preset=world_preset,
            world_seeds=seeds_of(world_seed, "world_seed"),
        )
        tasks = open_tasks(
            Choice(
                source=source,
                split=split,
                datasets=(datasets,) if isinstance(datasets, str) else _tuple(datasets),
                at_most=_at_most(questions, split),
                protocol=protocol,
                verifier=verifier,
            )
        )
        super().__init__(
            tasks,
            max_turns=rules.max_turns if max_turns is None else max_turns,
            parser=rules.parser if parser is None else parser,
            observation_mode=observation_mode,
            reward_scale=reward_scale,
            invalid_penalty=invalid_penalty,
            info_level=info_level,
            render_mode=render_mode,
        )
        self._questions = tasks
        self._rules = rules
        self._topk = rules.topk if topk is None else topk
        self._max_words = information_words
        self._observe_errors = on_retrieval_error == "observe"

    def start(self, task: Task) -> Scene:
        question = self._questions.question(task.id)
        self._gold = frozenset(question.gold)
        self._met: set[str] = set()
        self._searched: list[str] = []
        return self._show(task.goal)

    def act(self, action: str) -> Scene:
        block = read_action(action)
        if block is not None and block.tag == "answer":
            return self._show("", done=True)
        query = _query(action)
        if not query:
            return self._show(self._rules.correction, executed=False)
        if self._turns_left <= 1:
            return self._show("", executed=False)
        return self._search(query)

    def advise(self) -> Advice:
        """The next of the expert's searches, while there are turns for it; then the answer."""
        *searches, answer = self.task.expert
        thought = thoughts(self._questions.question(self.task.id), [*map(_query, searches)])
        for place, search in enumerate(searches):
            if _query(search) not in self._searched and self._turns_left > 1:
                return Advice(search, thought[place])
        return Advice(answer, thought[-1])

    def wander(self, dice: np.random.Generator) -> str:
        """Search for, or answer with, a few words in a row of what was asked or read last."""
        words = _WORD.findall(self.scene.text) or _WORD.findall(self.task.goal) or ["nothing"]
        begin, length = int(dice.integers(len(words))), int(dice.integers(1, 4))
        tag = "answer" if dice.random() < 0.3 else "search"
        return f"<{tag}>{' '.join(words[begin : begin + length])}</{tag}>"

    @property
    def _turns_left(self) -> int:
        return self.max_turns - len(self.episode.turns)

    def _search(self, query: str) -> Scene:
        try:
            hits = self._questions.retriever(self.task.id).search([query], self._topk)[0]
        except RetrievalError as error:
            if not self._observe_errors:
                raise
            self._searched.append(query)
            return self._show(self._rules.failure(str(error)), query=query, error=str(error))
        self._searched.append(query)
        self._met.update(hit.passage.id for hit in hits)
        text = self._rules.information([hit.passage for hit in hits], self._max_words)
        return self._show(text, query=query, hits=hits)

    def _show(
        self,
        text: str,
        *,
        query: str = "",
        hits: Sequence[Hit] = (),
        executed: bool = True,
        error: str = "",
        done: bool = False,
    ) -> Scene:
        found = len(self._gold & self._met) / len(self._gold) if self._gold else None
        return Scene(
            text,
            done=done,
            facts={
                "searched": query,
                "passage_ids": [hit.passage.id for hit in hits],
                "retrieval_scores": [float(hit.score) for hit in hits],
                "gold_found": found,
                "searches": len(self._searched),
                "action_executable": executed,
                "error": error,
            },
        )


class SearchQAVectorEnv(TextVectorEnv):
    """Many Search-QA episodes in one process; they share questions, corpus and retriever."""

    env_type = SearchQAEnv


def _query(action: str) -> str:
    """The query of a search action, "" for any other.

    Every retriever can take it: halves of surrogate pairs and its far end are left out.
    """
    block = read_action(action)
    text = block.content if block is not None and block.tag == "search" else ""
    return text[:LONGEST_QUERY].encode("utf-8", "ignore").decode("utf-8").strip()


def _paths(data: str | Path | Sequence[str | Path] | None) -> tuple[str, ...]:
    if data is None:
        return ()
    return tuple(str(path) for path in ([data] if isinstance(data, str | Path) else data))


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _at_most(questions: Mapping[str, int] | None, split: str) -> int | None:
    count = (questions or {}).get(split)
    if count is not None and count < 1:
        raise ValueError(f"questions[{split!r}] must be at least 1, got {count}")
    return count
