"""What our things are called in verl, and which algorithms it can run at all."""

from dataclasses import fields
from typing import Literal

import torch

from agentgym_train.algorithms import Algorithm, Live
from agentgym_train.integrations.verl.responses import Extras, responses
from agentgym_train.parts import TDUR, Linear

PREFIX = "agentgym_"
TRAINER = "agentgym_sync"
SURROGATE = "actor/pg_loss"  # of an algorithm's loss, the part that verl computes itself

Kind = Literal["credit", "pull", "pull alone"]


def refuse(algorithm: Algorithm) -> None:
    """Raise ValueError, saying why, for an algorithm that has no true form in verl."""
    plan, why = algorithm.plan(1), None
    if plan.hint:
        why = "the policy's own prompts carry skills, and the agent loop shows it none"
    elif plan.leave_to_student is not None:
        why = "it replays demonstrations, and the agent loop plays from the start"
    elif algorithm.hindsight != "none" or algorithm.action_span != "none":
        why = "its teacher looks back at the episode, and verl asks a teacher once, in advance"
    elif algorithm.own_weights.kind != "current":
        why = "its teacher is a past of the policy, and verl's is a server with weights of its own"
    elif algorithm.needs_logits:
        why = "it reads the teacher's whole distribution, and verl keeps the sampled token's"
    if why:
        raise ValueError(f"verl cannot run {type(algorithm).__name__} with these settings: {why}")


def kind_of(algorithm: Algorithm) -> Kind:
    """How it teaches: by a credit, by a pull beside the reward, or by a pull without a reward.

    Found out on a single token. Raises ValueError for a pull beside a credit of the teacher's.
    """
    one = torch.zeros(1, 1)
    given = Extras(
        step=1, old=one, teacher=one, privileged=one, rewards=[[0.0]], observations=[[""]]
    )
    batch = responses(torch.ones(1, 1), [0], torch.zeros(1), given).batch.scored(
        teacher=torch.zeros(1), reference=torch.zeros(1)
    )
    terms = set(algorithm.credit(batch, 1).terms)
    live = Live(batch.old_logprob, batch.old_logprob)
    loss = algorithm.loss(live, batch.tokens, torch.zeros(1), 1)
    if not set(loss.values) - {SURROGATE}:
        return "credit"
    if terms - {"reward"}:
        raise ValueError(f"{type(algorithm).__name__} has a pull beside a credit of its teacher's")
    return "pull" if terms else "pull alone"


def follows_a_schedule(algorithm: Algorithm) -> bool:
    """Does its credit or loss change with the training step?"""
    return any(isinstance(value, Linear) and value.steps > 0 for value in _settings(algorithm))


def looks_across_rows(algorithm: Algorithm) -> bool:
    """Does its credit compare tokens of different responses other than by the reward?"""
    return any(
        isinstance(value, TDUR) and value.granularity == "token" for value in _settings(algorithm)
    )


def _settings(algorithm: Algorithm) -> list[object]:
    return [getattr(algorithm, one.name) for one in fields(algorithm)]
