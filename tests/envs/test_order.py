from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.order import Permutation


@given(count=st.integers(1, 300), key=st.integers(0, 2**63 - 1))
def test_every_place_goes_somewhere_else(count, key):
    order = Permutation(count, key)
    assert sorted(order[place] for place in range(count)) == list(range(count))


def test_large_ones_stay_inside_and_do_not_repeat():
    order = Permutation(10_000_019, 5)
    drawn = [order[place] for place in range(20_000)]
    assert len(set(drawn)) == 20_000 and min(drawn) >= 0 and max(drawn) < 10_000_019


def test_every_order_of_four_comes_about_equally_often():
    """24,000 keys: each of the 24 orders 1,000 times, give or take five standard errors."""
    orders = Counter(
        tuple(order[i] for i in range(4))
        for order in (Permutation(4, k * 7919) for k in range(24_000))
    )
    assert len(orders) == 24
    assert all(abs(times - 1000) < 5 * 31 for times in orders.values())


def test_neighbouring_keys_give_unrelated_orders():
    same = sum(Permutation(1000, 1)[i] == Permutation(1000, 2)[i] for i in range(1000))
    assert same < 10


def test_a_place_outside_is_an_error():
    with pytest.raises(IndexError, match="place 3 of 3"):
        Permutation(3, 0)[3]
