"""Questions as tasks, with the corpus and the retriever they are asked over.

Both are opened once a process for each setting, shared by all environments, and never change: two
environments over one corpus with the same retriever settings have one retriever, whatever questions
they ask. A pickle holds the settings only.
"""

import functools
import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.open import CorpusNeeded, open_retriever, passages_come_along
from agentgym_envs.retrieval.types import Retriever
from agentgym_envs.searchqa.datasets import QuestionSet, read_questions
from agentgym_envs.searchqa.evidence import check_gold
from agentgym_envs.searchqa.protocol import find_protocol
from agentgym_envs.searchqa.question import Question
from agentgym_envs.searchqa.verify import find_verifier
from agentgym_envs.seeds import InTurns
from agentgym_envs.types import Task, content_hash

if TYPE_CHECKING:
    from agentgym_envs.searchqa.world import World

_OPENING = threading.RLock()  # two threads must not load one corpus twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where questions and passages come from. Hashable; values are JSON."""

    data: tuple[str, ...] = ()
    corpus: str | None = None
    cache: str | None = None
    retriever: str = '"bm25"'  # open_retriever's settings as JSON
    world_preset: str = "small"
    world_seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which questions of a source, asked and judged how."""

    source: Source
    split: str
    datasets: tuple[str, ...] | None = None
    at_most: int | None = None
    protocol: str = "search_r1"
    verifier: str = "em"


class QuestionTasks:
    """The chosen questions, each made a task when asked for. Make it with `open_tasks`."""

    def __init__(self, choice: Choice) -> None:
        find_verifier(choice.verifier)
        self.choice = choice
        self._protocol = find_protocol(choice.protocol)
        self._questions = _thinned(_chosen(choice), choice.at_most)
        self.ids: tuple[str, ...] = self._questions.ids
        alone = passages_come_along(json.loads(choice.source.retriever))
        self.corpus = open_corpus(choice.source)
        if choice.source.data and self.corpus is not None:
            check_gold(self._questions, self.corpus)
        # Last: it can take minutes.
        self._retriever = _retriever(choice.source, None if alone else self.corpus)
        self.provenance = {
            "questions": _digest(self._questions),
            "corpus": None if self.corpus is None else self.corpus.fingerprint,
            "retriever": self._retriever.fingerprint,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return open_tasks, (self.choice,)

    def retriever(self, task_id: str) -> Retriever:
        """Who searches for the answer to a question."""
        return self._retriever

    def question(self, task_id: str) -> Question:
        """Raises KeyError."""
        if task_id not in self._questions:
            raise KeyError(f"no question {task_id!r}; the first of {len(self.ids)}: {self.ids[0]}")
        return self._questions[task_id]

    def task(self, task_id: str) -> Task:
        question = self.question(task_id)
        goal, targets = self._protocol.question(question.question), list(question.answers)
        searches = (f"<search>{query}</search>" for query in self._queries(question))
        return Task(
            id=question.id,
            goal=goal,
            answer={"targets": targets, "verifier": self.choice.verifier},
            expert=(*searches, f"<answer>{question.answers[0]}</answer>"),
            split=question.split or self.choice.split,
            kind=question.kind or question.data_source,
            facts={"data_source": question.data_source},
            hash=content_hash(json.dumps([goal, targets])),
        )

    def _queries(self, question: Question) -> Sequence[str]:
        """The question's own searches, else the titles of its gold passages, else the question."""
        if question.queries:
            return question.queries
        if question.gold and self.corpus is not None:
            titles = (passage.title for passage in self.corpus.passages(question.gold))
            return list(dict.fromkeys(titles))
        return [question.question]


class WorldsTasks(InTurns[QuestionTasks]):
    """The questions of several generated worlds, each asked over its own encyclopaedia."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        alone = {
            seed: replace(choice, at_most=None, source=replace(choice.source, world_seeds=(seed,)))
            for seed in choice.source.world_seeds
        }
        worlds = {seed: cast(QuestionTasks, open_tasks(one)) for seed, one in alone.items()}
        super().__init__(worlds, choice.at_most)
        each = [world.provenance for world in worlds.values()]
        self.provenance = {name: _joined(one[name] for one in each) for name in each[0]}

    def __reduce__(self) -> tuple[Any, ...]:
        return open_tasks, (self.choice,)

    def retriever(self, task_id: str) -> Retriever:
        """Who searches for the answer to a question."""
        world, inner = self.find(task_id)
        return world.retriever(inner)

    def question(self, task_id: str) -> Question:
        """Raises KeyError."""
        world, inner = self.find(task_id)
        return world.question(inner)


Tasks = QuestionTasks | WorldsTasks


def open_tasks(choice: Choice) -> Tasks:
    """The tasks of a choice, opened once a process.

    Raises ValueError for a split, set, protocol or verifier that is not there, FileNotFoundError
    or ValueError for data that cannot be read.
    """
    with _OPENING:
        return _open_tasks(choice)


def open_corpus(source: Source) -> Corpus | None:
    """The corpus of a source; None where there is none beside its questions."""
    if source.corpus is not None:
        return _corpus_file(source.corpus, source.cache)
    if not source.data:
        return _corpus_of_world(source.world_preset, source.world_seeds[0])
    places = (Path(place) for place in source.data)
    beside = [(place if place.is_dir() else place.parent) / "corpus.jsonl" for place in places]
    found = next((path for path in beside if path.is_file()), None)
    return _corpus_file(str(found), source.cache) if found else None


@functools.lru_cache(maxsize=64)
def _open_tasks(choice: Choice) -> Tasks:
    several = len(choice.source.world_seeds) > 1
    return WorldsTasks(choice) if several else QuestionTasks(choice)


def _retriever(source: Source, corpus: Corpus | None) -> Retriever:
    try:
        return _opened(source.retriever, corpus)
    except CorpusNeeded as error:
        raise ValueError(
            f"{error}, and there is no corpus.jsonl beside {', '.join(source.data)}: give corpus=, "
            "or a retriever that has the passages itself"
        ) from error


@functools.lru_cache(maxsize=64)
def _opened(settings: str, corpus: Corpus | None) -> Retriever:
    return open_retriever(json.loads(settings), corpus)


@functools.lru_cache(maxsize=64)
def _corpus_file(path: str, cache: str | None) -> Corpus:
    return Corpus.open(path, cache=cache)


@functools.lru_cache(maxsize=64)
def _corpus_of_world(preset: str, seed: int) -> Corpus:
    return Corpus.of(_world(preset, seed).passages)


@functools.lru_cache(maxsize=4)
def _questions_of(data: tuple[str, ...]) -> QuestionSet:
    return read_questions(data)


def _world(preset: str, seed: int) -> "World":
    from agentgym_envs.searchqa.world import generated_world

    return generated_world(preset, seed)


def _chosen(choice: Choice) -> QuestionSet:
    source, split = choice.source, choice.split
    if source.data:
        return _questions_of(source.data).chosen(split, choice.datasets)
    if choice.datasets is not None:
        raise ValueError("datasets chooses among sets read from files: set data, or leave it out")
    split = "test" if split == "evaluate" else split
    if split not in ("train", "test"):
        raise ValueError(f"a generated world has no split {split!r}: train, test (or evaluate)")
    return QuestionSet(_world(source.world_preset, source.world_seeds[0]).questions(split))


def _thinned(questions: QuestionSet, at_most: int | None) -> QuestionSet:
    """At most so many questions, evenly over the order, so that every set keeps its share."""
    if at_most is None or at_most >= len(questions):
        return questions
    ids = questions.ids
    return QuestionSet(questions[ids[i * len(ids) // at_most]] for i in range(at_most))


def _digest(questions: Iterable[Question]) -> str:
    """sha256 (hexadecimal) of ids, questions, answers and gold passages, in order."""
    sha = hashlib.sha256()
    for one in questions:
        sha.update(json.dumps([one.id, one.question, one.answers, one.gold]).encode())
    return sha.hexdigest()


def _joined(names: Iterable[str | None]) -> str:
    return hashlib.sha256(repr(list(names)).encode()).hexdigest()
