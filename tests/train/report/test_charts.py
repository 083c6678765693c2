"""Figures: labels that do not cover each other, round ticks, axes that are never empty."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentgym_train.report.charts import (
    COLOURS,
    FEW,
    Line,
    Point,
    Series,
    dashes,
    nice_ticks,
    spread,
    success_chart,
    success_frame,
    tile,
)

places = st.lists(st.floats(0, 300), max_size=12)


@given(wanted=places)
def test_labels_keep_apart_and_in_order(wanted):
    placed = spread(wanted, 13, 0, 300)
    ordered = sorted(placed)
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(ordered))
    assert max(placed, default=0) <= 300
    by_wish = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert [placed[i] for i in by_wish] == ordered


def test_labels_with_room_stay_where_they_belong():
    assert spread([100.0, 50.0], 13, 0, 300) == [100.0, 50.0]


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6), about=st.integers(1, 8))
def test_ticks_are_inside_and_not_too_many(low, size, about):
    ticks = nice_ticks(low, low + size, about)
    assert all(low - 1e-6 * size - 1e-9 <= t <= low + size * (1 + 1e-6) + 1e-9 for t in ticks)
    assert len(ticks) <= about + 1


def test_ticks_by_hand():
    assert nice_ticks(0, 60, 6) == [0, 10, 20, 30, 40, 50, 60]
    assert nice_ticks(0.13, 0.87, 3) == [0.25, 0.5, 0.75]


def line(name: str, style: int, *ys: float) -> Series:
    points = tuple(Point(float(i), y, y, y, i) for i, y in enumerate(ys))
    return Series(name=name, style=style, points=points)


def test_a_line_goes_where_its_values_are():
    series = [line("grpo", 0, 0.0, 1.0)]
    frame = success_frame(series, [], 400)
    drawn = success_chart(series, [], frame, axis="step", name="env")
    left, right = frame.left, frame.width - frame.right
    bottom, top = frame.height - frame.bottom, frame.top
    assert f'd="M{left:.1f} {bottom:.1f}L{right:.1f} {top:.1f}"' in drawn


def test_names_are_text_whatever_they_say():
    series = [line("<b onclick=alert(1)>", 0, 0.1, 0.2)]
    levels = [Line("</svg><script>", 0.5)]
    drawn = success_chart(
        series, levels, success_frame(series, levels, 860), axis="step", name="<i>"
    )
    assert "<b " not in drawn
    assert "<script" not in drawn
    assert "<i>" not in drawn


def test_more_lines_than_colours_have_other_dashes():
    assert dashes(0) == "" != dashes(COLOURS)
    assert dashes(COLOURS) != dashes(2 * COLOURS)


def test_a_constant_and_nothing_at_all_can_be_drawn():
    assert "<svg" in tile("constant", [line("a", 0, 0.0, 0.0)])
    assert "<svg" in tile("one point", [line("a", 0, 3.0)])
    assert "<svg" in success_chart([], [], success_frame([], [], 350), axis="x", name="none")


@given(low=st.floats(-50, 50), size=st.floats(0, 40))
def test_a_small_figure_can_be_read(low, size):
    """Two ticks at least, and what its axis is."""
    drawn = tile("any", [line("a", 0, low, low + size)], axis="step")
    ticks = re.findall(r'text-anchor="end"[^>]*>([^<]*)<', drawn)
    assert "step" in ticks
    assert len(set(ticks) - {"step"}) >= 2


def test_a_few_lines_are_named_at_their_ends_and_have_bands():
    points = tuple(Point(float(i), 0.5, 0.4, 0.6, i) for i in range(3))
    series = [Series(name=f"arm {i}", style=i, points=points) for i in range(FEW)]
    frame = success_frame(series, [], 860)
    drawn = success_chart(series, [], frame, axis="step", name="env")
    assert frame.named and drawn.count('class="band"') == FEW
    assert all(f">arm {i}<" in drawn for i in range(FEW))
    assert drawn.count('class="leader"') == FEW  # a label that moved away points to its line


def test_many_lines_have_neither():
    points = tuple(Point(float(i), 0.5, 0.4, 0.6, i) for i in range(3))
    series = [Series(name=f"arm {i}", style=i, points=points) for i in range(FEW + 1)]
    frame = success_frame(series, [], 860)
    drawn = success_chart(series, [], frame, axis="step", name="env")
    assert not frame.named
    assert 'class="band"' not in drawn and ">arm 1<" not in drawn
    assert drawn.count('class="line"') == FEW + 1


def test_a_name_is_never_cut_short():
    """Where it has no room at its line's end, a key tells it."""
    long = line("an_algorithm_with_a_long_name (second)", 0, 0.1, 0.2)
    assert success_frame([long], [], 860).named
    assert not success_frame([long], [], 350).named
    for width in (350, 860):
        frame = success_frame([long], [], width)
        assert "…" not in success_chart([long], [], frame, axis="step", name="env")


def test_unfinished_runs_are_dotted_lines_as_far_as_they_are():
    series = Series(
        name="a", style=0, points=line("a", 0, 0.0, 1.0).points, unfinished=(((0, 0.0), (3, 0.5)),)
    )
    frame = success_frame([series], [], 400)
    drawn = success_chart([series], [], frame, axis="step", name="env")
    assert frame.x == (0.0, 3)  # it has room, though it is further than the others
    assert re.search(r'class="run open" d="[^"]+" stroke-dasharray', drawn)
