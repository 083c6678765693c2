"""How a comparison stands, on a terminal: what runs now, counts, and the time that is left."""

from __future__ import annotations

from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agentgym_train.suite import Now, Outcome, Running


class Board:
    """A line per running job, redrawn in place; a line of its own for each that ends.

    Where the console is no terminal, the lines of ended jobs are all that is printed.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._console = console

    def __enter__(self) -> Board:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, now: Now) -> None:
        """What `compare` calls on the way."""
        for name, error in now.ended:
            how = f"[red]broken:[/] {escape(_first_line(error))}" if error else "done"
            self._console.print(f"{escape(name)} {how}", soft_wrap=True)
        if self._console.is_terminal:
            self._live.update(standing(now), refresh=True)


def standing(now: Now) -> Group:
    """A comparison at one moment, as something rich can print."""
    table = Table.grid(padding=(0, 2))
    for one in now.running:
        table.add_row(*_line(one))
    left = "" if now.seconds_left is None else f", about {_span(now.seconds_left)} left"
    broken = f", {now.broken} broken" if now.broken else ""
    counts = f"arms: {now.done} done{broken}, {now.waiting} waiting; {_span(now.seconds)}{left}"
    return Group(table, Text(counts))


def ending(outcome: Outcome, console: Console) -> None:
    """What is worth knowing once a comparison has ended: how many arms, and what broke, and how."""
    console.print(f"{len(outcome.done)} arms are done in {escape(str(outcome.folder))}")
    for name, error in outcome.broken.items():
        console.print(f"[red]{escape(name)} is broken:[/] {escape(error)}", soft_wrap=True)


def _line(one: Running) -> tuple[Text, ProgressBar | Text, Text]:
    name = Text(one.name)
    if not one.steps:
        return name, Text("at work"), Text("")
    bar = ProgressBar(total=one.steps, completed=max(one.step, 0), width=24)
    held_out = "" if one.held_out is None else f", held-out {one.held_out:.3f}"
    return name, bar, Text(f"step {max(one.step, 0)} of {one.steps}{held_out}")


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
