"""What every arm of an environment shares, by content: tasks, models, skill banks.

Written down when a comparison begins and compared when it goes on: an arm played on other tasks or
begun from other weights is no arm of this comparison.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from agentgym_envs import TextEnv
from agentgym_envs.order import subset
from agentgym_envs.registration import importable
from agentgym_envs.types import content_hash
from agentgym_train.bank import load_bank
from agentgym_train.files import write_text
from agentgym_train.models.load import ModelSettings
from agentgym_train.settings import Run

_WHOLE = 1 << 26  # files up to so many bytes are hashed whole, larger ones by both their ends
_END = 1 << 20


Found = Mapping[str, Mapping[str, Any]]


class ChangedError(ValueError):
    """Something that the arms of a comparison share is not what it was when it began."""


class Pins:
    """One file of pins: environment -> name -> what it was. Those of other environments than
    `begun` bind nobody."""

    def __init__(self, path: Path, begun: Collection[str]) -> None:
        self._path = path
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._known = {env: names for env, names in known.items() if env in begun}

    def check(self, found: Found) -> None:
        """Raises ChangedError where something is not what was written down."""
        for env, names in found.items():
            known = self._known.get(env, {})
            for name in names.keys() & known.keys():
                if names[name] != known[name]:
                    raise ChangedError(
                        f"{env}: {name} changed since this comparison began "
                        f"({_change(known[name], names[name])}): put it back, or compare in "
                        "another folder"
                    )

    def add(self, found: Found) -> None:
        """Write down what was not known."""
        told = {env: {**found.get(env, {}), **self._known.get(env, {})} for env in found}
        both = {**self._known, **told}
        if both != self._known:
            self._known = both
            write_text(self._path, json.dumps(both, indent=1) + "\n")


def pinned_tasks(run: Run) -> dict[str, dict[str, Any]]:
    """A run's task lists, split by split: ids, content hashes, and one hash of both.

    "train" is the split that training draws from, "evaluation" the held-out tasks as they are
    played. Raises what the environment raises where its data is missing.
    """
    env, limit = run.env, run.evaluation.tasks
    return {
        "train": _listed(env.id, {**env.common, **env.train}, 0),
        "evaluation": _listed(env.id, {**env.common, **env.evaluation}, limit),
    }


def pinned_model(settings: ModelSettings) -> str:
    """What a model is: a hash of its folder's files, or the commit of a Hugging Face id.

    Raises FileNotFoundError for a model that is not there and cannot be fetched.
    """
    folder = Path(settings.name)
    if settings.name == "tiny":
        return "made by each run from its settings"
    if folder.is_dir():
        return folder_hash(folder)
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(settings.name)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"model {settings.name!r} is not there: give a folder that exists, or fetch it first: "
            f"`hf download {settings.name}`"
        ) from error
    return str(getattr(config, "_commit_hash", None))


def pinned_bank(run: Run) -> str:
    """The content of a run's skill bank; "" where it shows none. Raises BankError."""
    return load_bank(run.skills.bank).fingerprint if run.skills else ""


def _listed(env_id: str, settings: dict[str, Any], limit: int) -> dict[str, Any]:
    env = gym.make(importable(env_id), **settings).unwrapped
    if not isinstance(env, TextEnv):
        raise TypeError(f"{env_id} is a {type(env).__name__}, not a TextEnv")
    ids = list(subset(env.tasks.ids, limit))
    hashes = [env.tasks.task(task_id).hash for task_id in ids]
    env.close()
    return {"ids": ids, "hashes": hashes, "hash": content_hash(json.dumps([ids, hashes]))}


def folder_hash(folder: Path) -> str:
    """A model's folder by its files' names, sizes and bytes; of very large files, both ends."""
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        for part in _parts(path, size):
            digest.update(part)
    return digest.hexdigest()[:16]


def _parts(path: Path, size: int) -> Iterable[bytes]:
    with path.open("rb") as file:
        if size <= _WHOLE:
            yield file.read()
        else:
            yield file.read(_END)
            file.seek(-_END, 2)
            yield file.read(_END)


def _change(before: Any, now: Any) -> str:
    """In a few words; of task lists, the first task that is not the same."""
    if not isinstance(before, dict):
        return f"{before} -> {now}"
    if len(before["ids"]) != len(now["ids"]):
        return f"{len(before['ids'])} tasks -> {len(now['ids'])}"
    for old, new, one, other in zip(
        before["ids"], now["ids"], before["hashes"], now["hashes"], strict=True
    ):
        if old != new:
            return f"task {old} -> {new}"
        if one != other:
            return f"another content of task {old}"
    return "another hash"
