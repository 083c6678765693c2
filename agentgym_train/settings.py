"""Settings: frozen dataclasses are the one declaration, TOML fills them, `--set` overrides.

A wrong key is an error that says where it stands and what the nearest right one is, before
anything loads.
"""

import dataclasses
import difflib
import operator
import tomllib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import TypeAdapter, ValidationError

from agentgym_train import algorithms
from agentgym_train.algorithms import Algorithm
from agentgym_train.layout import LongPrompts
from agentgym_train.models.load import ModelSettings
from agentgym_train.notes import NoteSettings
from agentgym_train.skills import SkillSettings
from agentgym_train.teachers import TeacherSettings
from agentgym_train.update import Learning

Settings = TypeVar("Settings")


class SettingsError(ValueError):
    """The settings are wrong; the message names the key and what would be right."""


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """Where episodes are played, and how a model is shown them.

    id: a Gymnasium id, "module:Namespace/Name-v0" for one that a module registers.
    common, train, evaluation: constructor arguments; the last two add to the first.
    prompt: a style of the environment by name, or a path to a TOML file.
    layout: "turns" (a fresh prompt every turn) or "chat" (one growing conversation).
    return_scale: what an episode of score 1 returns. invalid_penalty: taken off the score of a
    turn whose response could not be read.
    """

    id: str = "AgentGym/ALFWorld-v0"
    common: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    prompt: str = "default"
    layout: Literal["turns", "chat"] = "turns"
    on_drift: Literal["error", "count"] = "error"  # a conversation that does not only grow
    return_scale: float = 10.0
    invalid_penalty: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """How trajectories are collected: `groups` tasks a step, `group_size` attempts at each.

    at_once: how many are played at a time, in training and in evaluation; 0: all of a step. It
    bounds the memory of the sampler's cache and changes no result.
    long_prompts: a prompt over the limit stops the run ("error"), ends its episode ("end", with
    stop_reason "length"), or loses its beginning ("cut", as the published Search-QA settings have
    it; for env.layout = "turns").
    """

    groups: int = 16
    group_size: int = 8
    at_once: int = 0
    temperature: float = 1.0
    max_reply_tokens: int = 512
    max_prompt_tokens: int = 2048
    long_prompts: LongPrompts = "error"
    cache: Literal["kept", "none"] = "kept"  # "none" for models whose attention is not plain


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """When and how held-out tasks are played: always the same ones, each once.

    every: training steps between evaluations; 0: never. The weights before the first step and
    after the last are evaluated too. tasks: so many of the split, always the same ones; 0: all.
    temperature 0 is greedy; top_p and top_k cut unlikely tokens.
    """

    every: int = 5
    tasks: int = 128
    temperature: float = 0.4
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is kept. episodes: training episodes stored a step; traces: how many of these also with
    numbers for every token, at steps that are evaluated; checkpoint_every: steps between
    checkpoints; keep: how many of them. best: keep the weights that did best on the held-out tasks
    so far (of equals the earliest), in `best/`."""

    episodes: int = 4
    traces: int = 2
    checkpoint_every: int = 10
    keep: int = 2
    best: bool = True


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run, whole. What is written to `run.toml` is what ran.

    teacher: the model an algorithm learns from, where it learns from another one. skills: the bank
    of an algorithm that shows skills. notes: who writes HINT-SD's. demonstrations: what TCOD
    backward replays: "expert" (the environment's own) or a file of stored episodes.
    """

    env: EnvSettings
    model: ModelSettings
    algorithm: Algorithm
    teacher: TeacherSettings | None = None
    skills: SkillSettings | None = None
    notes: NoteSettings = NoteSettings()
    demonstrations: str = "expert"
    rollout: RolloutSettings = RolloutSettings()
    learning: Learning = Learning()
    evaluation: EvaluationSettings = EvaluationSettings()
    log: LogSettings = LogSettings()
    steps: int = 150
    seed: int = 0
    threads: int = 0  # CPU threads of PyTorch; 0: its own choice

    def __post_init__(self) -> None:
        name = type(self.algorithm).__name__
        if self.algorithm.teacher == "model" and self.teacher is None:
            raise ValueError(f"{name} learns from a teacher model: add a [teacher] table")
        if self.algorithm.teacher != "model" and self.teacher is not None:
            raise ValueError(f"{name} has no use for a teacher model: remove the [teacher] table")
        if self.algorithm.skills and self.skills is None:
            raise ValueError(f"{name} shows skills: add a [skills] table, as bank = 'alfworld'")
        if self.skills is not None and not self.algorithm.skills:
            raise ValueError(f"{name} has no use for skills: remove the [skills] table")
        if self.rollout.long_prompts == "cut" and self.env.layout == "chat":
            raise ValueError("rollout.long_prompts = 'cut' needs env.layout = 'turns'")
        if self.skills and self.skills.placement == "raw_prefix" and self.env.layout == "chat":
            raise ValueError("skills.placement = 'raw_prefix' needs env.layout = 'turns'")
        if self.skills and self.skills.placement == "raw_prefix" and self.algorithm.plan(1).hint:
            raise ValueError(
                f"{name} shows skills to the student: skills.placement = 'raw_prefix' is for "
                "teachers, use 'user'"
            )
        _refuse_unread(self)
        if self.notes != NoteSettings() and self.algorithm.hindsight != "notes":
            raise ValueError(f"{name} has no use for notes: remove the [notes] table")
        replays = self.algorithm.plan(1).leave_to_student is not None
        if self.demonstrations != "expert" and not replays:
            raise ValueError(f"{name} replays no demonstrations: remove `demonstrations`")
        _check_counts(
            self,
            "steps",
            "rollout.groups",
            "rollout.group_size",
            "rollout.max_reply_tokens",
            "log.checkpoint_every",
            "log.keep",
        )
        _check_counts(self, "rollout.at_once", "evaluation.every", "evaluation.tasks", least=0)
        if not self.rollout.temperature > 0:
            raise ValueError(
                f"rollout.temperature must be above 0, got {self.rollout.temperature}: a student "
                "that takes the likeliest token explores nothing, and has no log-probs to train on"
            )
        if not self.evaluation.temperature >= 0:
            raise ValueError(
                f"evaluation.temperature must be at least 0, got {self.evaluation.temperature}"
            )


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Supervised learning from an expert's episodes.

    episodes: how many are played, one a training task, going round when there are fewer tasks.
    noise: share of turns at which a random admissible action is played instead of the expert's,
    and imitated: a policy that explores. steps: optimiser steps, of `batch` rows each.
    learn_from: "all" tokens (a model from scratch must learn the language too) or "replies".
    skills: a bank whose skills stand in the prompts of some episodes, a share `helped` of them,
    which are played without noise: a model that reads skills and does better with them.
    """

    env: EnvSettings
    model: ModelSettings
    episodes: int = 2000
    noise: float = 0.0
    steps: int = 500
    batch: int = 8
    lr: float = 3e-3
    weight_decay: float = 0.01
    learn_from: Literal["all", "replies"] = "all"
    skills: SkillSettings | None = None
    helped: float = 0.5
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        _check_counts(self, "episodes", "steps", "batch")
        for name, share in (("noise", self.noise), ("helped", self.helped)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, got {share}")
        if self.skills is not None and self.skills.retrieval == "ucb":
            raise ValueError("a warm-up has no outcomes for UCB: set another skills.retrieval")


def load(path: Path | str, kind: type[Settings], overrides: Sequence[str] = ()) -> Settings:
    """The settings of a TOML file, with `a.b=value` overrides. Raises SettingsError."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no settings file {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    return build(kind, override(data, overrides))


def override(data: dict[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """A copy of `data` with each `a.b=value` put in; a value is read as TOML, else as text."""
    merged = {key: dict(v) if isinstance(v, dict) else v for key, v in data.items()}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set takes key=value, got {pair!r}")
        *outer, last = name.strip().split(".")
        table = merged
        for key in outer:
            inner = table.get(key, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"--set {name}: {key!r} is a value, not a table")
            table[key] = dict(inner)
            table = table[key]
        table[last] = _toml_value(text)
    return merged


def build(kind: type[Settings], data: dict[str, Any]) -> Settings:
    """Dataclasses from plain data. Raises SettingsError naming the key and the nearest valid one.

    An `algorithm` table is of the class that its `name` says: a built-in, or "module:Class".
    """
    data = dict(data)
    if "algorithm" in {f.name for f in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        data["algorithm"] = _algorithm(data.get("algorithm"))
    _check_keys(kind, data, "")
    return _validated(kind, data, "")


def dump(settings: Any) -> str:
    """The settings as TOML, complete: `build` gives the same settings back."""
    return tomli_w.dumps(_plain(settings))


def _algorithm(table: Any) -> Algorithm:
    if not isinstance(table, dict) or "name" not in table:
        known = ", ".join(algorithms.BUILT_IN)
        raise SettingsError(f"algorithm.name is missing; built in: {known}")
    fields = {key: value for key, value in table.items() if key != "name"}
    try:
        kind = algorithms.find(table["name"])
    except (KeyError, ImportError, AttributeError, TypeError) as error:
        raise SettingsError(f"algorithm.name: {error.args[0]}") from error
    _check_keys(kind, fields, "algorithm.")
    return _validated(kind, fields, "algorithm.")


def _validated(kind: type[Settings], data: dict[str, Any], where: str) -> Settings:
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = where + ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{key.rstrip('.') or 'settings'}: {reason}{got}") from error


def _check_keys(kind: Any, data: Any, where: str) -> None:
    """Unknown keys at any depth of nested dataclasses."""
    if not isinstance(data, dict):
        return
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {where}{near[0]}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"unknown key {where}{key}; {hint}")
        nested = _dataclass_in(hints[key])
        if nested is not None:
            _check_keys(nested, value, f"{where}{key}.")


def _dataclass_in(hint: Any) -> Any:
    """The dataclass of a type, or of an optional one."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((o for o in options if dataclasses.is_dataclass(o) and o is not Algorithm), None)


def _check_counts(settings: Any, *keys: str, least: int = 1) -> None:
    for key in keys:
        value = operator.attrgetter(key)(settings)
        if value < least:
            raise ValueError(f"{key} must be at least {least}, got {value}")


def _refuse_unread(run: Run) -> None:
    """A value that somebody chose and nothing would read is a mistake."""
    algorithm = run.algorithm
    if algorithm.gap_clip is not None and algorithm.teacher == "none":
        name = type(algorithm).__name__
        raise ValueError(f"{name} has no teacher and so no gap: remove algorithm.gap_clip")
    skills = run.skills
    if skills and skills.curiosity != SkillSettings.curiosity and skills.retrieval != "ucb":
        raise ValueError("skills.curiosity is UCB's: set skills.retrieval = 'ucb', or remove it")


def _plain(value: Any) -> Any:
    if isinstance(value, Algorithm):
        names = {kind: name for name, kind in algorithms.BUILT_IN.items()}
        kind = type(value)
        address = names.get(kind, f"{kind.__module__}:{kind.__qualname__}")
        return {"name": address, **_fields(value)}
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _fields(value: Any) -> dict[str, Any]:
    """Field by field; what is None is left out, since TOML has no such value."""
    items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {name: _plain(item) for name, item in items.items() if item is not None}


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
