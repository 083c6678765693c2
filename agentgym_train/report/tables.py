"""Tables as values: one source for Markdown, CSV and HTML, so that they cannot disagree."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agentgym_train.report.stats import Interval

Cell = str | float | Interval | None
# "figure" is a number as somebody printed it: text, set like a number.
Kind = Literal[
    "text",
    "figure",
    "percent",
    "points",
    "count",
    "number",
    "turns",
    "seconds",
    "p",
    "interval",
    "difference",
]
NOTHING = "–"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~])")


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how its cells are shown. Rates and intervals of rates are shown in percent."""

    title: str
    kind: Kind = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`key` names its CSV file; `note` says what the numbers mean."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.key}: {len(row)} cells for {len(self.columns)} columns")


def shown(column: Column, cell: Cell) -> str:
    """A cell as people read it."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return NOTHING
    if isinstance(cell, Interval):
        form = "{:+.1f}" if column.kind == "difference" else "{:.1f}"
        return _minus(f"{form.format(100 * cell.low)} to {form.format(100 * cell.high)}")
    if isinstance(cell, str):
        return cell
    return _minus(_FORMS[column.kind](cell))


def markdown(tables: Sequence[Table], title: str, summary: Sequence[str] = ()) -> str:
    """All tables as Markdown; text cannot become markup."""
    parts = [f"# {_plain(title)}", *(f"- {_plain(said)}" for said in summary)]
    for table in tables:
        lines = [f"## {_plain(table.title)}", ""]
        if table.note:
            lines += [_plain(table.note), ""]
        lines.append(_line(_plain(column.title) for column in table.columns))
        lines.append(_line("---" if c.kind == "text" else "---:" for c in table.columns))
        lines += [
            _line(_plain(shown(c, cell)) for c, cell in zip(table.columns, row, strict=True))
            for row in table.rows
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def comma_separated(table: Table) -> str:
    """One table as CSV: full precision, rates from 0 to 1, an interval as two columns.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    spans = [column.kind in ("interval", "difference") for column in table.columns]
    heads = [
        [f"{column.title}: low", f"{column.title}: high"] if span else [column.title]
        for column, span in zip(table.columns, spans, strict=True)
    ]
    lines.writerow([one for head in heads for one in head])
    for row in table.rows:
        cells = [_values(cell, span) for cell, span in zip(row, spans, strict=True)]
        lines.writerow([one for cell in cells for one in cell])
    return written.getvalue()


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def short_number(value: float) -> str:
    """1234567 as "1.23 M"; small numbers with three figures."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


_FORMS: dict[str, Callable[[float], str]] = {
    "text": str,
    "figure": str,
    "percent": lambda value: f"{100 * value:.1f}",
    "points": lambda value: f"{100 * value:+.1f}",
    "count": lambda value: f"{value:,.0f}",
    "number": short_number,
    "turns": lambda value: f"{value:.1f}",
    "seconds": lambda value: f"{value:.1f}" if value < 10 else f"{value:,.0f}",
    "p": p_value,
}


def _values(cell: Cell, span: bool) -> list[str]:
    if span:
        return [repr(cell.low), repr(cell.high)] if isinstance(cell, Interval) else ["", ""]
    if cell is None or isinstance(cell, Interval):
        return [""]
    if isinstance(cell, str):
        line = " ".join(cell.split())
        return [f"'{line}" if line.startswith(("=", "+", "-", "@")) else line]
    return [repr(float(cell))]


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
