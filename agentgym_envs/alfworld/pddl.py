"""Reading PDDL: the facts of a problem and which domain it belongs to.

PDDL ignores case, so everything here is lower case. The engine's rules are written in Python, so a
domain is not interpreted: each of its actions is brought into a canonical form and compared with
the actions the rules were written for. A game with any other action is refused.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from agentgym_envs.alfworld import known

Expression = str | list["Expression"]

_TOKEN = re.compile(r"[()]|[^\s()]+")
_COMMENT = re.compile(r";[^\n]*")
_FACT = re.compile(r"\(\s*([^\s()]+)\s+([^\s()]+)(?:\s+([^\s()]+))?\s*\)")


def parse(text: str, where: str) -> list[Expression]:
    """All expressions of a text as nested lists of lower-case words; comments are dropped.

    Raises ValueError, naming `where`, when brackets do not match.
    """
    top: list[Expression] = []
    stack = [top]
    for token in _TOKEN.findall(_COMMENT.sub("", text).lower()):
        if token == "(":
            inner: list[Expression] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif token == ")":
            if len(stack) == 1:
                raise ValueError(f"{where}: a closing bracket too many")
            stack.pop()
        else:
            stack[-1].append(token)
    if len(stack) > 1:
        raise ValueError(f"{where}: {len(stack) - 1} bracket(s) never closed")
    return top


def canonical(expression: Expression) -> str:
    """One spelling per meaning: `and`/`or` flat, sorted, without repeats; action costs dropped."""
    if isinstance(expression, str):
        return expression
    head = expression[0] if expression else "and"
    if head not in ("and", "or"):
        return "(" + " ".join([canonical(part) for part in expression]) + ")"
    parts = {canonical(part) for part in _flat(expression, str(head))}
    if len(parts) == 1:
        return parts.pop()
    return "(" + " ".join([str(head), *sorted(parts)]) + ")"


def _flat(expression: list[Expression], head: str) -> Iterator[Expression]:
    """The members of a conjunction or disjunction, those of nested ones included."""
    for part in expression[1:]:
        if isinstance(part, list) and part[:1] in (["and"], ["or"]) and len(part) == 2:
            part = part[1]  # a conjunction of one is that one
        if isinstance(part, list) and part[:1] == [head]:
            yield from _flat(part, head)
        elif not _is_cost(part):
            yield part


def _is_cost(expression: Expression) -> bool:
    return isinstance(expression, list) and expression[:1] == ["increase"]


def fingerprint(text: str) -> str:
    """The first 16 hex digits of the SHA-256 of a text, usually a canonical one."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A recognised domain: its text, its actions (lower case) and where objects can be cleaned."""

    text: str
    actions: frozenset[str]
    washers: frozenset[str]  # receptacle types that clean, without the suffix "type"


def domain_actions(text: str) -> dict[str, str]:
    """Action name -> canonical form, lower case. Raises ValueError where this is no PDDL domain."""
    expressions = parse(text, "pddl_domain")
    if len(expressions) != 1 or expressions[0][:1] != ["define"]:
        raise ValueError("pddl_domain: expected one (define (domain ...) ...)")
    actions: dict[str, str] = {}
    for part in expressions[0][1:]:
        match part:
            case [":action", str(name), *_] if name in actions:
                raise ValueError(f"pddl_domain: action {name!r} is defined twice")
            case [":action", str(name), *_]:
                actions[name] = canonical(part)
            case [(":requirements" | ":types" | ":predicates" | ":functions" | "domain"), *_]:
                pass
            case _:
                raise ValueError(f"pddl_domain: section {canonical(part)[:60]!r} is not known")
    return actions


@lru_cache(maxsize=8)
def read_domain(text: str) -> Domain:
    """Recognise a domain. Raises ValueError naming the first action that differs or is missing."""
    actions = domain_actions(text)
    for name, form in actions.items():
        if name not in known.ACTIONS:
            raise ValueError(f"pddl_domain: action {name!r} is not one this engine knows")
        if fingerprint(form) not in known.ACTIONS[name]:
            raise ValueError(
                f"pddl_domain: action {name!r} differs from the one this engine knows "
                f"(fingerprint {fingerprint(form)}), so neither engine plays it"
            )
    missing = known.ACTIONS.keys() - actions.keys() - {"help"}
    if missing:
        raise ValueError(f"pddl_domain: action(s) {', '.join(sorted(missing))} missing")
    types = re.findall(r"\(receptacletype \?r (\w+)type\)", actions["cleanobject"])
    return Domain(text=text, actions=frozenset(actions), washers=frozenset(types))


# The facts a problem may state: predicate -> the kinds of its arguments.
_SIGNATURES: dict[str, tuple[str, ...]] = {
    "receptacletype": ("receptacle", "type"),
    "objecttype": ("object", "type"),
    "cancontain": ("type", "type"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "inreceptacleobject": ("object", "object"),
    "wasinreceptacle": ("object", "receptacle"),
    "atlocation": ("agent", "location"),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    "full": ("receptacle",),
    "checked": ("any",),
    "examined": ("location",),
    "isreceptacleobject": ("object",),
    "isreceptacleobjectfull": ("object",),
    "moveable": ("object",),
    "pickupable": ("object",),
    "cleanable": ("object",),
    "heatable": ("object",),
    "coolable": ("object",),
    "toggleable": ("object",),
    "sliceable": ("object",),
    "isclean": ("object",),
    "ishot": ("object",),
    "iscool": ("object",),
    "ison": ("object",),
    "istoggled": ("object",),
    "issliced": ("object",),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """The initial facts of a problem, by predicate. One-argument facts have "" as their second."""

    by_predicate: dict[str, list[tuple[str, str]]]

    def pairs(self, predicate: str) -> list[tuple[str, str]]:
        """Arguments of a two-argument predicate, in file order."""
        return self.by_predicate.get(predicate, [])

    def ids(self, predicate: str) -> list[str]:
        """Arguments of a one-argument predicate, in file order."""
        return [first for first, _ in self.by_predicate.get(predicate, [])]

    def things(self, kind: str) -> set[str]:
        """Every id that stands where a `kind` (object, receptacle, location) belongs."""
        found: set[str] = set()
        for predicate, facts in self.by_predicate.items():
            kinds = _SIGNATURES[predicate]
            if kinds[0] == kind:
                found.update([first for first, _ in facts])
            if len(kinds) > 1 and kinds[1] == kind:
                found.update([second for _, second in facts])
        return found


def read_problem(text: str) -> tuple[Facts, Expression]:
    """The initial facts and the goal expression of a problem.

    One regular-expression pass over the flat facts: a problem has about 250 of them and is read at
    every cold reset. Raises ValueError saying which section or fact is malformed.
    """
    text = text.lower()
    if ";" in text:
        text = _COMMENT.sub("", text)
    init, goal = text.find("(:init"), text.find("(:goal")
    if init < 0 or goal < init:
        raise ValueError("pddl_problem: expected (:init ...) followed by (:goal ...)")
    section = text[init + len("(:init") : goal]
    found = _FACT.findall(section)
    if section.count("(") != len(found):
        raise ValueError("pddl_problem: (:init ...) holds something that is not a plain fact")
    by_predicate: dict[str, list[tuple[str, str]]] = {}
    for predicate, first, second in found:
        by_predicate.setdefault(predicate, []).append((first, second))
    for predicate, facts in by_predicate.items():
        _check_signature(predicate, facts)
    goal_text = text[goal:]
    return Facts(by_predicate), parse(_first_expression(goal_text), "pddl_problem goal")[0][1]


def _check_signature(predicate: str, facts: list[tuple[str, str]]) -> None:
    if predicate not in _SIGNATURES:
        raise ValueError(f"pddl_problem: predicate {predicate!r} is not known")
    two = len(_SIGNATURES[predicate]) == 2
    for fact in facts:
        if bool(fact[1]) != two:
            raise ValueError(f"pddl_problem: {predicate} {' '.join(fact)}: wrong argument count")


def _first_expression(text: str) -> str:
    depth = 0
    for token in re.finditer(r"[()]", text):
        depth += 1 if token[0] == "(" else -1
        if depth == 0:
            return text[: token.end()]
    raise ValueError("pddl_problem goal: bracket(s) never closed")
