"""What clients and servers say to each other: OpenEnv's messages, and some of our own.

    {"type": "reset", "data": {"seed", "episode_id", "task_id", "options"}}    all may be left out
    {"type": "step", "data": {"text"}}
    {"type": "state"}
    {"type": "snapshot"}                                                       ours
    {"type": "restore", "data": {"snapshot", "episode_id"}}                    ours
    {"type": "task", "data": {"task_id"}}                                      ours
    {"type": "about"}, "tasks", "turns", "verdict", "advice"                   ours
    {"type": "close"}

Answers: `observation` (to reset, step, restore), `error`, and else of the type that was asked for.
An error has a code: INVALID_JSON, UNKNOWN_TYPE, VALIDATION_ERROR, EXECUTION_ERROR,
CAPACITY_REACHED, FACTORY_ERROR or SESSION_ERROR. Any text is an action: what a policy gets wrong is
a turn and never an error.

Our own are over WebSockets only. `about`: {"parser", "tasks" (how many)}. `tasks`: {"ids"}. `task`:
what the public may know of one. `turns`: {"turns"}, those of the episode so far. `verdict`: what
the verifier says of it. `advice`: what the expert would do, where the server tells such things.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentgym_envs.types import Task

MAX_ID = 255  # characters of an episode's name
ACTION_FIELDS = ("text", "metadata")


class Refused(ValueError):
    """A message that the server does not take; `code` is one of OpenEnv's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Begin an episode. options: the environment's own, such as `task_id`."""

    seed: int | None = None
    episode_id: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """Play one turn with what the policy said."""

    text: str


@dataclass(frozen=True, slots=True)
class State:
    """Ask where the session stands; possible before the first episode."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Ask for all it takes to go on from here."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Go back to where a snapshot was taken."""

    snapshot: bytes
    episode_id: str | None = None


@dataclass(frozen=True, slots=True)
class Find:
    """Ask about one task, whichever is played."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for something else that changes nothing, by its name."""

    what: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the session."""


Request = Reset | Step | State | Snapshot | Restore | Find | Look | Close
LOOKS = ("about", "tasks", "turns", "verdict", "advice")


def read_message(text: str) -> Request:
    """A WebSocket's message. Raises Refused saying what is wrong with it."""
    message = read_json(text)
    kind = message.get("type")
    unknown = sorted(set(message) - {"type", "data"})
    if unknown:
        raise _invalid(f"a message has the fields type and data, not {unknown[0]!r}")
    return read_request(kind, message.get("data", {}))


def read_json(text: str | bytes) -> dict[str, Any]:
    """An object in JSON. Raises Refused (INVALID_JSON) where it is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("INVALID_JSON", f"this is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise Refused("INVALID_JSON", "a message is a JSON object, as in {'type': 'state'}")
    return message


def read_request(kind: Any, data: Any) -> Request:
    """What is asked for by a type and its data. Raises Refused saying what is wrong."""
    if not isinstance(kind, str) or kind not in _READERS:
        listed = ", ".join(_READERS)
        raise Refused("UNKNOWN_TYPE", f"no message type {str(kind)[:40]!r}; there are: {listed}")
    if not isinstance(data, dict):
        raise _invalid(f"the data of {kind!r} is an object, got {_kind(data)}")
    return _READERS[kind](data)


def read_action(data: Mapping[str, Any]) -> Step:
    """An action's fields: `text`, and OpenEnv's `metadata`, which nothing is done with."""
    _only(data, ACTION_FIELDS, "an action")
    if not isinstance(data.get("metadata", {}), dict):
        raise _invalid(f"an action's metadata is an object, got {_kind(data['metadata'])}")
    text = data.get("text")
    if not isinstance(text, str):
        raise _invalid(f"an action is {{'text': what the policy said}}, got text {_kind(text)}")
    return Step(text)


def _read_reset(data: Mapping[str, Any]) -> Reset:
    given = dict(data)
    seed, episode_id = given.pop("seed", None), _episode_id(given.pop("episode_id", None))
    options = given.pop("options", None) or {}
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise _invalid(f"a seed is a whole number from 0 on, got {str(seed)[:40]!r}")
    if not isinstance(options, dict):
        raise _invalid(f"options is an object, got {_kind(options)}")
    twice = sorted(set(given) & set(options))
    if twice:
        raise _invalid(f"{twice[0]!r} is given both as a field and among the options")
    return Reset(seed=seed, episode_id=episode_id, options={**options, **given})


def _read_restore(data: Mapping[str, Any]) -> Restore:
    _only(data, ("snapshot", "episode_id"), "restore")
    try:
        snapshot = base64.b64decode(data["snapshot"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise _invalid("restore takes a snapshot as the server sent it, in base64") from None
    return Restore(snapshot, _episode_id(data.get("episode_id")))


def _read_find(data: Mapping[str, Any]) -> Find:
    _only(data, ("task_id",), "task")
    if not isinstance(data.get("task_id"), str):
        raise _invalid(f"a task_id is a text, got {_kind(data.get('task_id'))}")
    return Find(data["task_id"])


def _read_look(what: str, data: Mapping[str, Any]) -> Look:
    _only(data, (), what)
    return Look(what)


_READERS: dict[str, Callable[[Mapping[str, Any]], Request]] = {
    "reset": _read_reset,
    "step": read_action,
    "state": lambda data: _bare(State(), data),
    "snapshot": lambda data: _bare(Snapshot(), data),
    "restore": _read_restore,
    "task": _read_find,
    **{what: partial(_read_look, what) for what in LOOKS},
    "close": lambda data: _bare(Close(), data),
}


def observation_of(
    observation: Any, info: Mapping[str, Any], terminated: bool, truncated: bool
) -> dict[str, Any]:
    """A turn's observation as the wire has it, apart from reward and done.

    text: the new turn's. terminated, truncated and success are three facts. info: the whole.
    """
    return {
        "metadata": {},
        "text": observation["text"] if isinstance(observation, Mapping) else observation,
        "turn": info["turn"],
        "terminated": terminated,
        "truncated": truncated,
        "success": info["success"],
        "info": dict(info),
    }


def observation_message(observation: Mapping[str, Any], reward: float | None) -> dict[str, Any]:
    """The answer to reset and restore (reward None) and to step."""
    done = observation["terminated"] or observation["truncated"]
    return {
        "type": "observation",
        "data": {"observation": observation, "reward": reward, "done": done},
    }


def snapshot_message(snapshot: bytes) -> dict[str, Any]:
    """The answer to snapshot."""
    return {"type": "snapshot", "data": {"snapshot": base64.b64encode(snapshot).decode()}}


def task_message(task: Task) -> dict[str, Any]:
    """The answer to task: all of it but the answer and the expert's actions."""
    names = ("id", "goal", "split", "kind", "facts", "hash")
    return {"type": "task", "data": {name: getattr(task, name) for name in names}}


def error_message(code: str, message: str, kind: str | None = None) -> dict[str, Any]:
    """An error. kind: the exception's name, where an environment raised one."""
    data = {"message": message, "code": code}
    return {"type": "error", "data": data if kind is None else {**data, "kind": kind}}


def _bare(request: Request, data: Mapping[str, Any]) -> Request:
    _only(data, (), type(request).__name__.lower())
    return request


def _only(data: Mapping[str, Any], fields: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(data) - set(fields))
    if unknown:
        has = f"has the fields {', '.join(fields)}" if fields else "has no data"
        raise _invalid(f"{what} {has}, got {unknown[0][:40]!r}")


def _episode_id(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID):
        return value
    raise _invalid(f"an episode_id is a text of at most {MAX_ID} characters")


def _invalid(message: str) -> Refused:
    return Refused("VALIDATION_ERROR", message)


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
