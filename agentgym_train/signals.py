"""Arithmetic on tensors: advantages, surrogates, divergences. No settings, no masks, no layout.

Every function takes sampled tokens only (or turns), with `Segments` saying who owns what.
Statistics are computed in float64: in float32 a rounding error of 1e-8 over 1e-6 is visible.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from agentgym_train.segments import Segments

Aggregate = Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "trajectory-mean"]
KL = Literal["k1", "k2", "k3", "abs"]
Divergences = Literal["rkl", "fkl", "jsd"]


def share(how: Aggregate, rows: Segments, trajs: Segments) -> Tensor:
    """Weight of each token, so that `(share * x).sum()` is the aggregate of x.  [n]

    rows, trajs: the n tokens' rows (what the model read in one piece) and trajectories.
    Weights sum to 1 (`seq-mean-token-sum`: to the mean number of tokens per row). Rows and
    trajectories without tokens are not counted.
    """
    match how:
        case "token-mean":
            return torch.full_like(rows.owner, 1, dtype=torch.float64) / (len(rows) + 1e-8)
        case "seq-mean-token-mean":
            return _mean_of_means(rows)
        case "seq-mean-token-sum":
            held = (rows.size > 0).sum().clamp(min=1)
            return torch.full_like(rows.owner, 1, dtype=torch.float64) / held
        case "trajectory-mean":
            return _mean_of_means(trajs)
    raise ValueError(
        f"unknown aggregate {how!r}; one of token-mean, seq-mean-token-mean, "
        "seq-mean-token-sum, trajectory-mean"
    )


def _mean_of_means(owners: Segments) -> Tensor:
    held = (owners.size > 0).sum().clamp(min=1)
    return 1 / (held * owners.spread(owners.size))


class Pools(NamedTuple):
    """size, mean and std of each group's counted scores.  [G] each"""

    size: Tensor
    mean: Tensor
    std: Tensor


def group_pools(score: Tensor, groups: Segments, counted: Tensor) -> Pools:
    """Statistics of each group, std with n - 1.  [n] -> [G]

    counted: [n] bool, the scores that enter. A group with a single one has nothing to compare
    with, so its mean is 0 and its std 1 (GRPO's reference rule).
    """
    pool, score = groups.at(counted), score.to(torch.float64)[counted]
    size, mean = pool.size, pool.mean(score)
    square = pool.sum((score - pool.spread(mean)).square())
    std = (square / (size - 1).clamp(min=1)).sqrt()
    return Pools(size, mean.masked_fill(size == 1, 0.0), std.masked_fill(size == 1, 1.0))


def group_advantage(
    score: Tensor, groups: Segments, counted: Tensor, *, by_spread: bool = True
) -> Tensor:
    """Score against the group's mean, in units of the group's spread.  [n] -> [n]

        A = (score - mean) / (std + 1e-6)        or without the division

    counted: [n] bool, the scores that enter mean and std; all get an advantage.
    """
    pools = group_pools(score, groups, counted)
    above = score.to(torch.float64) - groups.spread(pools.mean)
    return above / (groups.spread(pools.std) + 1e-6) if by_spread else above


class Surrogate(NamedTuple):
    """loss: [n], with gradient. clipped, dual_clipped: [n] bool, where each limit was at work."""

    loss: Tensor
    clipped: Tensor
    dual_clipped: Tensor


def clipped_surrogate(
    new: Tensor, old: Tensor, advantage: Tensor, low: float, high: float, dual: float
) -> Surrogate:
    """PPO's clipped loss with a second clip for negative advantages.  [n] each -> [n]

    r = exp(clamp(new - old, -20, 20))
    l = max(-A r, -A clip(r, 1 - low, 1 + high));  l = min(l, -dual A) where A < 0
    """
    ratio = (new - old).clamp(-20, 20).exp()
    plain = -advantage * ratio
    held = -advantage * ratio.clamp(1 - low, 1 + high)
    loss = torch.maximum(plain, held)
    limit = -dual * advantage
    beyond = (loss > limit) & (advantage < 0)
    return Surrogate(torch.where(beyond, limit, loss), held > plain, beyond)


def kl_estimate(new: Tensor, reference: Tensor, kind: KL = "k3") -> Tensor:
    """Estimate of KL(policy || reference) from the sampled tokens' log-probs.  [n] -> [n]

    With d = reference - new:  k1 = -d,  k2 = d^2 / 2,  abs = |d|,
    k3 = clamp(exp(d) - d - 1, -10, 10), which is never negative but for rounding.
    """
    d = reference - new
    match kind:
        case "k1":
            return -d
        case "k2":
            return d.square() / 2
        case "abs":
            return d.abs()
        case "k3":
            # beyond 20 the outer clamp holds anyway; unbounded, its gradient would be 0 * inf
            return (d.clamp(max=20).expm1() - d).clamp(-10, 10)
    raise ValueError(f"unknown KL estimate {kind!r}; one of k1, k2, k3, abs")


def suffix_sum(x: Tensor, owners: Segments, gamma: float) -> Tensor:
    """Discounted sum of an owner's items from each one onwards.  [n] -> [n]

        s_i = sum over later j of the same owner, i included, of gamma^(j - i) x_j

    Each owner's items must lie together, in order. Adds up spans of doubling length, so it takes
    log2(n) operations and never divides by a power of gamma.
    """
    total, ahead = x.to(torch.float64), 1
    while ahead < len(total):
        same = owners.owner[ahead:] == owners.owner[:-ahead]
        later = torch.where(same, total[ahead:], 0.0)
        total = torch.cat([total[:-ahead] + gamma**ahead * later, total[-ahead:]])
        ahead *= 2
    return total


def unit_range(x: Tensor, owners: Segments, tiny: float = 1e-8) -> Tensor:
    """Each owner's values stretched onto [0, 1]; 0.5 where they are all alike.  [n] -> [n]"""
    low, high = owners.spread(owners.low(x)), owners.spread(owners.high(x))
    stretched = (x - low) / (high - low).clamp(min=tiny)
    return torch.where(high - low < tiny, 0.5, stretched)


def soft_or(a: Tensor, b: Tensor) -> Tensor:
    """1 - (1 - a)(1 - b): high where either is.  [n], [n] -> [n]"""
    return 1 - (1 - a) * (1 - b)


def capped_at_quantile(x: Tensor, quantile: float) -> Tensor:
    """Values above the quantile (interpolated on a line) are lowered to it.  [n] -> [n]"""
    ordered = x.sort().values
    place = quantile * (len(x) - 1)
    below = int(place)
    above = min(below + 1, len(x) - 1)
    return x.clamp(max=ordered[below].lerp(ordered[above], place - below))


def drift_weight(
    divergence: Tensor, trajs: Segments, counted: Tensor, epsilon: float, delta: float
) -> Tensor:
    """SOD's trust in each turn of a trajectory, given how far the student is from its teacher.

        w_k = min(prod_{u<k} (d_u + e) / (d_{u+1} + e), 1 + delta)
            = min((d_1 + e) / (d_k + e), 1 + delta)         because the product telescopes

    divergence: d [K]. counted: [K] bool; other turns weigh 0 and
    do not enter. Turns must be in order.  -> [K]
    """
    order = torch.arange(len(trajs), device=divergence.device)
    counting = trajs.at(counted)
    first = counting.low(order[counted])
    opening = torch.zeros_like(first)
    some = first.isfinite()
    opening[some] = divergence[first[some].long()]
    weight = (trajs.spread(opening) + epsilon) / (divergence + epsilon)
    return torch.where(counted, weight.clamp(max=1 + delta), 0.0)


def divergence_advantage(gap: Tensor, kind: Divergences, weight: float = 0.5) -> Tensor:
    """What a sampled token earns when a divergence to the teacher is to shrink.  [n] -> [n]

    rkl, KL(S||T):  A = gap          fkl, KL(T||S):  A = exp(min(gap, 10))
    jsd, b KL(T||M) + (1-b) KL(S||M) with M = (1-b) S + b T:
        A = (1-b) log((1-b) + b exp(gap))
    """
    match kind:
        case "rkl":
            return gap
        case "fkl":
            return gap.clamp(max=10).exp()
        case "jsd":
            ours, theirs = gap.new_tensor([1 - weight, weight]).log()
            return (1 - weight) * torch.logaddexp(ours, theirs + gap)
    raise ValueError(f"unknown divergence {kind!r}; one of rkl, fkl, jsd")


def vocabulary_divergence(
    student: Tensor,
    teacher: Tensor,
    kind: Divergences,
    weight: float = 0.5,
    ids: Tensor | None = None,
) -> Tensor:
    """The same divergences, summed over the vocabulary instead of sampled.  -> [n]

    student: logits [n, V], with gradient. teacher: logits [n, V]; or of its k best tokens
    [n, k], with their ids [n, k]: then both sides are renormalised over these tokens.
    """
    ours = (student if ids is None else student.gather(1, ids)).log_softmax(-1)
    theirs = teacher.detach().log_softmax(-1)
    match kind:
        case "rkl":
            return _kl(ours, theirs)
        case "fkl":
            return _kl(theirs, ours)
        case "jsd":
            share_ours, share_theirs = ours.new_tensor([1 - weight, weight]).log()
            middle = torch.logaddexp(share_ours + ours, share_theirs + theirs)
            return weight * _kl(theirs, middle) + (1 - weight) * _kl(ours, middle)
    raise ValueError(f"unknown divergence {kind!r}; one of rkl, fkl, jsd")


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)
