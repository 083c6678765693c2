"""Search-QA without a download: an encyclopaedia nobody has read, and questions about it.

A world is a function of (preset, seed) and of nothing else. Another seed is another world, so an
evaluation on one is free of what a model was trained on.
"""

import filecmp
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from agentgym_envs.retrieval.types import Passage
from agentgym_envs.searchqa.ask import SPLITS, Asker
from agentgym_envs.searchqa.dice import VERSION
from agentgym_envs.searchqa.facts import Facts
from agentgym_envs.searchqa.pages import Pages
from agentgym_envs.searchqa.presets import PRESETS, find_preset
from agentgym_envs.searchqa.question import Question

__all__ = ["PRESETS", "SPLITS", "World", "generated_world", "write_world"]

CORPUS_FILE = "corpus.jsonl"
MANIFEST_FILE = "manifest.json"

_KEPT = 100_000  # worlds of up to so many pages keep them; larger ones write them when asked
_SAMPLED = 5_000  # pages that the fingerprint is taken of
_WORLDS = 16  # the most recently used worlds are kept
_lock = threading.Lock()

T = TypeVar("T")


def generated_world(preset: str = "small", seed: int = 0) -> "World":
    """The world of a preset ("nano", "small", "medium", "large") and a seed, made once a process.

    Raises KeyError for an unknown preset.
    """
    with _lock:
        return _world(preset, seed)


@lru_cache(maxsize=_WORLDS)
def _world(preset: str, seed: int) -> "World":
    return World(preset, seed)


class World:
    """Passages and questions. Both are made when first asked for; safe to share between threads;
    pickles as its preset and seed. Raises KeyError for an unknown preset."""

    def __init__(self, preset: str = "small", seed: int = 0) -> None:
        self.preset, self.seed = find_preset(preset), seed
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}

    def __reduce__(self):
        return generated_world, (self.preset.name, self.seed)

    @property
    def facts(self) -> Facts:
        """What is true in this world."""
        return self._once("facts", lambda: Facts(self.preset, self.seed))

    @property
    def passages(self) -> Sequence[Passage]:
        """The corpus. The id of a passage is its place in it, as text."""
        return self._once("passages", self._pages)

    def questions(self, split: str) -> tuple[Question, ...]:
        """Questions of "train" or "test". Raises ValueError for another split."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r} of generated worlds; there are: train, test")
        return self._once("questions", lambda: Asker(self.facts, self.passages).ask())[split]

    @property
    def fingerprint(self) -> str:
        """Names the corpus: a sha256 of preset, seed, size and up to 5,000 pages evenly spread."""
        return self._once("fingerprint", self._fingerprint)

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def _pages(self) -> Sequence[Passage]:
        pages = Pages(self.facts)
        return tuple(pages) if len(pages) <= _KEPT else pages

    def _fingerprint(self) -> str:
        pages = self.passages
        name = f"world {VERSION} {self.preset.name} {self.seed} {len(pages)}\n"
        digest = hashlib.sha256(name.encode())
        for place in range(0, len(pages), max(1, len(pages) // _SAMPLED)):
            digest.update(pages[place].contents.encode() + b"\0")
        return digest.hexdigest()


def write_world(world: World, folder: str | Path) -> Path:
    """Write a world in the layouts of the official data; return the folder.

    corpus.jsonl has `id` and `contents` (as wiki-18), train.jsonl and test.jsonl have `id`,
    `question`, `golden_answers` and `metadata` (as FlashRAG), manifest.json the sha256 and the
    number of lines of each. A file appears whole or not at all, the manifest last.
    Raises FileExistsError where the folder holds files of these names with other content.
    """
    root = Path(folder)
    made = {"version": VERSION, "preset": world.preset.name, "seed": world.seed}
    manifest = root / MANIFEST_FILE
    if manifest.exists():
        there = json.loads(manifest.read_text(encoding="utf-8"))
        if {name: there.get(name) for name in made} != made:
            raise FileExistsError(f"{manifest} describes another world; choose an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    files = {CORPUS_FILE: _write_lines(root / CORPUS_FILE, map(asdict, world.passages))}
    for split in SPLITS:
        rows = map(question_row, world.questions(split))
        files[f"{split}.jsonl"] = _write_lines(root / f"{split}.jsonl", rows)
    _write_lines(manifest, [made | {"fingerprint": world.fingerprint, "files": files}])
    return root


def question_row(question: Question) -> dict[str, Any]:
    """A question as a line of a FlashRAG file; what FlashRAG has no column for is metadata."""
    return {
        "id": question.id,
        "question": question.question,
        "golden_answers": list(question.answers),
        "metadata": {
            "data_source": question.data_source,
            "kind": question.kind,
            "gold": question.gold,
            "queries": question.queries,
            **question.metadata,
        },
    }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Write beside the target and rename. Gives the sha256 and the number of lines."""
    digest, count = hashlib.sha256(), 0
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            for row in rows:
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                count += 1
                file.write(line)
        if path.exists() and not filecmp.cmp(draft, path, shallow=False):
            raise FileExistsError(f"{path} is there with other content; choose an empty folder")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return {"sha256": digest.hexdigest(), "lines": count}
