"""A skill bank: advice for one environment, as one TOML file that anybody can write.

    name = "pantry"
    match = "first"                  # several types have a keyword in the task: "first", or "all"

    [[general]]                      # at least one; shown with every task
    id = "g1"                        # once in the whole file
    title = "Look first"
    principle = "Open each cupboard once and remember what was in it."
    when = "At the start."

    [types.honey]                    # one table per task type; their order is the bank's order
    title = "Finding honey"
    kinds = ["honey"]                # Task.kind, exactly
    sources = ["pantry2"]            # Task.facts["data_source"], else Task.kind; case is ignored
    paths = ["honey-"]               # parts of Task.id; case is ignored
    words = ["sweet", "or"]          # whole words of the goal, all of them,
    without = ["sour"]               # and none of these
    fallback_sources = ["pantry3"]   # as `sources`, where no type's words fit
    keywords = ["honey"]             # parts of the goal, one is enough; case is ignored

    [[types.honey.skills]]           # at least one, written like those of [[general]]
    id = "h1"
    title = "..."
    principle = "..."
    when = "..."

    [[mistakes]]                     # any number
    id = "m1"
    mistake = "Opening a cupboard twice."
    instead = "Go on to one not opened yet."

A type needs none of the rules. They are tried in the order above, over all types at once, and the
first that finds a type decides; where none does, there is no type and general skills are all.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from agentgym_envs.types import Task, content_hash
from agentgym_train.hints import matching

Entry = TypeVar("Entry")
HOME = "agentgym_train:banks"


class BankError(ValueError):
    """A skill bank is wrong; the message names the file, the key and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """One piece of advice and when to apply it."""

    id: str
    title: str
    principle: str
    when: str

    def __str__(self) -> str:
        return f"- {self.title}: {self.principle} When: {self.when}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Something that goes wrong often, and what to do instead."""

    id: str
    mistake: str
    instead: str

    def __str__(self) -> str:
        return f"- {self.mistake} Instead: {self.instead}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillType:
    """The skills of one type of task, and the rules that say which tasks are of it."""

    name: str
    title: str
    skills: tuple[Skill, ...]
    kinds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    fallback_sources: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillBank:
    """General skills, the types in bank order, common mistakes."""

    name: str
    match: Literal["first", "all"]
    general: tuple[Skill, ...]
    types: tuple[SkillType, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the types, in bank order."""
        return tuple(kind.name for kind in self.types)

    @property
    def general_text(self) -> str:
        """What is shown with every task: the general skills and the common mistakes."""
        text = _block("General skills", self.general)
        return text + "\n\n" + _block("Common mistakes", self.mistakes) if self.mistakes else text

    def text_of(self, kind: str) -> str:
        """The block of a type. Raises KeyError naming the nearest one."""
        for found in self.types:
            if found.name == kind:
                return _block(found.title, found.skills)
        raise KeyError(f"bank {self.name!r} has no type {kind!r}; {_nearest(kind, self.kinds)}")

    def text(self, kinds: Sequence[str]) -> str:
        """General skills and the blocks of these types, an empty line between any two."""
        return "\n\n".join([self.general_text, *map(self.text_of, kinds)])

    def suited(self, task: Task) -> tuple[str, ...]:
        """The types whose rules fit a task, in bank order; depends on nothing but the task."""
        source = str(task.facts.get("data_source", task.kind)).lower()
        path, goal = task.id.lower(), task.goal
        keywords = {kind.name: kind.keywords for kind in self.types}
        rules = (
            [kind.name for kind in self.types if task.kind in kind.kinds],
            [kind.name for kind in self.types if source in _lowered(kind.sources)],
            [k.name for k in self.types if any(part in path for part in _lowered(k.paths))],
            [kind.name for kind in self.types if _worded(kind, goal)],
            [kind.name for kind in self.types if source in _lowered(kind.fallback_sources)],
            matching(goal, keywords),
        )
        found = next((names for names in rules if names), [])
        return tuple(found if self.match == "all" else found[:1])

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the whole content."""
        return content_hash(repr(self))


def load_bank(name: str) -> SkillBank:
    """A bank by name ("alfworld", "webshop", "searchqa"), or anyone's by path to a .toml file.

    Raises BankError naming the file, the key, what is wrong and the nearest right name.
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise BankError(f"no skill bank file {name}")
        return read_bank(Path(name).read_bytes(), name)
    package, _, folder = HOME.partition(":")
    home = files(package).joinpath(folder)
    known = sorted(p.name.removesuffix(".toml") for p in home.iterdir() if p.name[-5:] == ".toml")
    if name not in known:
        raise BankError(
            f"no skill bank {name!r}; {_nearest(name, known)}; yours: a path to a .toml"
        )
    return read_bank(home.joinpath(f"{name}.toml").read_bytes(), f"{name}.toml")


def read_bank(text: bytes, where: str) -> SkillBank:
    """A bank from the bytes of its file. where: what errors call the file. Raises BankError."""
    try:
        data = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BankError(f"{where}: {error}") from error
    _check_keys(data, ("name", "match", "general", "types"), ("mistakes",), where)
    if data["match"] not in ("first", "all"):
        raise BankError(f"{where}: match: 'first' or 'all', got {data['match']!r}")
    if not isinstance(data["types"], dict):
        raise BankError(f"{where}: types: expected tables [types.NAME]")
    bank = SkillBank(
        name=_text(data["name"], f"{where}: name"),
        match=data["match"],
        general=_entries(Skill, data["general"], f"{where}: general"),
        types=tuple(_type(n, table, f"{where}: types.{n}") for n, table in data["types"].items()),
        mistakes=_entries(Mistake, data["mistakes"], f"{where}: mistakes")
        if "mistakes" in data
        else (),
    )
    _refuse_duplicates(bank, where)
    return bank


# --- reading, key by key -------------------------------------------------------------------------


def _type(name: str, table: Any, where: str) -> SkillType:
    needed, optional = _keys(SkillType, leave_out="name")
    _check_keys(table, needed, optional, where)
    rules = {key: _texts(table[key], f"{where}.{key}") for key in optional if key in table}
    if "without" in rules and "words" not in rules:
        raise BankError(f"{where}.without: says nothing where there are no `words`")
    return SkillType(
        name=name,
        title=_text(table["title"], f"{where}.title"),
        skills=_entries(Skill, table["skills"], f"{where}.skills"),
        **rules,
    )


def _entries(kind: type[Entry], tables: Any, where: str) -> tuple[Entry, ...]:
    if not isinstance(tables, list) or not tables:
        raise BankError(f"{where}: expected entries [[{where.rpartition(' ')[2]}]]")
    needed, optional = _keys(kind)
    entries = []
    for number, table in enumerate(tables, start=1):
        here = f"{where}[{number}]"
        _check_keys(table, needed, optional, here)
        entries.append(kind(**{key: _text(table[key], f"{here}.{key}") for key in needed}))
    return tuple(entries)


def _keys(kind: Any, leave_out: str = "") -> tuple[list[str], list[str]]:
    """The keys that a table must have, and those that it may have."""
    told = [field for field in fields(kind) if field.name != leave_out]
    needed = [field.name for field in told if field.default is MISSING]
    return needed, [field.name for field in told if field.default is not MISSING]


def _check_keys(table: Any, needed: Sequence[str], optional: Sequence[str], where: str) -> None:
    if not isinstance(table, dict):
        raise BankError(f"{where}: expected a table, got {table!r}")
    for key in table:
        if key not in (*needed, *optional):
            near = _nearest(key, (*needed, *optional))
            raise BankError(f"{where}: unknown key {key!r}; {near}")
    for key in needed:
        if key not in table:
            raise BankError(f"{where}: key {key!r} is missing")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BankError(f"{where}: expected text, got {value!r}")
    return " ".join(value.split())


def _texts(values: Any, where: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise BankError(f"{where}: expected a list of texts, none of them empty, got {values!r}")
    _refuse_twice(_lowered(values), where)
    return tuple(values)


def _refuse_duplicates(bank: SkillBank, where: str) -> None:
    """Ids are used once; a kind or a data source belongs to one type."""
    skills = [*bank.general, *(skill for kind in bank.types for skill in kind.skills)]
    _refuse_twice([entry.id for entry in (*skills, *bank.mistakes)], f"{where}: id")
    _refuse_twice([name for kind in bank.types for name in kind.kinds], f"{where}: kinds")
    sources = [name for kind in bank.types for name in (*kind.sources, *kind.fallback_sources)]
    _refuse_twice(_lowered(sources), f"{where}: sources")


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise BankError(f"{where}: {twice!r} stands there twice")


# --- small things --------------------------------------------------------------------------------


def _block(title: str, entries: Sequence[Skill] | Sequence[Mistake]) -> str:
    return "\n".join([title, *map(str, entries)])


def _worded(kind: SkillType, goal: str) -> bool:
    """The goal has all of the type's words and none of those it must not have."""
    said = set(re.findall(r"\w+", goal.lower()))
    wanted, banned = set(_lowered(kind.words)), set(_lowered(kind.without))
    return bool(wanted) and wanted <= said and not banned & said


def _lowered(names: Sequence[str]) -> list[str]:
    return [name.lower() for name in names]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
