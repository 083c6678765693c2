"""Every question counts once."""

import pytest

from agentgym_envs.searchqa.averages import Macro, aggregates, by_set
from agentgym_envs.searchqa.datasets import SETS
from agentgym_envs.searchqa.env import SearchQAEnv
from agentgym_envs.statistics import Rate, wilson
from agentgym_envs.types import Episode, Task, Verdict


def judged(name: str, rights: list[bool]) -> list[tuple[Episode, Verdict]]:
    return [
        (
            Episode(task=Task(id=f"{name}/{i}", goal="", facts={"data_source": name}), turns=()),
            Verdict(right, float(right)),
        )
        for i, right in enumerate(rights)
    ]


def test_counts_rates_and_intervals_by_hand():
    played = judged("bamboogle", [True, False]) + judged("nq", [True] * 3 + [False])
    sets = by_set(played)
    assert list(sets) == ["nq", "bamboogle"]  # the usual order
    assert (sets["nq"].successes, sets["nq"].episodes) == (3, 4)
    assert sets["nq"].interval == wilson(3, 4)
    told = SearchQAEnv.aggregates(played)
    assert list(told) == ["macro"]  # without bamboogle one set is left, which is shown already
    assert told["macro"].rate == (0.75 + 0.5) / 2
    low, high = told["macro"].interval
    assert low < told["macro"].rate < high
    assert str(told["macro"]) == f"0.625 [{low:.3f}, {high:.3f}] (2 sets, 6 questions)"


def test_all_seven_sets_have_every_average():
    rights = dict(zip(SETS, range(7), strict=True))  # of 10 each
    told = aggregates(
        [one for name, n in rights.items() for one in judged(name, [i < n for i in range(10)])]
    )
    assert {name: rate.rate for name, rate in told.items()} == pytest.approx(
        {
            "macro": 0.3,
            "macro, in_domain": 0.15,  # nq 0, hotpotqa 3
            "macro, out_of_domain": 0.36,  # 1, 2, 4, 5, 6
            "macro without bamboogle": 0.25,
        }
    )


def test_averages_over_the_same_sets_are_said_once():
    trained = judged("nq", [True]) + judged("hotpotqa", [False])
    assert list(aggregates(trained)) == ["macro"]
    assert list(aggregates(trained + judged("popqa", [True]))) == ["macro", "macro, in_domain"]


def test_other_questions_have_no_such_averages():
    assert aggregates([]) == {}
    assert aggregates(judged("world_nano", [True])) == {}
    assert aggregates(judged("nq", [True]) + judged("mine", [True])) == {}


def test_one_set_has_one_interval():
    assert Macro.of([Rate(30, 100, 2.0, 0.3)]).interval == pytest.approx(wilson(30, 100))


def test_more_sets_of_one_size_narrow_the_macro_interval():
    widths = []
    for count in (1, 4, 16):
        low, high = Macro.of([Rate(30, 100, 2.0, 0.3)] * count).interval
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2)
    assert widths[1] / widths[2] == pytest.approx(2)


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(ValueError, match="played twice"):
        aggregates(judged("nq", [True]) * 2)
    with pytest.raises(ValueError, match="no set to average"):
        Macro.of([])
