"""The picture of a comparison: success against the step, a panel an environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agentgym_train.report.charts import FEW, Line
from agentgym_train.report.curves import AXES, levels, success_series
from agentgym_train.report.findings import Findings

# As on the page, for light and for telling apart without colour: after seven, other dashes.
_COLOURS = ("#1b1b1a", "#3d9fd6", "#d98a00", "#00916a", "#0067a8", "#d55e00", "#b9608f")
_DASHES = ("-", "--", ":", "-.")
_HEIGHT, _WIDTH = 3.6, 4.4  # inches, of a panel
_APART = 0.035  # of a panel's height, between two labels


def draw(findings: Mapping[str, Findings], styles: Mapping[str, int], path: Path) -> None:
    """Write a PNG. styles: algorithm -> number of its colour.

    Lines: mean over seeds; bands, of a few lines: lowest to highest seed; dotted levels:
    yardsticks.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        *(1, len(findings)),
        figsize=(_WIDTH * len(findings) + 1.2, _HEIGHT),
        squeeze=False,
        layout="constrained",
    )
    for axes, (env, found) in zip(grid[0], findings.items(), strict=True):
        _panel(axes, found, styles)
        axes.set(title=env, xlabel=AXES[0].title)
    grid[0][0].set_ylabel("success on held-out tasks")
    lines = {
        line.get_label(): line
        for axes in grid[0]
        for line in axes.get_lines()
        if line.get_label() in styles
    }
    ordered = [name for name in styles if name in lines]
    figure.legend(
        [lines[name] for name in ordered], ordered, loc="outside right upper", frameon=False
    )
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _panel(axes, found: Findings, styles: Mapping[str, int]) -> None:
    highest = 0.0
    series = success_series(found, AXES[0], styles)
    for one in series:
        x, y, low, high = zip(*((p.x, p.y, p.low, p.high) for p in one.points), strict=True)
        colour = _COLOURS[one.style % len(_COLOURS)]
        dash = _DASHES[one.style // len(_COLOURS) % len(_DASHES)]
        axes.plot(x, y, dash, color=colour, label=one.name, linewidth=1.8)
        if len(series) <= FEW:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        highest = max(highest, *high)
    # A yardstick that solves everything would only press the curves down.
    shown = [line for line in levels(found) if line.y < 1]
    top = min(1.0, 1.12 * max([highest, *(line.y for line in shown)])) or 1.0
    for names, y in _together(shown, top):
        axes.axhline(y, color="0.6", linewidth=0.8, linestyle=":")
        axes.annotate(
            names,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color="0.45",
            fontsize=7,
        )
    axes.set_ylim(0, top)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _together(lines: Sequence[Line], top: float) -> list[tuple[str, float]]:
    """Levels with their names; levels too close for two labels share the lower one's."""
    groups: list[tuple[str, float]] = []
    for line in sorted(lines, key=lambda line: line.y):
        if groups and line.y - groups[-1][1] < _APART * top:
            groups[-1] = (f"{groups[-1][0]}, {line.name}", groups[-1][1])
        else:
            groups.append((line.name, line.y))
    return groups
