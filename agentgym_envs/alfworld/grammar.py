"""Reading the text grammar of a game file: which wording the game speaks.

As with the domain, the engine's sentences are written in Python; the grammar is compared rule by
rule with the ones they were written for. What does vary between data releases (the words for
putting something down, what arriving says, the help text) is read from the file into a `Dialect`.
"""

import json
import re
import textwrap
from dataclasses import dataclass
from functools import lru_cache

from agentgym_envs.alfworld import known
from agentgym_envs.alfworld.pddl import fingerprint, read_domain

_TASK = re.compile(r'"task"\s*:\s*\[\s*\{\s*"rhs"\s*:\s*"((?:[^"\\]|\\.)*)"')
_PREFIX = "Your task is to: "
_BLOCK = re.compile(
    r'\baction\s+(?P<action>\w+)\s*\{(?P<body>(?:"""(?:.|\n)*?"""|"(?:[^"\\]|\\.)*"|[^"}])*)\}'
    r'|\bgrammar\s*::\s*"""(?P<rules>(?:.|\n)*?)"""\s*;'
)
_FIELD = re.compile(
    r'\b(template|feedback|grammar|pddl)\s*::\s*("""(?:.|\n)*?"""|"(?:[^"\\]|\\.)*")\s*;'
)
_SYMBOL = re.compile(r"#([^#\s{}\[\]]+(?:\s*,[^#{}\[\]]+)?)#")
_PUT = re.compile(r"(?P<verb>\w+) \{o\} (?P<to>\S(?:.*\S)?) \{r\}")
_PUT_TEXT = re.compile(r"[^{}\[\]#]*\{o\.name\}[^{}\[\]#]*\{r\.name\}[^{}\[\]#]*")
_ARRIVE = re.compile(r"([^{}\[\]#]*)\{(r|lend)\.name\}\. #examineReceptacle\.feedback#")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The wording of one game file.

    name: "move" (data release 2.1.3 on: "move X to Y") or "put" (older: "put X in/on Y").
    put: verb and preposition of the command. put_text: feedback with {o} and {r}.
    arrive: feedback before the receptacle's own text, with {r} or {l}. help: text, None where the
    file has no such command. washers: receptacle types that clean.
    """

    name: str
    put: tuple[str, str]
    put_text: str
    arrive: str
    help: str | None
    washers: frozenset[str]


def split_goal(grammar: str) -> tuple[str, str]:
    """The grammar with its goal sentence blanked, and that sentence without its prefix.

    Raises ValueError when there is not exactly one `task` rule of the known form.
    """
    found = _TASK.findall(grammar)
    if len(found) != 1:
        raise ValueError(f"grammar: expected one task rule with one sentence, found {len(found)}")
    sentence = json.loads(f'"{found[0]}"', strict=False)
    if not sentence.startswith(_PREFIX):
        raise ValueError(
            f"grammar: the task sentence does not start with {_PREFIX!r}: {sentence!r}"
        )
    match = _TASK.search(grammar)
    assert match is not None
    return grammar[: match.start(1)] + grammar[match.end(1) :], sentence.removeprefix(_PREFIX)


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar taken apart.

    rules: symbol -> [(condition, right-hand side), ...], conditions without white space.
    commands: action name in lower case -> (template, feedback).
    """

    rules: dict[str, list[tuple[str, str]]]
    commands: dict[str, tuple[str, str]]

    def reachable(self, actions: frozenset[str]) -> set[str]:
        """Symbols that the intro and the feedback of these actions can lead to, but the task."""
        waiting = ["intro"]
        for name in actions & self.commands.keys():
            waiting += _SYMBOL.findall(self.commands[name][1])
        seen: set[str] = {"task"}
        while waiting:
            symbol = waiting.pop()
            if symbol not in seen:
                seen.add(symbol)
                for _, right in self.rules.get(symbol, []):
                    waiting += _SYMBOL.findall(right)
        lists = {"list_empty", "list_separator", "list_last_separator"}  # used by every [...]
        return (seen | lists) - {"task"}


def parse_grammar(text: str) -> Grammar:
    """Take a grammar apart. Raises ValueError naming what is malformed."""
    rules: dict[str, list[tuple[str, str]]] = {}
    commands: dict[str, tuple[str, str]] = {}
    for block in _BLOCK.finditer(text):
        if block["rules"] is not None:
            rules.update(_rules(block["rules"], "the top-level grammar"))
            continue
        name = block["action"].lower()
        fields = dict(_FIELD.findall(block["body"]))
        if not fields.keys() >= {"template", "feedback"} or name in commands:
            raise ValueError(f"grammar: action {name!r} is incomplete or given twice")
        commands[name] = (fields["template"][1:-1], fields["feedback"][1:-1])
        if "grammar" in fields:
            rules.update(_rules(fields["grammar"][3:-3], f"action {name!r}"))
    rest = _BLOCK.sub("", text).strip()
    if rest:
        raise ValueError(f"grammar: {rest[:60]!r} is not understood")
    return Grammar(rules, commands)


def _rules(text: str, where: str) -> dict[str, list[tuple[str, str]]]:
    lines = [
        line for line in textwrap.dedent(text).split("\n") if not line.lstrip().startswith("#")
    ]
    try:
        data = json.loads("\n".join(lines))
        return {
            name: [("".join(rule.get("condition", "").split()), rule["rhs"]) for rule in options]
            for name, options in data.items()
        }
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"grammar: the rules of {where} are malformed: {error!r}") from error


def rule_form(options: list[tuple[str, str]]) -> str:
    """One spelling of a rule, for its fingerprint."""
    return json.dumps(options)


def command_form(command: tuple[str, str]) -> str:
    """One spelling of a command's template and feedback symbol, for its fingerprint."""
    return json.dumps(command)


@lru_cache(maxsize=16)
def read_dialect(domain: str, grammar: str) -> Dialect:
    """Recognise a domain with a grammar whose goal sentence was blanked (`split_goal`).

    Raises ValueError naming the action or rule that differs from what the engine speaks.
    """
    rules = read_domain(domain)
    parsed = parse_grammar(grammar)
    silent = rules.actions - parsed.commands.keys()
    if silent:
        raise ValueError(f"grammar: no wording for action(s) {', '.join(sorted(silent))}")
    for name in sorted(rules.actions - {"putobject", "help"}):
        form = command_form(parsed.commands[name])
        if fingerprint(form) not in known.COMMANDS.get(name, ()):
            raise ValueError(f"grammar: action {name!r} has unknown wording {form}")
    special = {"PutObject.feedback", "GotoLocation.feedback"}
    for symbol in sorted(parsed.reachable(rules.actions - {"help"}) - special):
        if symbol not in parsed.rules:
            raise ValueError(f"grammar: rule {symbol!r} is used but not given")
        form = rule_form(parsed.rules[symbol])
        if fingerprint(form) not in known.RULES.get(symbol, ()):
            raise ValueError(
                f"grammar: rule {symbol!r} differs from the one this engine knows "
                f"(fingerprint {fingerprint(form)}), so neither engine plays it"
            )
    put, put_text = _read_put(parsed)
    return Dialect(
        name="move" if put == ("move", "to") else "put",
        put=put,
        put_text=put_text,
        arrive=_read_arrive(parsed),
        help=_read_help(parsed) if "help" in rules.actions else None,
        washers=rules.washers,
    )


def _only(parsed: Grammar, symbol: str) -> str:
    """The single unconditional right-hand side of a rule."""
    match parsed.rules.get(symbol):
        case [("", right)]:
            return right
    raise ValueError(f"grammar: rule {symbol!r} should be one sentence without a condition")


def _read_put(parsed: Grammar) -> tuple[tuple[str, str], str]:
    template, feedback = parsed.commands["putobject"]
    command = _PUT.fullmatch(template)
    text = _only(parsed, "PutObject.feedback")
    clash = command and command["verb"] in _VERBS
    if not command or clash or feedback != "#PutObject.feedback#" or not _PUT_TEXT.fullmatch(text):
        raise ValueError(
            f"grammar: putting down is worded in an unknown way: {template!r}, {text!r}"
        )
    words = text.replace("{o.name}", "{o}").replace("{r.name}", "{r}")
    return (command["verb"], command["to"]), words


_VERBS = frozenset(
    ["go", "open", "close", "take", "examine", "use", "heat", "clean", "cool", "slice"]
)


def _read_arrive(parsed: Grammar) -> str:
    text = _only(parsed, "GotoLocation.feedback")
    found = _ARRIVE.fullmatch(text)
    if not found:
        raise ValueError(f"grammar: arriving is worded in an unknown way: {text!r}")
    return f"{found[1]}{{{'r' if found[2] == 'r' else 'l'}}}. "


def _read_help(parsed: Grammar) -> str:
    """The help text as it is shown: the official parser drops white space before the first word."""
    template, feedback = parsed.commands["help"]
    symbol = _SYMBOL.fullmatch(feedback)
    text = _only(parsed, symbol[1]) if symbol else feedback
    if template != "help" or re.search(r'[;|"<>\[\]#{}]', text):
        raise ValueError(f"grammar: help is worded in an unknown way: {template!r}, {text[:60]!r}")
    return text.replace("\\n", "\n").lstrip()
