import pytest
import torch

from agentgym_train.segments import Segments

OWNED = Segments(torch.tensor([0, 0, 2, 2, 2]), count=4)
X = torch.tensor([1.0, 3.0, -1.0, 0.0, 4.0])


def test_reductions_by_hand():
    assert OWNED.size.tolist() == [2, 0, 3, 0]
    assert OWNED.sum(X).tolist() == [4, 0, 3, 0]
    assert OWNED.mean(X).tolist() == [2, 0, 1, 0]
    assert OWNED.low(X).tolist() == [1, float("inf"), -1, float("inf")]
    assert OWNED.high(X).tolist() == [3, -float("inf"), 4, -float("inf")]
    assert OWNED.spread(torch.tensor([5.0, 6.0, 7.0, 8.0])).tolist() == [5, 5, 7, 7, 7]


def test_reductions_are_in_double_precision():
    many = Segments(torch.zeros(3, dtype=torch.int64), 1)
    tiny = torch.tensor([1.0, 1e-9, 1e-9], dtype=torch.float32)
    assert many.sum(tiny).item() == pytest.approx(1 + 2e-9, abs=1e-12)


def test_owners_of_owners():
    outer = Segments(torch.tensor([1, 1, 0, 0]), count=2)
    assert OWNED.then(outer).owner.tolist() == [1, 1, 0, 0, 0]
    assert OWNED.then(outer).count == 2


def test_a_choice_of_items_keeps_the_owners():
    chosen = OWNED.at(torch.tensor([False, True, True, False, False]))
    assert (chosen.owner.tolist(), chosen.count) == ([0, 2], 4)


@pytest.mark.parametrize("owner", [torch.tensor([0, 4]), torch.tensor([-1]), torch.tensor([0.0])])
def test_a_stranger_cannot_own(owner):
    with pytest.raises(ValueError, match="owner"):
        Segments(owner, count=4)
