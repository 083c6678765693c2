"""Who besides the policy says how likely its tokens are."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from train.pantry_play import attempts, play, tiny, tokenizer

from agentgym_train.batch import collate
from agentgym_train.layout import to_rows
from agentgym_train.models.load import LoraSettings, _with_lora
from agentgym_train.models.policy import Policy
from agentgym_train.models.tiny import TinySettings, make_model, train_tokenizer
from agentgym_train.teachers import (
    NONFINITE,
    Copied,
    Current,
    Reference,
    TeacherSettings,
    load_teacher,
    score,
)

BUDGET = 300


@pytest.fixture(scope="module")
def batch():
    return collate([to_rows(one, "chat", 1.0) for one in play(attempts(4))])


def policy(model: Any = None, temperature: float = 1.0) -> Policy:
    return Policy(model or tiny(), tokenizer(), temperature)


def moved(model: Any) -> None:
    """As an update would, change every weight that trains."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)


@pytest.mark.parametrize("rank", [0, 2])
def test_the_reference_stays_where_the_policy_began(batch, rank):
    model = _with_lora(tiny(), LoraSettings(rank=rank)) if rank else tiny()
    student = policy(model, temperature=0.7)
    reference = Reference.of(student)
    before = student.logprobs(batch)
    assert_close(before, policy(temperature=0.7).logprobs(batch))  # fresh adapters change nothing
    moved(model)
    assert (student.logprobs(batch) - before).abs().max() > 0.01
    assert_close(reference(batch, BUDGET), before)
    assert reference.adapters == bool(rank)


def test_a_teacher_from_a_folder(batch, tmp_path):
    tiny(seed=1).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    student = policy(temperature=0.7)
    teacher = load_teacher(TeacherSettings(name=str(tmp_path)), student)
    scores = score(teacher.policy, batch, BUDGET)
    expected = policy(tiny(seed=1), temperature=0.7).logprobs(batch).double()
    assert_close(scores.columns["teacher"], expected)
    assert scores.told["teacher/nonfinite_tokens"] == 0
    assert not any(p.requires_grad for p in teacher.policy.model.parameters())
    teacher.after(1)
    assert_close(score(teacher.policy, batch, BUDGET).columns["teacher"], expected)


def test_a_teacher_who_speaks_otherwise(tmp_path):
    other = train_tokenizer(["some other house"], 261)
    make_model(TinySettings(width=16, layers=1, heads=2), other).save_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"another vocabulary.*share the tokenizer"):
        load_teacher(TeacherSettings(name=str(tmp_path)), policy())


def test_what_is_not_finite_becomes_minus_a_hundred_and_is_counted(batch):
    broken = tiny()
    seen = batch.ids[batch.start[batch.rows.owner] + batch.column]
    odd = int(seen.mode().values)
    with torch.no_grad():
        broken.lm_head.weight = torch.nn.Parameter(broken.lm_head.weight.clone())
        broken.lm_head.weight[odd] = torch.nan
    scores = score(policy(broken), batch, BUDGET)
    assert (scores.columns["teacher"] == NONFINITE).all()  # the sum over the vocabulary is NaN
    assert scores.told["teacher/nonfinite_tokens"] == len(batch)


def test_the_whole_distribution_and_its_best_tokens(batch):
    teacher = policy(tiny(seed=1))
    whole = score(teacher, batch, BUDGET, logits=True).columns
    best = score(teacher, batch, BUDGET, logits=True, top=3).columns
    assert whole["teacher_logits"].shape == (len(batch), len(tokenizer()))
    seen = batch.ids[batch.start[batch.rows.owner] + batch.column]
    logprob = whole["teacher_logits"].double().log_softmax(-1).gather(1, seen[:, None])[:, 0]
    assert_close(logprob, whole["teacher"], atol=1e-5, rtol=1e-5)
    kept = whole["teacher_logits"].gather(1, best["teacher_ids"])
    assert_close(kept, best["teacher_logits"], atol=1e-5, rtol=1e-5)
    assert best["teacher_logits"].shape == (len(batch), 3)


def weights(one: Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in one.model.parameters()])


def test_a_stale_teacher_is_refreshed_every_so_many_steps():
    student = policy()
    teacher, start = Copied(student, refresh=2), weights(student)
    moved(student.model)
    teacher.after(1)
    assert weights(teacher.policy).equal(start)
    teacher.after(2)
    assert weights(teacher.policy).equal(weights(student))


def test_an_average_follows_slowly_and_survives_a_checkpoint():
    student = policy()
    teacher, start = Copied(student, decay=0.9), weights(student)
    moved(student.model)
    for step in (1, 2):
        teacher.after(step)
    share = 0.9**2  # of the start, after two steps towards the same student
    expected = share * start + (1 - share) * weights(student)
    assert_close(weights(teacher.policy), expected)
    saved = {name: value.clone() for name, value in teacher.tensors().items()}
    other = Copied(policy(), decay=0.9)
    other.restore(saved)
    assert weights(other.policy).equal(weights(teacher.policy))


def test_the_students_own_weights_move_with_it(batch):
    student = policy()
    teacher = Current(student)
    moved(student.model)
    assert_close(
        score(teacher.policy, batch, BUDGET).columns["teacher"].float(), student.logprobs(batch)
    )
