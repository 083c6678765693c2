"""What a comparison shows on a terminal, and that hostile names stay text."""

import io
from pathlib import Path

from rich.console import Console

from agentgym_train.suite import Now, Outcome, Running
from agentgym_train.suite_progress import Board, ending, standing


def shown(thing) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(thing)
    return console.file.getvalue()


def now(*running: Running, ended=(), **values) -> Now:
    told = {"waiting": 3, "done": 2, "broken": 0, "seconds": 61.0, "seconds_left": None, **values}
    return Now(running=running, ended=tuple(ended), **told)


def test_a_running_arm_is_a_line_with_its_step_and_what_it_last_scored():
    text = shown(
        standing(now(Running("games/atod-0", 10, 40, 0.25), Running("warm/games/teacher")))
    )
    first, second, last = text.splitlines()
    assert first.startswith("games/atod-0") and "step 10 of 40, held-out 0.250" in first
    assert second.split() == ["warm/games/teacher", "at", "work"]
    assert last.strip() == "arms: 2 done, 3 waiting; 0:01:01"


def test_broken_arms_are_counted_and_the_time_left_is_told_once_known():
    text = shown(standing(now(broken=1, seconds_left=3600.4)))
    assert "2 done, 1 broken, 3 waiting; 0:01:01, about 1:00:00 left" in text


def test_without_a_terminal_only_what_ends_is_printed():
    console = Console(file=io.StringIO(), width=120)
    with Board(console) as board:
        board.show(now(Running("games/opd-0", 1, 4), ended=[("games/grpo-0", "")]))
        board.show(now(ended=[("games/opd-0", "exit code 4: [b]why[/b]\nmore")]))
    assert console.file.getvalue().split("\n")[:2] == [
        "games/grpo-0 done",
        "games/opd-0 broken: exit code 4: [b]why[/b]",
    ]


def test_the_ending_tells_the_last_words_of_what_broke():
    console = Console(file=io.StringIO(), width=120)
    ending(Outcome(Path("runs"), ("a/b-0",), {"a/c-0": "exit code 4: one\ntwo"}), console)
    assert console.file.getvalue() == (
        "1 arms are done in runs\na/c-0 is broken: exit code 4: one\ntwo\n"
    )
