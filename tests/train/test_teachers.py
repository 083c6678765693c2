"""Teachers: who they are, what is refused, how they move, and what they say."""

import tomllib
from dataclasses import replace

import pytest
import torch
from train.pantry_play import tiny, tokenizer
from train.small_runs import models, scratch, small_run
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym_train import guidance
from agentgym_train.actor import Actor
from agentgym_train.algorithms.atod import ATOD
from agentgym_train.algorithms.opd import OPD
from agentgym_train.algorithms.sdar import SDAR
from agentgym_train.algorithms.sod import SOD
from agentgym_train.models.policy import Policy
from agentgym_train.runlog import RunLog, read_metrics
from agentgym_train.settings import Run, SettingsError, build, dump
from agentgym_train.teachers import NONFINITE, Copied, score
from agentgym_train.train import Trainer, train
from agentgym_train.update import Learning, update


def trainer_of(name, **tables):
    return Trainer(small_run(name, **tables), RunLog(scratch()))


def scored(trainer, step=1):
    """A step's batch as the trainer has it."""
    played, choices = trainer.rollout(step)
    return trainer.batch_of(played, choices, step)


def values_of(policy):
    return {name: value.detach().clone() for name, value in policy.model.named_parameters()}


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


# --- what is refused ----------------------------------------------------------------------------


def test_a_teacher_with_another_tokenizer_is_refused_before_anything_is_played(monkeypatch):
    def never(*_, **__):
        raise AssertionError("a rollout began")

    monkeypatch.setattr(Actor, "play", never)
    stranger = {"name": str(models("alfworld")[1])}
    with pytest.raises(ValueError, match="another vocabulary than the student"):
        train(small_run("opd", teacher=stranger), scratch() / "run")


@pytest.mark.parametrize("name", ["opd", "sod", "tcod", "atod"])
def test_a_missing_teacher_is_named_with_its_remedy(name):
    with pytest.raises(SettingsError, match=r"from a teacher model: add a \[teacher\] table"):
        small_run(name, teacher=None)


@pytest.mark.parametrize("name", ["sdar", "opsd", "grpo_opsd", "skill_grpo", "skill_sd", "rlsd"])
def test_missing_skills_are_named_with_their_remedy(name):
    with pytest.raises(SettingsError, match=r"shows skills: add a \[skills\] table"):
        small_run(name, skills=None)


def test_skills_glued_before_a_prompt_are_for_teachers():
    tables = {"skills": {"placement": "raw_prefix"}, "env": {"layout": "turns"}}
    assert small_run("sdar", **tables).skills.placement == "raw_prefix"
    with pytest.raises(SettingsError, match="SkillGRPO shows skills to the student"):
        small_run("skill_grpo", **tables)
    with pytest.raises(SettingsError, match=r"needs env\.layout = 'turns'"):
        small_run("sdar", skills={"placement": "raw_prefix"}, env={"layout": "chat"})


@pytest.mark.parametrize(
    ("name", "algorithm", "message"),
    [
        ("stepopsd", {"weights": {"kind": "stale", "refresh": 0}}, "every 1 or more steps"),
        ("hint_sd", {"weights": {"kind": "ema", "decay": 1.5}}, "0 to 1"),
    ],
)
def test_a_teacher_that_cannot_move_so_is_refused_before_anything_is_played(
    name, algorithm, message
):
    with pytest.raises(ValueError, match=message):
        trainer_of(name, algorithm=algorithm)


def test_distributions_of_different_lengths_are_not_compared():
    folder = scratch()
    padded = AutoModelForCausalLM.from_pretrained(models("pantry")[1])
    padded.resize_token_embeddings(padded.config.vocab_size + 64)
    padded.save_pretrained(folder)
    AutoTokenizer.from_pretrained(models("pantry")[1]).save_pretrained(folder)
    teacher = {"name": str(folder)}
    batch, _ = scored(trainer_of("opd", teacher=teacher))
    assert batch.gap.isfinite().all()
    with pytest.raises(ValueError, match=r'divergence\.over = "sampled"'):
        trainer_of("opd", teacher=teacher, algorithm={"divergence": {"over": "vocabulary"}})


def test_what_a_teacher_would_not_read_is_refused():
    folder = str(models("pantry")[1])
    with pytest.raises(SettingsError, match="a teacher is never trained"):
        small_run("opd", teacher={"name": folder, "lora": {"rank": 4}})
    with pytest.raises(SettingsError, match="has no teacher and so no gap"):
        small_run("grpo", algorithm={"gap_clip": 1.0})
    with pytest.raises(SettingsError, match=r"skills.curiosity is UCB's"):
        small_run("sdar", skills={"curiosity": 2.0})
    with pytest.raises(SettingsError, match='only where form = "reference"'):
        small_run("opsd", algorithm={"pull": 0.1})


# --- values that are not finite -----------------------------------------------------------------


def test_a_teacher_without_finite_values_is_counted_and_training_goes_on():
    trainer = trainer_of("opd")
    with torch.no_grad():
        for value in trainer.guide.weights.policy.model.parameters():
            value.fill_(torch.nan)
    batch, told = scored(trainer)
    assert (batch.teacher_logprob == NONFINITE).all()
    assert told["teacher/nonfinite_tokens"] == len(batch)
    before = values_of(trainer.policy)
    values = trainer.step(1)
    assert values["teacher/nonfinite_tokens"] == values["tokens/sampled"]
    assert values["teacher/gap_mean"] < -50
    assert values["actor/optimizer_steps"] > values["actor/skipped_steps"] == 0
    assert not same(values_of(trainer.policy), before)


class Silent:
    """A teacher that has nothing to say on some tokens."""

    def __init__(self, policy):
        self.policy = policy

    def live(self, padded, **asked):
        found = self.policy.live(padded, **asked)
        odd = padded.at % 3 == 0
        return replace(found, logprob=found.logprob.masked_fill(odd, -torch.inf))


def test_only_the_values_that_are_not_finite_are_replaced():
    trainer = trainer_of("opd")
    batch, _ = scored(trainer)
    found = score(Silent(trainer.guide.weights.policy), batch, 500)
    odd = torch.arange(len(batch)) % 3 == 0
    assert (found.columns["teacher"][odd] == NONFINITE).all()
    assert found.columns["teacher"][~odd].equal(batch.teacher_logprob[~odd])
    assert found.told == {
        "teacher/nonfinite_tokens": float(odd.sum()),
        "teacher/tokens_read": float(len(batch.ids)),
    }


# --- a teacher that agrees ----------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["turns", "chat"])
def test_a_teacher_equal_to_the_student_gives_no_gap(layout):
    twin = {"name": str(models("pantry")[0])}
    trainer = trainer_of("opd", teacher=twin, env={"layout": layout})
    batch, _ = scored(trainer)
    assert len(batch) > 20
    for algorithm in (OPD(), SOD(with_reward=False), ATOD()):
        assert (algorithm.credit(batch, 1).terms["teacher"] == 0).all()
    told = update(
        trainer.policy,
        trainer.optimizer,
        SDAR(),
        batch,
        1,
        Learning(lr=0.0, entropy=0.0, reference_kl=0.0, mini_rows=1000),
        steps=2,
        generator=torch.Generator().manual_seed(0),
    )
    assert told["sdar/gate_mean"] == pytest.approx(0.5, abs=1e-5)
    assert told["actor/grad_norm"] > 0


def test_what_a_teacher_reads_is_counted_hints_and_all():
    told = {}
    for name in ("opd", "sdar", "grpo"):
        batch, values = scored(trainer_of(name))
        told[name] = values.get("teacher/tokens_read"), len(batch.ids)
    assert told["opd"][0] == told["opd"][1]
    assert told["sdar"][0] > told["sdar"][1]  # behind the skills
    assert told["grpo"][0] is None


@pytest.mark.parametrize("name", ["rlsd", "stepopsd"])
def test_a_teacher_whose_say_is_over_is_not_asked(name):
    """From the step where its share is zero on, the algorithm is GRPO with the same numbers."""
    mix = {"start": 0.5, "stop": 0.0, "steps": 2}
    trainer = trainer_of(name, algorithm={"mix": mix})
    asked = [scored(trainer, step)[0].tokens.teacher is not None for step in (1, 2)]
    assert asked == [True, False]
    batch, _ = scored(trainer, 2)
    algorithm = trainer.run.algorithm
    with_teacher = batch.scored(teacher=batch.old_logprob + 1.0)
    for one in (batch, with_teacher):
        credit = algorithm.credit(one, 2)
        if name == "rlsd":
            assert credit.advantage(one).equal(algorithm.earned(one))
    assert (
        algorithm.credit(batch, 2)
        .advantage(batch)
        .equal(algorithm.credit(with_teacher, 2).advantage(with_teacher))
    )


def test_the_student_may_be_taught_by_what_it_was_at_first():
    trainer = trainer_of("opsd", algorithm={"weights": {"kind": "initial"}})
    before = values_of(trainer.policy)
    trainer.step(1)
    assert not same(values_of(trainer.policy), before)
    assert same(values_of(trainer.guide.weights.policy), before)
    assert trainer.guide.weights.tensors() == {}


# --- gradients, copies, averages ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["opd", "stepopsd", "hint_sd", "grpo"])
def test_no_gradient_reaches_a_teacher_or_the_reference(name):
    tables = {"notes": {"source": "expert"}} if name == "hint_sd" else {}
    trainer = trainer_of(name, **tables)
    asked = [trainer.guide.weights.policy] if trainer.guide else []
    asked += [trainer.reference.policy] if trainer.reference else []
    before = [values_of(policy) for policy in asked]
    trainer.learn(scored(trainer)[0], 1)
    assert asked
    for policy, values in zip(asked, before, strict=True):
        assert same(values_of(policy), values)
        for value in policy.model.parameters():
            assert value.grad is None and not value.requires_grad


def moved(policy, by):
    with torch.no_grad():
        for value in policy.model.parameters():
            value.add_(by)


def policy_of(seed=0):
    return Policy(tiny(seed), tokenizer())


def test_a_stale_copy_is_refreshed_at_multiples():
    student = policy_of()
    copied = Copied(student, refresh=3)
    known = values_of(student)
    for step in range(1, 8):
        moved(student, 0.1)
        copied.after(step)
        if step % 3 == 0:
            known = values_of(student)
        assert same(values_of(copied.policy), known)


def test_a_moving_average_by_hand():
    student = policy_of()
    copied = Copied(student, decay=0.75)
    first = values_of(student)
    moved(student, 1.0)
    copied.after(1)
    for name, value in values_of(copied.policy).items():
        torch.testing.assert_close(value, first[name] + 0.25)
    moved(student, 1.0)
    copied.after(2)
    for name, value in values_of(copied.policy).items():
        torch.testing.assert_close(value, first[name] + 0.75 * 0.25 + 0.25 * 2)


def test_a_moving_average_in_bfloat16_does_not_stand_still():
    """A student one rounding step away is reached, though each move is a fraction of that step."""
    student = policy_of()
    student.model.to(torch.bfloat16)
    copied = Copied(student, decay=0.99)
    with torch.no_grad():
        for value in student.model.parameters():
            value.mul_(1.01)
    for step in range(1, 1000):
        copied.after(step)
    assert same(values_of(copied.policy), values_of(student))
    assert {value.dtype for value in copied.tensors().values()} == {torch.float32}


def test_a_copy_shares_what_never_trains():
    student = policy_of()
    frozen = student.model.model.embed_tokens.weight.requires_grad_(False)
    copied = Copied(student, refresh=1).policy.model
    assert copied.model.embed_tokens.weight is frozen
    assert copied.model.norm.weight is not student.model.model.norm.weight
    assert student.model.model.norm.weight.requires_grad


def test_a_copy_outlives_a_checkpoint_and_keeps_what_trains_only():
    student = policy_of()
    student.model.model.embed_tokens.weight.requires_grad_(False)
    copied = Copied(student, decay=0.5)
    moved(student, 1.0)
    copied.after(1)
    kept = {name: value.clone() for name, value in copied.tensors().items()}
    assert "model.embed_tokens.weight" not in kept
    again = Copied(student, decay=0.5)
    assert not same(again.tensors(), kept)
    again.restore(kept)
    assert same(again.tensors(), kept)
    with pytest.raises(ValueError, match="incomplete"):
        again.restore({})


def test_what_is_frozen_in_the_student_stays_exactly_in_its_average():
    student = policy_of()
    frozen = student.model.model.embed_tokens.weight.requires_grad_(False)
    copied = Copied(student, decay=0.9)
    for step in range(1, 20):
        copied.after(step)
    assert copied.policy.model.model.embed_tokens.weight.equal(frozen)


# --- dtype, batch size, distributions -----------------------------------------------------------


def test_a_teacher_has_a_dtype_of_its_own():
    trainer = trainer_of("opd", teacher={"dtype": "bfloat16"})
    kinds = {value.dtype for value in trainer.guide.weights.policy.model.parameters()}
    assert kinds == {torch.bfloat16}
    assert {value.dtype for value in trainer.policy.model.parameters()} == {torch.float32}
    batch, _ = scored(trainer)
    exact, _ = scored(trainer_of("opd"))
    torch.testing.assert_close(batch.teacher_logprob, exact.teacher_logprob, atol=0.5, rtol=0.2)
    assert not batch.teacher_logprob.equal(exact.teacher_logprob)
    assert trainer.step(1)["actor/grad_norm"] > 0


@pytest.mark.parametrize(("own", "asked"), [(0, 2000), (77, 77)])
def test_a_teacher_has_a_batch_size_of_its_own(monkeypatch, own, asked):
    budgets = []

    def spied(*arguments, **named):
        budgets.append(named["token_budget"])
        return score(*arguments, **named)

    monkeypatch.setattr(guidance, "score", spied)
    trainer = trainer_of("opd", teacher={"micro_tokens": own})
    assert build(Run, tomllib.loads(dump(trainer.run))) == trainer.run
    scored(trainer)
    assert budgets == [asked]


@pytest.mark.parametrize("top", [0, 5])
@pytest.mark.parametrize("layout", ["turns", "chat"])
def test_scores_do_not_depend_on_the_budget(layout, top):
    trainer = trainer_of("opd", env={"layout": layout})
    batch, _ = scored(trainer)
    teacher = trainer.guide.weights.policy
    whole = score(teacher, batch, 1 << 20, logits=True, top=top).columns
    for budget in (1, 60, 500):
        parts = score(teacher, batch, budget, logits=True, top=top).columns
        assert parts.keys() == whole.keys()
        for name, column in whole.items():
            torch.testing.assert_close(parts[name], column, atol=1e-4, rtol=1e-4)


def divergence_run(layout="chat", **divergence):
    folder = scratch() / "run"
    algorithm = {"divergence": {"over": "vocabulary", **divergence}}
    train(small_run("opd", env={"layout": layout}, algorithm=algorithm), folder)
    return read_metrics(folder)[1:]


@pytest.mark.parametrize("kind", ["rkl", "fkl", "jsd"])
def test_divergences_over_the_vocabulary_end_to_end(kind):
    most = len(AutoTokenizer.from_pretrained(models("pantry")[1]))
    full = divergence_run(kind=kind)
    for values in full:
        assert values["opd/divergence"] > 0 and values["actor/grad_norm"] > 0
        assert values["actor/pg_loss"] == 0
    for values, others in zip(full, divergence_run(kind=kind, top=most), strict=True):
        for name in ("opd/divergence", "actor/grad_norm", "actor/loss"):
            assert values[name] == pytest.approx(others[name], rel=1e-3)
    few = divergence_run(kind=kind, top=4)
    assert few[0]["opd/divergence"] != pytest.approx(full[0]["opd/divergence"], rel=1e-3)


def test_more_tokens_than_there_are_means_all_of_them():
    trainer = trainer_of("opd")
    batch, _ = scored(trainer)
    found = score(trainer.guide.weights.policy, batch, 500, logits=True, top=10**6).columns
    assert found["teacher_logits"].shape == found["teacher_ids"].shape
    assert found["teacher_logits"].shape[1] == trainer.policy.head.output.out_features
