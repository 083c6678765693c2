"""Whether settings are what a constructor takes: by name, and by the types its annotations say."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from agentgym_envs.core import TextEnv

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_HANDED_ON = inspect.Parameter.VAR_KEYWORD


class Argument(NamedTuple):
    """Of a constructor: the type its annotation says, and whether it has to be given."""

    type: Any = Any
    needed: bool = False


def demand_fit(env_id: str, maker: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raise TypeError naming the first setting that is unknown, of another type than is annotated,
    or missing.

    Only what is certainly wrong is refused: what an annotation does not say plainly passes, and so
    does what a signature cannot be read for.
    """
    taken = arguments(maker)
    if taken is None:
        return
    for name, value in settings.items():
        if name not in taken:
            raise TypeError(_unknown(env_id, name, taken))
        if not _fits(value, hint := taken[name].type):
            wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
            raise TypeError(f"the setting {name!r} is of type {wanted}, got {value!r}")
    for name, argument in taken.items():
        if argument.needed and name not in settings:
            raise TypeError(f"{env_id} needs a value for {name!r}")


def arguments(maker: Callable[..., Any]) -> dict[str, Argument] | None:
    """What a constructor takes by name; None: anything.

    Where it has `**settings`, what it reads out of them is among it, and what the next constructor
    along the bases takes, to which it hands them on.
    """
    taken: dict[str, Argument] = {}
    for place, constructor in enumerate(_constructors(maker)):
        try:
            parameters = list(inspect.signature(constructor).parameters.values())
        except (TypeError, ValueError):
            return None
        hints = _hints(constructor)
        for one in parameters[isinstance(maker, type) :]:  # but for self
            if one.kind in _BY_NAME:
                needed = place == 0 and one.default is one.empty
                taken.setdefault(one.name, Argument(hints.get(one.name, Any), needed))
        if not any(one.kind is _HANDED_ON for one in parameters):
            return taken
        for name in _texts(constructor):
            taken.setdefault(name, Argument())
    return None


def _constructors(maker: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The constructor, then those that it may hand its settings on to."""
    if not isinstance(maker, type):
        yield maker
        return
    for kind in maker.__mro__:
        if "__init__" in vars(kind):
            yield vars(kind)["__init__"]


def _texts(function: Callable[..., Any]) -> list[str]:
    """The identifiers among a function's texts: a name it pops from its settings is one."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    constants = code.co_consts if code else ()
    return [one for one in constants if isinstance(one, str) and one.isidentifier()]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _unknown(env_id: str, name: str, taken: Mapping[str, Argument]) -> str:
    said = f"{env_id} takes no argument {name!r}"
    if name in (arguments(TextEnv) or {}):
        return f"{said}, which every TextEnv does: {HAND_ON}"
    given = [one for one in taken if one != "tasks"]  # what a constructor gives TextEnv itself
    near = get_close_matches(name, given, n=1)
    return f"{said}; " + (f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(given)}")


def _fits(value: Any, hint: Any) -> bool:
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Sequence:
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return listed and all(_fits(one, inside[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(one, inside[1]) for one in value.values())
    if hint not in _PLAIN:
        return True
    return hint is bool if isinstance(value, bool) else isinstance(value, _PLAIN[hint])


HAND_ON = "add `**settings` to its constructor and hand them to super().__init__"
_PLAIN: dict[Any, type | tuple[type, ...]] = {
    **{bool: bool, int: Integral, float: Real, str: str},
    **{Path: (str, Path), NoneType: NoneType},
}
