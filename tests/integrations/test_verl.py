"""verl plays our environments as Gymnasium does, and finds our plug-in by itself."""

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids
from integrations.verl_models import Generating, Scripted, answering, save_model
from integrations.verl_settings import composed
from omegaconf import OmegaConf
from transformers import Qwen3ForCausalLM
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.trainer.distillation.losses import DISTILLATION_LOSS_REGISTRY
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.verl import write_parquet
from agentgym_train.algorithms import BUILT_IN
from agentgym_train.integrations import doctor
from agentgym_train.integrations.verl import overlay_folder
from agentgym_train.settings import Run, load

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(
    path.stem
    for path in overlay_folder().joinpath("agentgym").glob("*.yaml")
    if not path.stem.startswith("_")
)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tokenizer(home):
    return save_model(home)


@pytest.fixture(scope="session")
def settings(home, tokenizer):
    return composed(
        "+agentgym=grpo",
        f"actor_rollout_ref.model.path={home}",
        "data.max_prompt_length=4096",
        "data.max_response_length=8192",
        "trainer.n_gpus_per_node=1",
    )


def rows_of(path, tokenizer, settings) -> RLHFDataset:
    return RLHFDataset([str(path)], tokenizer, settings.data)


def played_by_verl(path, tokenizer, settings, client, **more) -> DataProto:
    """The whole way: our file, verl's data set, its collating, its worker, our loop."""
    data = rows_of(path, tokenizer, settings)
    batch = DataProto.from_single_dict(collate_fn([data[i] for i in range(len(data))]))
    for name, value in more.items():
        batch.non_tensor_batch[name] = np.array([value] * len(batch), dtype=object)
    worker = AgentLoopWorker(settings, client)
    return asyncio.run(worker.generate_sequences(batch))


def spoken(out: DataProto, i: int, tokenizer) -> list[str]:
    """The texts of the turns of a response, without the token that ended each."""
    response = out.batch["responses"][i]
    spans = out.non_tensor_batch["turn_spans"][i]
    return [tokenizer.decode(response[a:b]).removesuffix("<|im_end|>") for a, b in spans]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_an_episode_is_the_one_of_gymnasium(setup, policy, tmp_path, tokenizer, settings):
    expected = [scripted(setup, task, seed=3, policy=policy) for task in task_ids(setup)]
    write_parquet(setup, tmp_path / "tasks.parquet", count=3, seed=3)
    client = Scripted(tokenizer, answering(tokenizer, expected))
    out = played_by_verl(tmp_path / "tasks.parquet", tokenizer, settings, client)
    told = out.non_tensor_batch
    for i, one in enumerate(expected):
        assert spoken(out, i, tokenizer) == one.responses
        assert told["turn_rewards"][i] == one.rewards
        assert told["terminated"][i] is one.terminated
        assert told["truncated"][i] is one.truncated
        assert told["success"][i] == one.success
        assert told["score"][i] == one.score
        assert told["stop_reason"][i] == one.stop_reason
        assert told["__num_turns__"][i] == len(one.opening) + 2 * len(one.turns) - 1
        assert out.batch["rm_scores"][i].sum() == pytest.approx(one.reward)
        length = out.batch["attention_mask"][i, settings.data.max_prompt_length :].sum()
        read = tokenizer.decode(out.batch["responses"][i, :length])
        between = [turn.message for turn in one.turns[:-1]]
        said = [
            f"{response}<|im_end|>\n<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"
            for response, message in zip(one.responses, between, strict=False)
        ]
        assert read == "".join(said) + f"{one.responses[-1]}<|im_end|>"
        mask, spans = out.batch["response_mask"][i], told["turn_spans"][i]
        assert mask.sum() == sum(b - a for a, b in spans)
        for a, b in spans:
            assert mask[a:b].all()
            logprobs = out.batch["rollout_log_probs"][i, a:b]
            assert logprobs.tolist() == [-float(k) for k in range(b - a)]
    requests = {ask["request"] for ask in client.asked}
    assert len(requests) == len(expected), "an episode's turns share one request id"


def test_a_real_model_plays_token_in_token_out(tmp_path, home, tokenizer, settings):
    """verl's worker, our loop, a Qwen3: trained on would be what was sampled, scored as sampled."""
    setup = Setup(env_id="AgentGym/WebShop-v0", settings={**CASES[1].settings, "max_turns": 3})
    write_parquet(setup, tmp_path / "tasks.parquet", count=2)
    client = Generating(home, tokenizer)
    out = played_by_verl(tmp_path / "tasks.parquet", tokenizer, settings, client)
    sampled = sorted(client.replies)
    kept = sorted(
        out.batch["responses"][i, a:b].tolist()
        for i in range(2)
        for a, b in out.non_tensor_batch["turn_spans"][i]
    )
    assert kept == sampled
    model = Qwen3ForCausalLM.from_pretrained(home, dtype=torch.float32).eval()
    for i in range(2):
        real = out.batch["attention_mask"][i].bool()
        with torch.no_grad():
            scores = model(out.batch["input_ids"][i][real][None]).logits[0].log_softmax(-1)
        length = int(real[settings.data.max_prompt_length :].sum())
        response = out.batch["responses"][i, :length]
        rescored = scores[-length - 1 : -1].gather(1, response[:, None]).squeeze(1)
        mask = out.batch["response_mask"][i, :length].bool()
        told = out.batch["rollout_log_probs"][i, :length]
        torch.testing.assert_close(rescored[mask], told[mask], rtol=0, atol=1e-3)


def small(tmp_path, **more) -> tuple[list, Path]:
    setup, path = CASES[1], tmp_path / "tasks.parquet"
    plays = [scripted(setup, task, seed=0, policy="garbled") for task in task_ids(setup, 1)]
    write_parquet(setup, path, count=1, **more)
    return plays, path


def test_an_episode_ends_where_the_response_has_no_room(tmp_path, tokenizer, settings):
    plays, path = small(tmp_path)
    short = OmegaConf.merge(settings, {"data": {"max_response_length": 300}})
    client = Scripted(tokenizer, answering(tokenizer, plays))
    out = played_by_verl(path, tokenizer, short, client)
    told = {name: values[0] for name, values in out.non_tensor_batch.items()}
    assert told["stop_reason"] == "length"
    assert (told["terminated"], told["truncated"]) == (False, True)
    *whole, last = spoken(out, 0, tokenizer)
    assert 0 < len(whole) < len(plays[0].turns) - 1
    assert whole == plays[0].responses[: len(whole)]
    assert plays[0].responses[len(whole)].startswith(last), "the last reply was cut"
    assert all(ask["max_tokens"] <= 300 for ask in client.asked)


def test_replies_are_as_long_as_the_row_allows(tmp_path, tokenizer, settings):
    _, path = small(tmp_path, reply_tokens=5)
    client = Scripted(tokenizer, lambda prompt: "a long reply")
    out = played_by_verl(path, tokenizer, settings, client)
    assert {ask["max_tokens"] for ask in client.asked} == {5}
    assert set(spoken(out, 0, tokenizer)) == {"a lon"}


def test_a_hint_is_read_for_the_whole_response(tmp_path, tokenizer, settings):
    plays, path = small(tmp_path, hints=lambda task: "Skill: look first.\n\n")
    client = Scripted(tokenizer, answering(tokenizer, plays))
    out = played_by_verl(path, tokenizer, settings, client)
    told = out.non_tensor_batch["privileged_logprobs"][0]
    length = int(out.batch["attention_mask"][0, settings.data.max_prompt_length :].sum())
    read = client.asked[-1]["prompt"]
    plain = int(out.batch["attention_mask"][0].sum())
    assert read == plain + len("Skill: look first.\n\n")
    assert told == [-float(i) for i in range(read - length - 1, read - 1)]
    assert client.asked[-1]["temperature"] == 1.0


def test_tcod_plays_deeper_as_training_goes_on(tmp_path, tokenizer, settings):
    plays, path = small(tmp_path, agent="agentgym_tcod")
    assert len(plays[0].turns) > 2
    for step, depth in ((1, 1), (3, 2)):
        client = Scripted(tokenizer, answering(tokenizer, plays))
        out = played_by_verl(path, tokenizer, settings, client, global_steps=step)
        told = {name: values[0] for name, values in out.non_tensor_batch.items()}
        assert (told["depth"], len(told["turn_spans"])) == (depth, depth)
        assert (told["stop_reason"], told["truncated"]) == ("depth", True)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("raw_prompt", [{"role": "user", "content": "hello"}], "written with another version"),
        ("layout", "turns", "one trajectory a row"),
        ("env_id", None, "env_id"),
    ],
)
def test_a_row_that_is_not_ours_is_refused(column, value, message, tmp_path, tokenizer, settings):
    _, path = small(tmp_path)
    data = rows_of(path, tokenizer, settings)
    batch = DataProto.from_single_dict(collate_fn([data[0]]))
    if value is None:
        del batch.non_tensor_batch[column]
    else:
        batch.non_tensor_batch[column][0] = value
    worker = AgentLoopWorker(settings, Scripted(tokenizer, str))
    with pytest.raises(ValueError, match=message):
        asyncio.run(worker.generate_sequences(batch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"max_prompt_length": 10}}, "max_prompt_length"),
        ({"data": {"apply_chat_template_kwargs": {"enable_thinking": True}}}, "enable_thinking"),
    ],
)
def test_settings_that_would_change_the_prompt_are_refused(
    change, message, tmp_path, tokenizer, settings
):
    _, path = small(tmp_path)
    OmegaConf.set_struct(settings, False)
    changed = OmegaConf.merge(settings, change)
    with pytest.raises(ValueError, match=message):
        played_by_verl(path, tokenizer, changed, Scripted(tokenizer, str))


# --- the task file -------------------------------------------------------------------------------


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_verls_data_set_reads_our_file(setup, tmp_path, tokenizer, settings):
    path = tmp_path / "tasks.parquet"
    assert write_parquet(setup, path, count=3, seed=5, reply_tokens=64) == 3
    data = rows_of(path, tokenizer, settings)
    assert len(data) == 3
    for i, row in enumerate(setup.rows(3, seed=5)):
        found = data[i]
        assert {name: found[name] for name in row} == row
        assert Setup.of(found) == setup
        talk = setup.conversation()
        assert found["raw_prompt"] == talk.begin(task_id=row["task_id"], seed=5)
        assert (found["index"], found["agent_name"]) == (i, "agentgym")
        assert (found["data_source"], found["reply_tokens"]) == (setup.env_id, 64)
        answer = talk.env.task.answer
        assert not answer or str(answer) not in str(found["reward_model"])


def test_a_row_a_turn_is_not_for_verl(tmp_path):
    setup = Setup(env_id=CASES[0].env_id, settings=CASES[0].settings, layout="turns")
    with pytest.raises(ValueError, match="layout"):
        write_parquet(setup, tmp_path / "tasks.parquet")


def test_the_example_writes_files_that_verl_reads(tmp_path, monkeypatch, tokenizer, settings):
    """Its first part; the second is verl's training loop and needs a GPU."""
    script = (ROOT / "docs/examples/verl.sh").read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    code = script.partition("<<'PYTHON'\n")[2].partition("\nPYTHON\n")[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASKS", "2")
    monkeypatch.setattr(sys, "argv", ["-", "tcod"])
    exec(compile(code, "verl.sh", "exec"), {})
    for split, agent in (("train", "agentgym_tcod"), ("valid_seen", "agentgym")):
        data = rows_of(tmp_path / f"{split}.parquet", tokenizer, settings)
        assert [data[i]["agent_name"] for i in range(len(data))] == [agent] * 2
    named = re.findall(r"^# .*?((?:\w+, )+\w+)\.", script, re.MULTILINE)
    assert set(", ".join(named).split(", ")) >= set(OVERLAYS)


# --- the plug-in ---------------------------------------------------------------------------------


def test_import_verl_registers_everything():
    asked = (
        "import verl\n"
        "from verl.trainer.ppo.core_algos import get_adv_estimator_fn as a\n"
        "from verl.trainer.distillation.losses import get_distillation_loss_fn as d\n"
        "from verl.trainer.ppo.v1 import get_trainer_cls as t\n"
        "from verl.experimental.agent_loop.agent_loop import _agent_loop_registry as r\n"
        "print(a('agentgym_grpo').name, d('agentgym_sod').name, t('agentgym_sync').__name__,"
        " r['agentgym']['_target_'])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", asked], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1].split() == [
        "agentgym_grpo",
        "agentgym_sod",
        "AgentGymTrainer",
        "agentgym_envs.integrations.verl.AgentGymLoop",
    ], done.stderr


def test_the_doctor_says_what_is_registered():
    told = "\n".join(doctor.check("verl"))
    for name in ("agentgym_tcod", "agentgym_gigpo", "agentgym_sdar", "agentgym_sync"):
        assert name in told
    with pytest.raises(ValueError, match="verl"):
        doctor.check("nothing")


def test_the_doctor_is_loud_where_verl_is_silent(monkeypatch):
    monkeypatch.setitem(sys.modules, doctor.MODULE, None)
    with pytest.raises(ImportError, match=doctor.MODULE):
        doctor.check("verl")


# --- overlays ------------------------------------------------------------------------------------


def leaves(node, path=()):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


@pytest.fixture(scope="session")
def plain():
    """verl's own settings, without us."""
    return composed()


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_composes_without_an_unknown_key(name, plain):
    config = composed(f"+agentgym={name}", "actor_rollout_ref.model.path=nowhere")
    folder = overlay_folder() / "agentgym"
    files = [folder / f"{name}.yaml", *folder.glob("_*.yaml")]
    for file in files:
        ours = OmegaConf.to_container(OmegaConf.load(file))
        ours.pop("defaults", None)
        for key, _ in leaves(ours):
            parent, _, last = key.rpartition(".")
            assert last in set(OmegaConf.select(plain, parent)), f"{file.name}: verl has no {key}"
    config.actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu = 1
    reference, critic = need_reference_policy(config), need_critic(config)
    validate_config(config, use_reference_policy=reference, use_critic=critic)
    assert not critic
    algorithm = BUILT_IN[name]()
    assert reference is algorithm.anchored
    assert config.algorithm.adv_estimator in ADV_ESTIMATOR_REGISTRY
    assert config.trainer.v1.trainer_mode in TRAINER_REGISTRY
    distilled = omega_conf_to_dataclass(config.distillation)
    if distilled.enabled:
        loss = DISTILLATION_LOSS_REGISTRY[distilled.distillation_loss.loss_mode]
        assert loss.algorithm == algorithm
        loss.check(
            omega_conf_to_dataclass(config.actor_rollout_ref.actor), distilled.distillation_loss
        )
    else:
        assert ADV_ESTIMATOR_REGISTRY[config.algorithm.adv_estimator].algorithm == algorithm


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_the_values_of_our_own_run(name):
    path = ROOT / f"benchmarks/runs/alfworld/{name}.toml"
    ours = load(path, Run)
    theirs = composed(f"+agentgym={name}", "actor_rollout_ref.model.path=nowhere")
    actor, rollout = theirs.actor_rollout_ref.actor, theirs.actor_rollout_ref.rollout
    assert BUILT_IN[name]() == ours.algorithm
    assert tomllib.loads(path.read_text())["algorithm"]["name"] == name
    assert (theirs.data.train_batch_size, rollout.n) == (
        ours.rollout.groups,
        ours.rollout.group_size,
    )
    assert (actor.optim.lr, actor.optim.weight_decay) == (
        ours.learning.lr,
        ours.learning.weight_decay,
    )
    assert actor.optim.clip_grad == ours.learning.max_grad_norm
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (
        ours.algorithm.clip_low,
        ours.algorithm.clip_high,
    )
    assert rollout.temperature == ours.rollout.temperature
    assert rollout.val_kwargs.temperature == ours.evaluation.temperature
    assert theirs.trainer.total_training_steps == ours.steps
    assert theirs.trainer.test_freq == ours.evaluation.every
    assert theirs.data.max_prompt_length == ours.rollout.max_prompt_tokens
    assert actor.use_kl_loss == ours.algorithm.anchored
    if actor.use_kl_loss:
        assert actor.kl_loss_coef == ours.learning.reference_kl
    if not (theirs.distillation.enabled and ours.algorithm.teacher == "model"):
        assert actor.entropy_coeff == ours.learning.entropy
    if ours.teacher is not None:
        teacher = theirs.distillation.teacher_models.teacher_model
        assert teacher.model_path == ours.teacher.name
