import math
from dataclasses import dataclass, replace

import pytest
import torch

from agentgym_train.algorithms import find
from agentgym_train.algorithms.base import Algorithm, Credit
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.optimizer import make_optimizer
from agentgym_train.tokens import MissingScoreError
from agentgym_train.update import Learning, update


@pytest.fixture
def batch(toy):
    """Two attempts at one task: opening with 3 wins, opening with 4 does not."""
    won = toy.Story(0, 1.0, (toy.Turn((1, 2), (3,)), toy.Turn((1, 5), (6, 7))))
    lost = toy.Story(0, 0.0, (toy.Turn((1, 2), (4,)), toy.Turn((1, 5), (6, 8))))
    return toy.told([won, lost])


def step(policy, batch, algorithm=None, *, seed=0, at=1, optimizer=None, **learning):
    learning = Learning(**{"lr": 0.1, "weight_decay": 0.0} | learning)
    return update(
        policy,
        optimizer or make_optimizer(policy.parameters(), lr=learning.lr, weight_decay=0.0),
        algorithm or GRPO(),
        batch,
        at,
        learning,
        steps=10,
        generator=torch.Generator().manual_seed(seed),
    )


def test_what_won_becomes_likelier(toy, batch):
    policy = toy.Bigram()
    before = policy.table.log_softmax(-1)[2].detach()
    step(policy, toy.of_policy(batch, policy))
    after = policy.table.log_softmax(-1)[2]
    assert after[3] > before[3]
    assert after[4] < before[4]


@pytest.mark.parametrize("aggregate", ["token-mean", "seq-mean-token-mean", "trajectory-mean"])
def test_metrics_and_weights_do_not_depend_on_micro_batches(toy, batch, aggregate):
    results = []
    for budget in (1, 7, 1000):
        policy = toy.Bigram()
        told = step(policy, batch, micro_tokens=budget, aggregate=aggregate)
        results.append((told, policy.table.detach()))
    for told, table in results[1:]:
        assert told == pytest.approx(results[0][0], abs=1e-12)
        torch.testing.assert_close(table, results[0][1])


def test_the_names_of_the_literature(toy, batch):
    told = step(toy.Bigram(), batch)
    losses = {f"actor/{name}" for name in ("pg_loss", "kl_loss", "entropy_loss", "grad_norm")}
    clips = {f"actor/{name}" for name in ("pg_clipfrac", "pg_clipfrac_lower", "ppo_kl")}
    assert losses | clips <= told.keys()
    assert {f"critic/advantages/{name}" for name in ("mean", "max", "min")} <= told.keys()
    assert "credit/reward" in told
    assert {"teacher/gap_mean", "kl/trajectory_std", "turn/1/disagreement"} <= told.keys()


def test_one_optimiser_step_per_mini_batch_of_rows(toy, batch):
    assert step(toy.Bigram(), batch, mini_rows=3)["actor/optimizer_steps"] == 2
    assert step(toy.Bigram(), batch, mini_rows=3, epochs=2)["actor/optimizer_steps"] == 4


def test_same_seed_same_weights_other_seed_other_order(toy, batch):
    tables = []
    for seed in (0, 0, 1):
        policy = toy.Bigram()
        step(policy, batch, seed=seed, mini_rows=1)
        tables.append(policy.table.detach())
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(toy, batch):
    policy = toy.Bigram()
    with torch.no_grad():
        policy.table[2, 3] = math.nan
    before = policy.table.detach().clone()
    told = step(policy, batch, mini_rows=1)
    assert told["actor/skipped_steps"] == 2  # the two rows that open with 2
    assert told["actor/optimizer_steps"] == 2
    assert not torch.equal(policy.table[5].detach(), before[5])


def test_gradients_are_held_to_the_norm(toy, batch):
    policy = toy.Bigram()
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    before = policy.table.detach().clone()
    told = step(policy, batch, optimizer=optimizer, lr=1.0, max_grad_norm=0.01)
    assert told["actor/grad_norm"] > 0.01
    assert (policy.table - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_warm_up_is_a_straight_line_then_constant():
    learning = Learning(lr=1.0, warmup_fraction=0.1)
    assert [learning.rate(s, 40) for s in (1, 2, 4, 5, 40)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert Learning(lr=1.0, warmup_steps=2).rate(1, 40) == 0.5
    assert Learning(lr=1.0).rate(1, 40) == 1.0


def test_the_rate_reaches_the_optimiser(toy, batch):
    policy = toy.Bigram()
    optimizer = make_optimizer(policy.parameters(), lr=1e-6, weight_decay=0.01)
    step(policy, batch, optimizer=optimizer, lr=1.0, warmup_steps=4, at=2)
    assert optimizer.param_groups[0]["lr"] == 0.5


class NoExtras:
    """A policy that would notice being asked for more than log-probs."""

    def __init__(self, policy):
        self.policy = policy

    def parameters(self):
        return self.policy.parameters()

    def live(self, padded, *, entropy):
        assert not entropy
        return self.policy.live(padded)


def test_entropy_and_reference_are_used_only_where_they_weigh(toy, batch):
    bare = toy.replace(batch, tokens=toy.replace(batch.tokens, reference=None))
    told = step(NoExtras(toy.Bigram()), bare, entropy=0.0, reference_kl=0.0)
    assert "actor/kl_loss" not in told
    assert "actor/entropy_loss" not in told


def test_entropy_can_be_watched_without_being_rewarded(toy, batch):
    settings = {"reference_kl": 0.0, "entropy": 0.0}
    policy, watched = toy.Bigram(), toy.Bigram()
    step(policy, batch, **settings)
    assert step(watched, batch, watch_entropy=True, **settings)["actor/entropy_loss"] > 0
    assert torch.equal(policy.table, watched.table)


def test_a_missing_reference_stops_the_step(toy, batch):
    bare = toy.replace(batch, tokens=toy.replace(batch.tokens, reference=None))
    with pytest.raises(MissingScoreError, match="reference"):
        step(toy.Bigram(), bare)


@dataclass(frozen=True, kw_only=True)
class Chosen(Algorithm):
    """One everywhere, but only the tokens of unreadable turns count."""

    def credit(self, batch, step):
        ones = torch.ones(len(batch), dtype=torch.float64)
        return Credit({"one": ones}, keep=batch.turns.spread(batch.chosen))


def test_tokens_that_do_not_count_are_left_out_of_the_mean(toy):
    turns = (toy.Turn((1, 2), (3, 4)), toy.Turn((1, 5), (6,), valid=False))
    batch, policy = toy.told([toy.Story(0, 0.0, turns)]), toy.Bigram()
    told = step(policy, toy.of_policy(batch, policy), Chosen(), entropy=0.0)
    assert told["actor/pg_loss"] == pytest.approx(-1.0, abs=1e-7)


def test_a_batch_with_nothing_to_say_changes_nothing(toy):
    batch, policy = toy.told([toy.Story(0, 0.0, (toy.Turn((1, 2), (3, 4)),))]), toy.Bigram()
    before = policy.table.detach().clone()
    assert step(policy, batch, Chosen())["actor/optimizer_steps"] == 0
    assert torch.equal(policy.table, before)


@dataclass(frozen=True, kw_only=True)
class Broken(Algorithm):
    shape: int = 1
    value: float = math.inf

    def credit(self, batch, step):
        return Credit({"odd": torch.full((self.shape,), self.value)})


def test_credit_that_makes_no_sense_is_refused(toy, batch):
    with pytest.raises(ValueError, match="'odd'"):
        step(toy.Bigram(), batch, Broken(shape=1))
    with pytest.raises(FloatingPointError, match="'odd'"):
        step(toy.Bigram(), batch, Broken(shape=len(batch)))


def test_algorithms_are_found_by_name_or_address():
    assert find("grpo") is GRPO
    assert find("agentgym_train.algorithms.grpo:GRPO") is GRPO
    with pytest.raises(KeyError, match="built in: grpo, opd"):
        find("gpro")
    with pytest.raises(TypeError, match="not a subclass"):
        find("agentgym_train.update:update")


BOUNDED = """
from dataclasses import dataclass, replace
from agentgym_train.algorithms.base import Credit
from agentgym_train.algorithms.opd import OPD

@dataclass(frozen=True, kw_only=True)
class BoundedOPD(OPD):
    limit: float = 2.0

    def credit(self, batch, step):
        return Credit({"teacher": batch.gap.clamp(-self.limit, self.limit)})
"""


def test_a_stranger_brings_an_algorithm(toy, batch, tmp_path, monkeypatch):
    (tmp_path / "my_lab_bounded.py").write_text(BOUNDED)
    monkeypatch.syspath_prepend(tmp_path)
    bounded = find("my_lab_bounded:BoundedOPD")(limit=0.5)
    told = step(toy.Bigram(), batch, bounded)
    assert told["critic/advantages/max"] <= 0.5
    assert bounded.teacher == "model"


def test_what_is_told_of_the_teacher_is_of_the_tokens_that_take_part(toy, batch):
    """HINT-SD: of two attempts, the first turn of one and the second of the other were noted."""
    chosen = torch.tensor([True, False, False, True])
    told = step(toy.Bigram(), replace(batch, chosen=chosen), find("hint_sd")())
    counted = batch.turns.spread(chosen)
    gap = batch.gap[counted]
    assert 0 < len(gap) < len(batch)
    assert told["teacher/gap_abs_mean"] == pytest.approx(float(gap.abs().mean()))
    assert told["teacher/gap_rms"] == pytest.approx(float(gap.square().mean().sqrt()))
    assert told["kl/token_mean"] == pytest.approx(float(-gap.mean()))
    first, second = gap[:1].sum(), gap[1:].sum()
    assert told["kl/trajectory_mean"] == pytest.approx(float(-(first + second) / 2))
    assert (told["turn/0/count"], told["turn/1/count"]) == (1.0, 1.0)
    assert told["turn/0/kl"] == pytest.approx(float(-first))
    assert told["turn/1/kl"] == pytest.approx(float(-gap[1:].mean()))
