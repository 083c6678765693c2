"""One stored episode in a terminal, whatever it says: as text, never as markup or control codes."""

import json
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agentgym_train.report.viewer import Stored

_LONG = 4000  # characters of a text that are shown
# Control characters as their pictures; what moves or hides text on a line as a replacement mark.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {
    0x7F: 0x2421
}
_MARKS = {
    code: 0xFFFD
    for low, high in ((0x80, 0x9F), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069))
    for code in range(low, high + 1)
}


def harmless(text: str) -> str:
    """The text without anything a terminal would obey: control codes, bidirectional overrides,
    characters that cannot be encoded; cut where it is very long."""
    cut = text[:_LONG]
    seen = cut.translate(_PICTURES | _MARKS).encode("utf-8", "replace").decode("utf-8")
    more = len(text) - len(cut)
    return f"{seen} … {more} more characters" if more else seen


def print_episode(stored: Stored, console: Console) -> None:
    """The episode turn by turn, with its verdict first."""
    record = stored.record
    task, verdict = record["task"], record.get("verdict")
    about = Table.grid(padding=(0, 2))
    about.add_column()
    about.add_column(overflow="fold")
    for name, value in (
        ("task", task["id"]),
        ("goal", task["goal"]),
        ("type", task.get("kind", "")),
        ("played", f"{record.get('phase', '')} step {record.get('step', 0)}".strip()),
        ("ended by", record.get("stop_reason", "")),
        ("verdict", _verdict(verdict)),
    ):
        if value:
            about.add_row(Text(name, "dim"), Text(harmless(value)))
    console.print(Panel(about, title=f"episode {stored.number}"))
    for number, turn in enumerate(record["turns"], start=1):
        title = f"turn {number}" + ("" if turn["valid"] else " (invalid)")
        console.print(Panel(_turn(turn), title=title, title_align="left"))
    if record.get("outcome"):
        console.print(Panel(Text(harmless(record["outcome"])), title="what came last"))


def _turn(turn: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    for name in ("observation", "response", "action"):
        parts += [Text(name, "dim"), Text(harmless(turn[name]) or "none")]
    if turn.get("facts"):
        parts += [Text("facts", "dim"), Text(harmless(json.dumps(turn["facts"])))]
    return Group(*parts)


def _verdict(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "not judged"
    told = f"{'solved' if verdict['success'] else 'failed'}, score {verdict['score']:g}"
    return f"{told}: {verdict['reason']}" if verdict.get("reason") else told
