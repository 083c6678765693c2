"""Numbers to watch about a scored batch, under the names of the literature."""

from __future__ import annotations

from torch import Tensor

from agentgym_train.batch import Batch

LAST_TURN = 50  # turns from here on share one bucket


def gap_summary(gap: Tensor) -> dict[str, float]:
    """Mean, root mean square and mean absolute value of a gap.  [n]"""
    return {
        "gap_mean": float(gap.mean()),
        "gap_rms": float(gap.square().mean().sqrt()),
        "gap_abs_mean": float(gap.abs().mean()),
    }


def describe_teacher(batch: Batch, counted: Tensor) -> dict[str, float]:
    """How far the student is from its teacher, by token, row, trajectory and turn; {} without one.

    counted: [N] bool, the tokens that take part; rows and trajectories without any are left out.
    `kl/*` is the sampled reverse KL, the sum of `old - teacher`; `row_std` divides by n - 1,
    `trajectory_std` by n. In `turn/<k>/*` all turns from the 50th on are one bucket.
    """
    if batch.tokens.teacher is None or not bool(counted.any()):
        return {}
    kl = -batch.gap
    by_row, by_traj = (
        owners.sum(kl[counted])[owners.size > 0]
        for owners in (batch.rows.at(counted), batch.token_trajs.at(counted))
    )
    gap = batch.gap[counted]
    told = {f"teacher/{name}": value for name, value in gap_summary(gap).items()}
    told |= {
        "kl/token_mean": float(kl[counted].mean()),
        "kl/row_mean": float(by_row.mean()),
        "kl/row_std": float(by_row.std()) if len(by_row) > 1 else 0.0,
        "kl/trajectory_mean": float(by_traj.mean()),
        "kl/trajectory_std": float(by_traj.std(correction=0)),
    }
    return told | _by_turn(batch, kl, counted)


def _by_turn(batch: Batch, kl: Tensor, counted: Tensor) -> dict[str, float]:
    place = batch.turns.spread(batch.place).clamp(max=LAST_TURN)
    turns = batch.turns.at(counted).size > 0
    told = {}
    for k in place[counted].unique().tolist():
        here = (place == k) & counted
        told |= {
            f"turn/{k}/kl": float(kl[here].mean()),
            f"turn/{k}/disagreement": float(kl[here].abs().mean()),
            f"turn/{k}/student_entropy": float(-batch.old_logprob[here].mean()),
            f"turn/{k}/teacher_entropy": float(-batch.teacher_logprob[here].mean()),
            f"turn/{k}/count": float((batch.place.clamp(max=LAST_TURN) == k)[turns].sum()),
        }
    return told
