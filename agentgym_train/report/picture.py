"""The picture of a comparison: success against the step, a panel an environment."""

from collections.abc import Mapping
from pathlib import Path

from agentgym_train.report.curves import AXES, levels, success_series
from agentgym_train.report.findings import Findings

# As on the page, for light and for telling apart without colour: after seven, other dashes.
_COLOURS = ("#1b1b1a", "#3d9fd6", "#d98a00", "#00916a", "#0067a8", "#d55e00", "#b9608f")
_DASHES = ("-", "--", ":", "-.")
_HEIGHT, _WIDTH = 3.6, 4.4  # inches, of a panel


def draw(findings: Mapping[str, Findings], styles: Mapping[str, int], path: Path) -> None:
    """Write a PNG. styles: algorithm -> number of its colour.

    Lines: mean over seeds; bands: lowest to highest seed; dotted levels: yardsticks.
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
        axes.set(title=env, xlabel=AXES[0].title, ylim=(0, 1))
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
    end = 0.0
    for one in success_series(found, AXES[0], styles):
        x, y, low, high = zip(*((p.x, p.y, p.low, p.high) for p in one.points), strict=True)
        colour = _COLOURS[one.style % len(_COLOURS)]
        dash = _DASHES[one.style // len(_COLOURS) % len(_DASHES)]
        axes.plot(x, y, dash, color=colour, label=one.name, linewidth=1.8)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        end = max(end, x[-1])
    for line in levels(found):
        axes.axhline(line.y, color="0.6", linewidth=0.8, linestyle=":")
        axes.annotate(
            line.name,
            (0, line.y),
            xycoords=("axes fraction", "data"),
            xytext=(3, 1.5),
            textcoords="offset points",
            color="0.45",
            fontsize=7,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.xaxis.get_major_locator().set_params(integer=True)
