"""How a comparison ended, as a table for a terminal."""

from collections.abc import Sequence
from typing import TypeVar

from rich.markup import escape
from rich.table import Table

from agentgym_train.report.curves import AXES, success_series
from agentgym_train.report.findings import Findings
from agentgym_train.report.stats import Interval

T = TypeVar("T")
_BARS = "▁▂▃▄▅▆▇█"
# So many of a curve's rates have a bar, and so many are told, that the table fits a terminal.
_DRAWN, _TOLD = 8, 4


def standings_table(found: Findings) -> Table:
    """An environment's algorithms, best first, with their learning curves; then its yardsticks.

    The interval is over seeds and tasks, or where there is no word on new seeds, over tasks. The
    curve is success on held-out tasks at each evaluation, mean over seeds: bars in shares of the
    highest of all, and some of it as numbers, whose steps the heading has.
    """
    series = success_series(found, AXES[0], dict.fromkeys(found.algorithms, 0))
    curves = {one.name: {point.step: point.y for point in one.points} for one in series}
    told = _some(sorted({step for curve in curves.values() for step in curve}), _TOLD)
    highest = max((rate for curve in curves.values() for rate in curve.values()), default=0.0)
    seeds = {arm.seed for arms in found.done.values() for arm in arms}
    over = "seeds and tasks" if any(one.both_interval for one in found.standings) else "tasks alone"
    title = f"{found.env}, {len(seeds)} seed{'s' * (len(seeds) != 1)}; 95 % over {over}"
    table = Table(title=title, title_style="")
    steps = ", ".join(str(step) for step in told)
    for name in ("policy", "success [95 %]", "curve", f"at step {steps}", "turns"):
        table.add_column(escape(name), no_wrap=True)
    for one in found.standings:
        curve = curves.get(one.algorithm, {})
        table.add_row(
            one.algorithm,
            escape(f"{one.rate:.3f} {_shown(one.both_interval or one.tasks_interval)}"),
            _bars(_some([*curve.values()], _DRAWN), highest),
            " ".join(f"{curve[step]:.2f}" if step in curve else "–" for step in told),
            f"{one.turns:.1f}",
        )
    table.add_section()
    for one in sorted(found.yardsticks, key=lambda one: one.rate):
        table.add_row(one.name, f"{one.rate:.3f}", "", "", f"{one.turns:.1f}", style="dim")
    return table


def _shown(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"


def _some(items: Sequence[T], most: int) -> list[T]:
    """The first, the last, and some between them."""
    count = min(len(items), most)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _bars(rates: Sequence[float], highest: float) -> str:
    return "".join(_BARS[round(rate / highest * 7)] if highest else _BARS[0] for rate in rates)
