"""The published Bamboogle figures, taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.searchqa.datasets import SETS
from agentgym_envs.searchqa.published import (
    bamboogle_as_published,
    bamboogle_corrected,
    effective_sample,
    mean_of_batch_means,
)

SIZES = dict(zip(SETS, (3610, 11313, 14267, 7405, 12576, 2417, 125), strict=True))
# Published per-set figures, Bamboogle last; the published average; Bamboogle's and the average's
# corrected figures.
PUBLISHED = {
    "GRPO 1.7B": ((40.0, 58.9, 43.5, 35.4, 30.3, 12.0, 65.7), 40.8, 32.0, 36.0),
    "GiGPO 3B": ((42.0, 59.5, 42.4, 36.9, 37.0, 12.6, 64.1), 42.1, 28.8, 37.0),
    "GiGPO 7B": ((46.4, 64.7, 46.1, 41.6, 43.6, 18.9, 68.9), 47.2, 38.4, 42.8),
    "GRPO+OPSD 3B": ((44.9, 61.2, 45.2, 40.4, 38.5, 16.0, 66.1), 44.6, 32.8, 39.9),
    "GRPO+OPSD 7B": ((47.3, 64.5, 46.9, 43.8, 39.3, 18.0, 69.4), 47.0, 39.2, 42.7),
    "GRPO+OPSD 1.7B": ((40.7, 58.9, 45.0, 37.0, 34.6, 13.3, 65.7), 42.2, 32.0, 37.4),
    "RLSD 3B": ((41.5, 58.6, 42.3, 40.4, 40.2, 16.8, 66.9), 43.8, 34.4, 39.2),
    "RLSD 7B": ((46.8, 63.0, 44.4, 45.5, 48.9, 21.5, 73.0), 49.0, 46.4, 45.2),
    "SDAR 3B": ((44.8, 58.1, 44.3, 38.6, 36.2, 15.7, 66.1), 43.4, 32.8, 38.6),
    "SDAR 7B": ((46.3, 63.5, 48.2, 43.8, 48.4, 19.6, 73.0), 49.0, 46.4, 45.2),
    "SDAR 1.7B": ((39.7, 58.9, 45.3, 35.9, 35.5, 12.6, 65.3), 41.9, 31.2, 37.0),
}


@given(st.lists(st.tuples(st.sampled_from(SETS), st.booleans()), min_size=1, max_size=60))
def test_one_batch_is_the_true_average(outcomes):
    rates = mean_of_batch_means(outcomes, batch_size=len(outcomes))
    for name, rate in rates.items():
        rights = [right for of, right in outcomes if of == name]
        assert rate == sum(rights) / len(rights)


@pytest.mark.parametrize("last", [False, True])
def test_the_published_rule_weighs_one_question_like_the_other_124(last):
    outcomes = [(name, False) for name, size in SIZES.items() for _ in range(size)]
    outcomes[-125:] = [("bamboogle", i < 35) for i in range(124)] + [("bamboogle", last)]
    assert len(outcomes) == 101 * 512 + 1
    published = 100 * mean_of_batch_means(outcomes)["bamboogle"]
    assert published == pytest.approx(bamboogle_as_published(35, last))
    assert round(published, 1) == (64.1 if last else 14.1)


def test_the_published_rule_wastes_questions():
    assert effective_sample([124, 1]) == pytest.approx(3.97, abs=0.01)
    assert effective_sample([512] * 7 + [26]) == pytest.approx(1228, abs=1)
    assert effective_sample([50] * 4) == 200


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_figures_follow_the_rule_and_are_corrected(method):
    figures, average, bamboogle, corrected_average = PUBLISHED[method]
    assert sum(figures) / 7 == pytest.approx(average, abs=0.051)
    (true,) = bamboogle_corrected(figures[-1])
    assert true == pytest.approx(bamboogle)
    corrected = (sum(figures[:-1]) + true) / 7
    assert corrected == pytest.approx(corrected_average, abs=0.051)


@pytest.mark.parametrize("figure", [26.4, 37.6, 12.8, 23.2, 36.8])
def test_figures_of_other_origin_do_not_follow_it(figure):
    assert bamboogle_corrected(figure) == []
    assert (figure * 1.25) % 1 == pytest.approx(0)  # they are means over 125


@given(st.integers(0, 124), st.booleans())
def test_every_count_is_found_again(right, last):
    published = round(bamboogle_as_published(right, last), 1)
    assert 100 * (right + last) / 125 in bamboogle_corrected(published)


def test_only_one_figure_is_ambiguous():
    assert [t / 10 for t in range(1001) if len(bamboogle_corrected(t / 10)) > 1] == [50.0]
