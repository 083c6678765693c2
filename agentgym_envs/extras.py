"""How this package and its extras are had, as long as no index has it."""

from pathlib import Path

NAME = "agentgym-envs"


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"in a checkout of {NAME}, pip install -e '.[{extra}]'"


def requirement(extra: str = "", source: str | None = None) -> str:
    """This package as another one's requirement.

    source: where pip finds it (a URL as pip takes it, such as git+https://..., or a folder); None:
    it is installed already, or on an index.
    """
    name = f"{NAME}[{extra}]" if extra else NAME
    if source is None:
        return name
    here = Path(source)
    return f"{name} @ {here.resolve().as_uri() if here.exists() else source}"
