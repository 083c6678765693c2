"""What "package.module:name" names, and who named it where there is no such thing."""

from importlib import import_module
from types import ModuleType
from typing import Any


def named(address: str, by: str) -> Any:
    """What an address names. by: what it is called there where it is given, as "the parser".

    Raises ValueError for what is no address or names nothing in its module, and what `module` does.
    """
    name, colon, inside = address.partition(":")
    if not (name and colon and inside):
        raise ValueError(f"{by} should be 'package.module:name', got {address!r}")
    found: Any = module(name, f"{by} {address!r}")
    for part in inside.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{by} {address!r}: {name} has no {inside!r}")
        found = getattr(found, part)
    return found


def module(name: str, by: str) -> ModuleType:
    """A module. Raises ModuleNotFoundError, naming who wants it, where there is none of that name,
    or only a folder; what an import inside it raises is left as it is.
    """
    try:
        found = import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise
        raise ModuleNotFoundError(
            f"no module {missing.name!r}, which {by} names", name=missing.name
        ) from None
    if getattr(found, "__file__", None) is None and hasattr(found, "__path__"):
        raise ModuleNotFoundError(
            f"{name!r}, which {by} names, was found as a folder without __init__.py "
            f"({', '.join(found.__path__)}): cd into it, or pip install -e it",
            name=name,
        )
    return found
