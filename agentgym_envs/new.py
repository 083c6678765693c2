"""A package of one's own: an environment that works, to be changed into the one that is wanted.

The files are those of `template/`, whose `{{names}}` are filled in. What comes out has no tie to
this one but its dependency.
"""

import keyword
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from agentgym_envs.extras import requirement
from agentgym_envs.folders import demand_empty

_ID = re.compile(r"([A-Za-z][\w-]*)/([A-Za-z][\w-]*)-v(0|[1-9]\d*)", re.ASCII)
_PACKAGE = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(r"\{\{(\w+)\}\}")
_RUN, _ALGORITHMS = "run.toml.in", "algorithms.toml"  # these two make runs/ALGORITHM.toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a new package is called. package: to Python. distribution: to pip. env_id: to
    Gymnasium. name: what its classes begin with."""

    package: str
    distribution: str
    env_id: str
    name: str


def named(folder: Path, env_id: str | None = None) -> Names:
    """The names of a package in this folder. Without an id, one is made from the folder's name.

    Raises ValueError for a folder whose name cannot be imported or is taken, and for an id that is
    not "Namespace/Name-v0" or is in our namespace.
    """
    called = folder.resolve().name
    package = called.replace("-", "_")
    if not _PACKAGE.fullmatch(package) or keyword.iskeyword(package):
        raise ValueError(
            f"the folder's name becomes the package's: lower-case letters, digits and '_', "
            f"a letter first, as my_maze; got {called!r}"
        )
    if package in ("tests", "runs", "out") or _taken(package):
        raise ValueError(f"a package called {package!r} is there already: choose another folder")
    words = "".join(part[:1].upper() + part[1:] for part in package.split("_"))
    env_id = env_id or f"MyLab/{words}-v0"
    parts = _ID.fullmatch(env_id)
    if parts is None:
        raise ValueError(f"an id is Namespace/Name-v0, as MyLab/Maze-v0; got {env_id!r}")
    if parts[1].lower() == "agentgym":
        raise ValueError("the namespace AgentGym is this package's own: choose yours")
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", parts[2]))
    return Names(package=package, distribution=package.replace("_", "-"), env_id=env_id, name=name)


def write_package(folder: Path, names: Names, source: str | None = None) -> list[Path]:
    """Write the package and return its files, in order.

    source: where pip finds agentgym-envs, see `extras.requirement`.

    Raises FileExistsError where the folder is a file or holds anything.
    """
    demand_empty(folder)
    written = []
    for path, text in sorted(_filled(names, source)):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def _filled(names: Names, source: str | None) -> Iterator[tuple[str, str]]:
    """Every file's path inside the new folder, and its text."""
    home = files("agentgym_envs").joinpath("template")
    told = asdict(names) | {
        "requirement": requirement(source=source),
        "requirement_train": requirement("train", source),
        "requirement_cli": requirement("cli", source),
    }
    for path, text in _read(home, ""):
        if path not in (_RUN, _ALGORITHMS):
            yield _place(path, names.package), _fill(text, told)
    run = home.joinpath(_RUN).read_text(encoding="utf-8")
    algorithms = tomllib.loads(home.joinpath(_ALGORITHMS).read_text(encoding="utf-8"))
    for algorithm, parts in algorithms.items():
        about = {"algorithm": algorithm, "about": parts["about"], "tables": parts["tables"].strip()}
        # Twice: the tables have names to fill in, too.
        yield f"runs/{algorithm}.toml", _fill(_fill(run, {**told, **about}), told)


def _read(folder: Traversable, where: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{where}{entry.name}/")
        else:
            yield where + entry.name, entry.read_text(encoding="utf-8")


def _place(path: str, package: str) -> str:
    """Where a template goes: `package/env.py.in` to `my_maze/env.py`."""
    top, slash, rest = path.removesuffix(".in").partition("/")
    return {"package": package, "gitignore": ".gitignore"}.get(top, top) + slash + rest


def _fill(text: str, told: dict[str, str]) -> str:
    return _NAME.sub(lambda found: told[found[1]], text)


def _taken(package: str) -> bool:
    """Whether Python would find another module of that name; a bare folder is none."""
    if package in sys.stdlib_module_names:
        return True
    spec = PathFinder.find_spec(package)
    return spec is not None and spec.origin is not None
