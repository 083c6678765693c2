"""AgentGym/SearchQA-v0: answer questions by searching a corpus."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from agentgym_envs.core import TextEnv
from agentgym_envs.parsing_search import read_action
from agentgym_envs.retrieval.types import Hit, RetrievalError, Retriever
from agentgym_envs.searchqa.averages import aggregates
from agentgym_envs.searchqa.protocol import find_protocol
from agentgym_envs.searchqa.settings import at_most, check_size, names, source
from agentgym_envs.searchqa.tasks import Choice, open_tasks
from agentgym_envs.searchqa.thoughts import thoughts
from agentgym_envs.searchqa.verify import verify
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
    (`world_preset`: small; `world_seed`: one seed, or several for as many worlds; 0). corpus: a
    jsonl file of passages; by default `corpus.jsonl` beside the questions. cache: a folder for the
    corpus's offsets file, by default beside it.
    retriever: what `open_retriever` takes ("bm25", "e5", {"kind": "http", "url": ...}, ...), also a
    kind of your own ("package.module:make"). topk: passages a search (the protocol's 3).
    split: train, dev, test, evaluate (of each set its test, else dev, else train rows) or all; a
    generated world has train and test. datasets: only these sets, or "in_domain" or
    "out_of_domain". questions: split -> at most so many, evenly over the order.
    protocol: `search_r1` or `verl_agent`: how passages are written, what counts as an action, how
    many turns there are. information_words: longest information block, in words of passages.
    verifier: em, sub_em, f1 or format (see `searchqa.verify`), or an import path.
    on_retrieval_error: "raise" (RetrievalError leaves `step`: trouble is not evidence) or "observe"
    (the turn shows an error text; `info["error"]` has it too).

    Raises ValueError for a setting that is not known, a split that a set has not, or questions of
    another corpus; KeyError for an unknown world preset; FileNotFoundError or ValueError where
    files are missing or malformed; RetrievalError where a retriever elsewhere cannot be reached, or
    its servers do not answer alike. Questions, corpus and retriever are shared by the environments
    of a process and never change; `provenance` names them.

    Infos, besides those of every TextEnv: `data_source`; of the last turn `searched` (the query
    that was searched for, or ""), `passage_ids`, `retrieval_scores`, `action_executable` (an
    answer, or a search that was carried out) and `error`; of the episode `searches` (carried out)
    and `gold_found` of `gold_known` (gold passages met so far, and known in all).
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
    aggregates = staticmethod(aggregates)

    def __init__(
        self,
        *,
        data: str | Path | Sequence[str | Path] | None = None,
        corpus: str | Path | None = None,
        cache: str | Path | None = None,
        retriever: str | Mapping[str, Any] = "bm25",
        topk: int | None = None,
        world_preset: str | None = None,
        world_seed: int | Sequence[int] | None = None,
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
        check_size("topk", topk)
        check_size("information_words", information_words)
        rules = find_protocol(protocol)
        tasks = open_tasks(
            Choice(
                source=source(data, corpus, cache, retriever, world_preset, world_seed),
                split=split,
                datasets=names(datasets),
                at_most=at_most(questions, split),
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
        self._prepared: _Prepared | None = None
        return self._show(task.goal)

    def act(self, action: str) -> Scene:
        prepared, self._prepared = self._prepared, None
        block = read_action(action)
        if block is not None and block.tag == "answer":
            return self._show("", done=True)
        query = _query(action)
        if not query:
            return self._show(self._rules.correction, executed=False)
        if self._turns_left <= 1:
            return self._show("", executed=False)
        return self._search(query, prepared)

    @classmethod
    def prepare(cls, envs: Sequence["SearchQAEnv"], responses: Sequence[str]) -> None:
        """Search for all that these responses search for: one call for each retriever and topk.

        What is found waits with its environment for its turn. Raises RetrievalError, before any
        environment has been stepped, unless all that asked together show failures as turns.
        """
        asked: dict[tuple[int, int], _Together] = {}
        for env, response in zip(envs, responses, strict=True):
            env._prepared = None
            query = env._searches_for(response)
            if query:
                retriever = env._questions.retriever(env.task.id)
                group = asked.setdefault((id(retriever), env._topk), _Together(retriever, []))
                group.asking.append((env, query))
        for (_, topk), group in asked.items():
            group.search(topk)

    @property
    def provenance(self) -> dict[str, Any]:
        """sha256 of questions and corpus (None where a server alone has it), and the retriever's
        fingerprint."""
        return dict(self._questions.provenance)

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
        return self.max_turns - len(self._playing.turns)

    def _searches_for(self, response: str) -> str:
        """The query that a turn with this response would search for, "" where it would for none."""
        run = self._run
        if run is None or run.stop_reason or not isinstance(response, str):
            return ""  # which `step` refuses
        action, _ = self._parse(response, run.scene.admissible)
        return _query(action) if self._turns_left > 1 else ""

    def _search(self, query: str, prepared: "_Prepared | None") -> Scene:
        try:
            if prepared is None or prepared.query != query:
                retriever = self._questions.retriever(self.task.id)
                prepared = _Prepared(query, retriever.search([query], self._topk)[0])
        except RetrievalError as error:
            if not self._observe_errors:
                raise
            prepared = _Prepared(query, failure=error)
        if prepared.failure is not None:
            error = str(prepared.failure) or type(prepared.failure).__name__
            return self._show(self._rules.failure(error), executed=False, error=error)
        hits = prepared.hits
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
        return Scene(
            text,
            done=done,
            facts={
                "searched": query,
                "passage_ids": [hit.passage.id for hit in hits],
                "retrieval_scores": [float(hit.score) for hit in hits],
                "gold_found": len(self._gold & self._met),
                "gold_known": len(self._gold),
                "searches": len(self._searched),
                "action_executable": executed,
                "error": error,
            },
        )


class SearchQAVectorEnv(TextVectorEnv):
    """Many Search-QA episodes in one process; they share questions, corpus and retriever."""

    env_type = SearchQAEnv


class _Prepared(NamedTuple):
    """What a search found, or why it failed."""

    query: str
    hits: Sequence[Hit] = ()
    failure: RetrievalError | None = None


class _Together(NamedTuple):
    """Environments that ask one retriever, each with its query."""

    retriever: Retriever
    asking: list[tuple[SearchQAEnv, str]]

    def search(self, topk: int) -> None:
        """Leave with each environment what its query finds."""
        queries = list(dict.fromkeys(query for _, query in self.asking))
        try:
            answers = self.retriever.search(queries, topk)
        except RetrievalError as error:
            if not all(env._observe_errors for env, _ in self.asking):
                raise
            if len(queries) > 1:
                return  # which of them failed is not known: each environment asks alone
            found = {queries[0]: _Prepared(queries[0], failure=error)}
        else:
            pairs = zip(queries, answers, strict=True)
            found = {query: _Prepared(query, hits) for query, hits in pairs}
        for env, query in self.asking:
            env._prepared = found[query]


def _query(action: str) -> str:
    """The query of a search action, "" for any other.

    Every retriever can take it: halves of surrogate pairs and its far end are left out.
    """
    block = read_action(action)
    text = block.content if block is not None and block.tag == "search" else ""
    return text[:LONGEST_QUERY].encode("utf-8", "ignore").decode("utf-8").strip()
