"""The environment's settings, checked, as what its tasks are opened by."""

import json
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentgym_envs.searchqa.datasets import CHOICES
from agentgym_envs.searchqa.tasks import Source
from agentgym_envs.seeds import seeds_of


def source(
    data: str | Path | Sequence[str | Path] | None,
    corpus: str | Path | None,
    cache: str | Path | None,
    retriever: str | Mapping[str, Any],
    preset: str | None,
    seed: int | Sequence[int] | None,
) -> Source:
    """Where questions and passages come from. Paths become absolute.

    Raises ValueError for settings that do not go together, or that cannot be.
    """
    if data is None and corpus is not None:
        raise ValueError(
            "corpus without data: a generated world's questions are about its own encyclopaedia; "
            "give data=, the questions of that corpus"
        )
    if data is not None and not (preset is None and seed is None):
        raise ValueError(
            "world_preset and world_seed are of a generated world, and data of questions from "
            "files: leave one of them out"
        )
    seed = 0 if seed is None else seed
    listed = seed if isinstance(seed, list | tuple | range) else [seed]
    if not all(type(one) is int for one in listed):
        raise ValueError(f"world_seed is a whole number, or a list of them, got {seed!r}")
    return Source(
        data=_paths(data),
        corpus=None if corpus is None else os.path.abspath(corpus),
        cache=None if cache is None else os.path.abspath(cache),
        retriever=_written(retriever),
        world_preset=preset or "small",
        world_seeds=seeds_of(seed, "world_seed"),
    )


def _paths(data: str | Path | Sequence[str | Path] | None) -> tuple[str, ...]:
    if data is None:
        return ()
    places = [data] if isinstance(data, str | Path) else list(data)
    if not places:
        raise ValueError("data is a file or folder of questions, or several, got none")
    return tuple(os.path.abspath(place) for place in places)


def _written(retriever: str | Mapping[str, Any]) -> str:
    """A retriever's settings as JSON; paths as texts."""

    def plain(value: object) -> str:
        if isinstance(value, Path):
            return str(value)
        raise ValueError(
            f"a retriever is a name, an address or a table of plain values, got {value!r:.60}; "
            "your own: 'package.module:make'"
        )

    return json.dumps(retriever, sort_keys=True, default=plain)


def names(datasets: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """One name, or several, as a tuple; None for all."""
    if datasets is None:
        return None
    return (datasets,) if isinstance(datasets, str) else tuple(datasets)


def check_size(name: str, size: object) -> None:
    """Raises ValueError for what is neither None nor a whole number from 1."""
    if size is not None and (type(size) is not int or size < 1):
        raise ValueError(f"{name} is a whole number from 1, got {size!r}")


def at_most(questions: Mapping[str, int] | None, split: str) -> int | None:
    """How many questions of this split. Raises ValueError for a split that cannot be meant."""
    if questions is None:
        return None
    if not isinstance(questions, Mapping):
        raise ValueError(f"questions is a table, split -> at most so many, got {questions!r}")
    for name, count in questions.items():
        if name not in CHOICES:
            near = get_close_matches(str(name), CHOICES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CHOICES)}"
            raise ValueError(f"questions has no split {name!r}: {hint}")
        check_size(f"questions[{name!r}]", count)
    return questions.get(split)
