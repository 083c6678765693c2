"""The end of a comparison on a terminal, and its picture."""

import struct

import pytest
from rich.console import Console
from train.report.made_up import MadeUp, write_suite

from agentgym_train.report import report
from agentgym_train.report.terminal import standings_table

WANTED = MadeUp(algorithms=("grpo", "opd", "atod"), seeds=2, steps=24, every=2, tasks=12)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return report([write_suite(folder / "suite", WANTED)], folder / "out")


def shown(found, width=80) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as said:
        console.print(standings_table(found))
    return said.get().splitlines()


def test_the_table_says_what_the_findings_say(written):
    found = written.findings["alfworld"]
    lines = shown(found)
    assert "alfworld, 2 seeds; 95 % over seeds and tasks" in lines[0]
    assert "at step 0, 8, 16, 24" in lines[2]
    rows = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    names = [row[0].strip() for row in rows]
    assert names[:3] == [one.algorithm for one in found.standings]
    assert set(names[3:]) == {one.name for one in found.yardsticks}
    for row, one in zip(rows, found.standings, strict=False):
        assert one.both_interval is not None
        low, high = one.both_interval.low, one.both_interval.high
        assert row[1].strip() == f"{one.rate:.3f} [{low:.3f}, {high:.3f}]"
        rates = row[3].split()
        assert len(row[2].strip()) == 8  # of 13 evaluations
        assert len(rates) == 4
        assert float(rates[-1]) == pytest.approx(one.rate, abs=0.0051)


def test_with_one_seed_the_interval_is_over_tasks_and_says_so(tmp_path):
    wanted = MadeUp(algorithms=("grpo",), seeds=1, steps=4, every=2, tasks=12)
    found = report([write_suite(tmp_path / "suite", wanted)], tmp_path / "out").findings["alfworld"]
    lines = shown(found)
    assert "alfworld, 1 seed; 95 % over tasks alone" in lines[0]
    (one,) = found.standings
    assert one.tasks_interval is not None
    assert f"[{one.tasks_interval.low:.3f}, {one.tasks_interval.high:.3f}]" in lines[4]


def test_the_table_fits_a_terminal_of_eighty_columns(written):
    lines = shown(written.findings["alfworld"])
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_the_highest_rate_has_the_highest_bar(written):
    found = written.findings["alfworld"]
    assert any("█" in line for line in shown(found))


def test_the_picture_grows_with_the_environments(tmp_path, written):
    both = MadeUp(
        envs=("alfworld", "webshop"), algorithms=("grpo",), seeds=1, steps=4, every=2, tasks=3
    )
    wide = report([write_suite(tmp_path / "suite", both)], tmp_path / "out")
    sizes = []
    for paths in (written, wide):
        data = paths.picture.read_bytes()
        assert data.startswith(b"\x89PNG")
        sizes.append(struct.unpack(">II", data[16:24]))
    (one_wide, one_high), (two_wide, two_high) = sizes
    assert two_wide > 1.6 * one_wide
    assert two_high == one_high
