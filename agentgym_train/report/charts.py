"""Figures as inline SVG: success curves, strips of intervals, small multiples.

Colours are CSS classes (`s0` to `s6`, the colours of Okabe and Ito but yellow), so that they follow
the page's light and dark; after seven lines the dashes change. Drawn at a fixed size in pixels.

A few lines are named at their ends and have bands and single runs. Of many, and where a name has no
room, a key beside the figure tells the names, and bands would only cover each other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agentgym_envs.markup import Html, tag
from agentgym_train.report.stats import Interval
from agentgym_train.report.tables import short_number

COLOURS = 7
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_LABEL_GAP = 13.0  # pixels between direct labels
_LETTER = 6.6  # pixels of a label's letter, about
FEW = 8  # lines that can have names at their ends, and bands


@dataclass(frozen=True, slots=True)
class Point:
    """A value with the band around it; `step` is the training step it belongs to."""

    x: float
    y: float
    low: float
    high: float
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line. `style` chooses colour and dashes; `runs` are thin lines behind it, `unfinished` ones
    dotted; an `open` line is itself of runs that are not finished."""

    name: str
    style: int
    points: tuple[Point, ...]
    runs: tuple[tuple[tuple[float, float], ...], ...] = ()
    unfinished: tuple[tuple[tuple[float, float], ...], ...] = ()
    open: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A level to compare with, drawn across the figure."""

    name: str
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The figure's size in pixels, its margins, and the range of its axes. named: lines have their
    names at their ends."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x: tuple[float, float]
    y: tuple[float, float]
    named: bool = False

    def across(self, x: float) -> float:
        low, high = self.x
        return self.left + (self.width - self.left - self.right) * (x - low) / (high - low)

    def down(self, y: float) -> float:
        low, high = self.y
        return (
            self.height
            - self.bottom
            - (self.height - self.top - self.bottom) * (y - low) / (high - low)
        )


def success_frame(series: Sequence[Series], lines: Sequence[Line], width: int) -> Frame:
    """Axes for success curves: y from 0 to 1, room for names on the right."""
    narrow = width < 500
    most = width // 3
    names = max((_room(one.name) for one in series), default=0)
    named = len(series) <= FEW and names <= most
    levels = max((_room(line.name) for line in lines), default=0)
    return Frame(
        width=width,
        height=300 if narrow else 380,
        left=40,
        right=min(max(names if named else 0, levels, 12), most),
        top=14,
        bottom=44,
        x=_range(
            [p.x for one in series for p in one.points]
            + [x for one in series for run in one.unfinished for x, _ in run],
            from_zero=True,
        ),
        y=(0.0, 1.0),
        named=named,
    )


def success_chart(
    series: Sequence[Series], lines: Sequence[Line], frame: Frame, *, axis: str, name: str
) -> Html:
    """Success in percent against `axis`; levels are named at their right ends, and so are
    algorithms where the frame has room."""
    drawn = [one for one in series if one.points]
    edge = frame.width - frame.right
    ends = [(frame.across(one.points[-1].x), frame.down(one.points[-1].y)) for one in drawn]
    names = [(one.name, f"s{one.style % COLOURS}") for one in drawn]
    if not frame.named:
        ends, names = [], []
    ends += [(edge, frame.down(line.y)) for line in lines]
    names += [(line.name, "quiet") for line in lines]
    heights = spread([y for _, y in ends], _LABEL_GAP, frame.top, frame.height - frame.bottom)
    labels = [
        _label(text, kind, frame, end, height)
        for (text, kind), end, height in zip(names, ends, heights, strict=True)
    ]
    return tag(
        "svg",
        tag("title", f"{name}: success against {axis}"),
        _axes(frame, axis, [0, 0.25, 0.5, 0.75, 1.0], "{:.0%}".format),
        *(_level(line, frame) for line in lines),
        *(_series(one, frame, bands=len(drawn) <= FEW) for one in drawn),
        *labels,
        tag("line", class_="cursor", y1=frame.top, y2=frame.height - frame.bottom, x1=-9, x2=-9),
        viewBox=f"0 0 {frame.width} {frame.height}",
        width=frame.width,
        height=frame.height,
        role="img",
        class_="chart",
    )


def tile(title: str, series: Sequence[Series], *, axis: str = "step", width: int = 244) -> Html:
    """A small figure of one metric, its range of values chosen to fit."""
    low, high = _range(
        [y for one in series for p in one.points for y in (p.low, p.y, p.high)], least=0.25
    )
    frame = Frame(
        width=width,
        height=150,
        left=44,
        right=8,
        top=8,
        bottom=30,
        x=_range([p.x for one in series for p in one.points]),
        y=(low, high),
    )
    return tag(
        "figure",
        tag("figcaption", title),
        tag(
            "svg",
            tag("title", title),
            _axes(frame, axis, _at_least_two(low, high), short_number, few=True),
            *(_series(one, frame, bands=len(series) <= FEW) for one in series),
            viewBox=f"0 0 {frame.width} {frame.height}",
            width=frame.width,
            height=frame.height,
            role="img",
            class_="tile",
        ),
        class_="multiple",
    )


def strip(
    rate: float,
    seeds: Interval | None,
    wide: Interval | None,
    lines: Iterable[Line],
    style: int | None,
) -> Html:
    """A rate from 0 to 1 on a line: thick its interval over seeds, thin a wider one.

    style None: something that was not trained here.
    """
    width, middle = 180, 10

    def across(value: float) -> str:
        return f"{4 + (width - 8) * value:.1f}"

    colour = "quiet" if style is None else f"s{style % COLOURS}"
    parts = [tag("line", class_="base", x1=across(0), x2=across(1), y1=middle, y2=middle)]
    parts += [
        tag(
            "line",
            tag("title", one.name),
            class_="mark",
            x1=across(one.y),
            x2=across(one.y),
            y1=2,
            y2=18,
        )
        for one in lines
    ]
    for kind, interval in (("thin", wide), ("thick", seeds)):
        if interval is not None:
            parts.append(
                tag(
                    "line",
                    class_=f"{kind} {colour}",
                    x1=across(interval.low),
                    x2=across(interval.high),
                    y1=middle,
                    y2=middle,
                )
            )
    parts.append(tag("circle", class_=f"dot {colour}", cx=across(rate), cy=middle, r="4"))
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width} 20",
        width=width,
        height=20,
        class_="strip",
        aria_hidden="true",
    )


def swatch(style: int) -> Html:
    """A short piece of a line, for keys and tables."""
    line = tag(
        "line",
        class_=f"line s{style % COLOURS}",
        x1="1",
        x2="21",
        y1="5",
        y2="5",
        stroke_dasharray=dashes(style) or None,
    )
    return tag(
        "svg", line, viewBox="0 0 22 10", width=22, height=10, class_="swatch", aria_hidden="true"
    )


def dashes(style: int) -> str:
    return _DASHES[style // COLOURS % len(_DASHES)]


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers in [low, high], some `about` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(about, 1)
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - first * step) / step + 1e-9)
    return [round((first + i) * step, 12) for i in range(count + 1)]


def _at_least_two(low: float, high: float) -> list[float]:
    """Ticks of a small figure, by which it can be read."""
    few = (nice_ticks(low, high, about) for about in (3, 4, 6, 10))
    return next(ticks for ticks in few if len(ticks) > 1)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones that are at least `gap` apart, within [low, high] if they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: dict[int, float] = {}
    floor = low
    for i in order:
        placed[i] = max(wanted[i], floor)
        floor = placed[i] + gap
    ceiling = high
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return [placed[i] for i in range(len(wanted))]


def _axes(
    frame: Frame,
    axis: str,
    y_ticks: Sequence[float],
    shown: Callable[[float], str],
    *,
    few: bool = False,
) -> Html:
    bottom = frame.height - frame.bottom
    parts = []
    for y in y_ticks:
        height = f"{frame.down(y):.1f}"
        parts.append(
            tag(
                "line",
                class_="grid",
                x1=frame.left,
                x2=frame.width - frame.right,
                y1=height,
                y2=height,
            )
        )
        parts.append(_text(shown(y), frame.left - 6, frame.down(y) + 4, "end"))
    for x in nice_ticks(*frame.x, 3 if few or frame.width < 500 else 6):
        parts.append(_text(short_number(x), frame.across(x), bottom + 16, "middle"))
    middle = (frame.left + frame.width - frame.right) / 2
    if few:
        parts.append(_text(axis, frame.left - 6, bottom + 16, "end", "axis"))
    else:
        parts.append(_text(axis, middle, frame.height - 6, "middle", "axis"))
    return tag("g", *parts, class_="axes")


def _level(line: Line, frame: Frame) -> Html:
    y = f"{frame.down(line.y):.1f}"
    return tag("line", class_="level", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y)


def _series(one: Series, frame: Frame, *, bands: bool) -> Html:
    """A line; with `bands` what is around it too: its band and its runs."""
    colour = f"s{one.style % COLOURS}"
    parts = []
    places = [(frame.across(p.x), frame.down(p.y)) for p in one.points]
    if bands and any(p.high > p.low for p in one.points):
        upper = [(frame.across(p.x), frame.down(min(p.high, frame.y[1]))) for p in one.points]
        lower = [(frame.across(p.x), frame.down(max(p.low, frame.y[0]))) for p in one.points]
        parts.append(tag("path", class_="band", d=_path(upper + lower[::-1]) + "Z"))
    runs = one.runs if bands else ()
    thin = [*((run, False) for run in runs), *((run, True) for run in one.unfinished)]
    parts += [
        tag(
            "path",
            class_="run open" if dotted else "run",
            d=_path([(frame.across(x), frame.down(y)) for x, y in run]),
            stroke_dasharray="2 3" if dotted else None,
        )
        for run, dotted in thin
    ]
    dashed = dashes(one.style) or ("3 4" if one.open else None)
    parts.append(tag("path", class_="line", d=_path(places), stroke_dasharray=dashed))
    if len(places) == 1:
        (x, y), *_ = places
        parts.append(tag("circle", class_="dot", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3"))
    return tag("g", *parts, class_=colour, data_series=one.name)


def _label(text: str, kind: str, frame: Frame, end: tuple[float, float], height: float) -> Html:
    """A name in the right margin, with a thin line to where its own line ends."""
    x = frame.width - frame.right + 8
    letters = max(int((frame.right - 8) / _LETTER), 4)
    name = text if len(text) <= letters else text[: letters - 1] + "…"
    leader = tag("path", class_="leader", d=_path([(end[0] + 2, end[1]), (x - 3, height)]))
    return tag("g", leader, _text(name, x, height + 4, "start", "name"), class_=kind)


def _room(name: str) -> int:
    """Pixels that a label needs."""
    return math.ceil(12 + _LETTER * len(name))


def _text(text: str, x: float, y: float, anchor: str, kind: str | None = None) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(places))


def _range(
    values: Sequence[float], *, from_zero: bool = False, least: float = 0.0
) -> tuple[float, float]:
    """The ends of an axis, never equal. least: how much of the largest magnitude is shown, so that
    noise around a constant looks like what it is."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if from_zero:
        return min(low, 0.0), high if high > min(low, 0.0) else 1.0
    wanted = max(least * max(abs(low), abs(high)), 1e-9 if high > low else 1.0)
    room = max(0.04 * (high - low), (wanted - (high - low)) / 2)
    return low - room, high + room
