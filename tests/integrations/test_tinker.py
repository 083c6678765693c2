"""tinker-cookbook's own rollout plays our environments as Gymnasium does, from tokens to data."""

import asyncio
import pickle
import random
import runpy
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import chz
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids
from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.renderers import get_renderer
from tinker_cookbook.rl.data_processing import compute_advantages, trajectory_to_data
from tinker_cookbook.rl.metric_util import compute_trajectory_metrics
from tinker_cookbook.rl.rollouts import do_group_rollout, do_single_rollout
from tinker_cookbook.tokenizer_utils import register_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentgym_envs.integrations import tinker as adapter
from agentgym_envs.integrations.tinker import (
    AgentGymDataset,
    AgentGymDatasetBuilder,
    AgentGymGroup,
)

EXAMPLE = Path(__file__).parents[2] / "docs/examples/tinker_rollout.py"
MODEL = "agentgym/bytes"
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>"]
SPECIAL += ["<|end_header_id|>", "<|eot_id|>", "<｜begin▁of▁sentence｜>"]
SPECIAL += ["<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
ALFWORLD, WEBSHOP = CASES[0], CASES[1]
GROWING = ("qwen3_instruct", "llama3")


def byte_tokenizer(*more):
    """A token for each byte, one for "th", and the special tokens of three chat formats."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate([*letters, "th"])}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        additional_special_tokens=[*SPECIAL, *more],
        clean_up_tokenization_spaces=False,
    )


TOKENIZER = byte_tokenizer()
register_tokenizer(MODEL, lambda: TOKENIZER)
THINKER = byte_tokenizer("<think>", "</think>")
register_tokenizer("agentgym/thinker", lambda: THINKER)


def renderer_of(name):
    return get_renderer(name, TOKENIZER, model_name=MODEL)


def group(setup, task_id, renderer="qwen3_instruct", size=1, seed=0, **more):
    row = setup.row(task_id, seed)
    return AgentGymGroup.of(row, model_name=MODEL, renderer_name=renderer, group_size=size, **more)


class Script(TokenCompleter):
    """Says the responses in turn, each as tokens that end as the prompt's stop asks."""

    def __init__(self, responses, encode=None, stopped=True):
        self.left = list(responses)
        self.encode = encode or (lambda text: TOKENIZER.encode(text, add_special_tokens=False))
        self.stopped = stopped

    async def __call__(self, model_input, stop, *, max_tokens=None):
        text = self.left.pop(0)
        if not self.stopped:
            tokens = self.encode(text)
        elif isinstance(stop[0], str):
            tokens = self.encode(text + stop[0])
        else:
            tokens = [*self.encode(text), stop[0]]
        reason = "stop" if self.stopped else "length"
        return TokensWithLogprobs(tokens, [-0.5] * len(tokens), reason)


def play(built, policy):
    async def rollout():
        (env,) = await built.make_envs()
        return await do_single_rollout(policy, env)

    return asyncio.run(rollout())


def letters(text):
    """Tokens that the tokenizer itself would not choose: "th" as two."""
    known = TOKENIZER.get_vocab()
    pieces = TOKENIZER.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [known[letter] for piece, _ in pieces for letter in piece]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("renderer", GROWING)
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_an_episode_is_the_one_of_gymnasium_and_one_datum(setup, renderer, policy):
    for task_id in task_ids(setup, 2):
        expected = scripted(setup, task_id, seed=3, policy=policy)
        said = play(group(setup, task_id, renderer, seed=3), Script(expected.responses))
        assert [turn.reward for turn in said.transitions] == expected.rewards
        ends = [turn.terminated or turn.truncated for turn in expected.turns]
        assert [turn.episode_done for turn in said.transitions] == ends
        messages = list(expected.opening)
        for transition, turn in zip(said.transitions, expected.turns, strict=True):
            prompt = renderer_of(renderer).build_generation_prompt(messages)
            assert transition.ob.to_ints() == prompt.to_ints()
            messages.append({"role": "assistant", "content": turn.response})
            messages.append({"role": "user", "content": turn.message})
        last = said.transitions[-1].metrics
        assert last["success"] == expected.success
        assert last["score"] == expected.score
        assert last["terminated"] == expected.terminated
        assert last["truncated"] == expected.truncated
        stop = "completed" if expected.terminated else "max_turns"
        assert said.stop_reason == stop
        assert last[f"stop/{stop}"] == 1.0
        (datum,) = trajectory_to_data(said, 2.0)
        sampled = sum(len(turn.ac.tokens) for turn in said.transitions)
        assert datum.loss_fn_inputs["mask"].to_torch().sum() == sampled
        assert datum.loss_fn_inputs["advantages"].to_torch().sum() == 2.0 * sampled


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_a_renderer_that_forgets_thoughts_has_a_datum_a_turn(setup):
    task_id = task_ids(setup)[0]
    expected = scripted(setup, task_id, seed=0, policy="random")
    thinking = [text.replace("<think>", "<think>hm") for text in expected.responses]
    said = play(group(setup, task_id, "qwen3"), Script(thinking))
    assert [turn.reward for turn in said.transitions] == expected.rewards
    for turn in said.transitions[1:]:
        assert "<think>hm" not in TOKENIZER.decode(turn.ob.to_ints())
    assert len(trajectory_to_data(said, 1.0)) == len(said.transitions)


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_what_the_renderer_wrote_of_the_reply_was_said(setup):
    """DeepSeek's prompts end in <think>, so that a reply begins behind it."""
    task_id = task_ids(setup)[0]
    expected = scripted(setup, task_id, seed=0, policy="expert")
    assert all(text.startswith("<think>") for text in expected.responses)
    replies = [text.removeprefix("<think>") for text in expected.responses]
    built = replace(group(setup, task_id, "deepseekv3_thinking"), model_name="agentgym/thinker")
    said = play(built, Script(replies, lambda text: THINKER.encode(text)))
    assert [turn.reward for turn in said.transitions] == expected.rewards
    assert all(turn.metrics["action_valid"] == 1.0 for turn in said.transitions)


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_a_renderer_that_stops_at_a_text_renders_anew(setup):
    task_id = task_ids(setup)[0]
    expected = scripted(setup, task_id, seed=0, policy="expert")
    said = play(group(setup, task_id, "role_colon"), Script(expected.responses))
    assert [turn.reward for turn in said.transitions] == expected.rewards
    for turn, before in zip(said.transitions[1:], expected.turns, strict=False):
        shown = TOKENIZER.decode(turn.ob.to_ints())
        assert shown.endswith(f"User: {before.message}\n\nAssistant:")
        assert before.response in shown


def test_fresh_prompts_are_those_of_a_conversation():
    fresh = replace(WEBSHOP, layout="turns")
    task_id = task_ids(WEBSHOP)[0]
    expected = scripted(WEBSHOP, task_id, seed=0, policy="random")
    said = play(group(fresh, task_id), Script(expected.responses))
    talk = fresh.conversation()
    messages = talk.begin(task_id=task_id, seed=0)
    for turn, response in zip(said.transitions, expected.responses, strict=True):
        prompt = renderer_of("qwen3_instruct").build_generation_prompt(messages)
        assert turn.ob.to_ints() == prompt.to_ints()
        messages = talk.take(response)
    assert [turn.reward for turn in said.transitions] == expected.rewards


@pytest.mark.parametrize("renderer", GROWING)
def test_sampled_tokens_are_never_tokenised_again(renderer):
    task_id = task_ids(ALFWORLD)[0]
    expected = scripted(ALFWORLD, task_id, seed=0, policy="random")
    assert "th" in expected.responses[0]
    said = play(group(ALFWORLD, task_id, renderer), Script(expected.responses, encode=letters))
    assert [turn.reward for turn in said.transitions] == expected.rewards
    for before, after in pairwise(said.transitions):
        grown = before.ob.to_ints() + before.ac.tokens
        assert after.ob.to_ints()[: len(grown)] == grown
    assert len(trajectory_to_data(said, 1.0)) == 1


def test_a_reply_that_was_cut_off_is_a_turn_and_is_closed_for_the_next():
    task_id = task_ids(WEBSHOP)[0]
    expected = scripted(WEBSHOP, task_id, seed=0, policy="random")
    said = play(group(WEBSHOP, task_id), Script(expected.responses, stopped=False))
    assert [turn.reward for turn in said.transitions] == expected.rewards
    assert all(turn.metrics["reply_cut"] == 1.0 for turn in said.transitions)
    end = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
    for before, after in pairwise(said.transitions):
        assert after.ob.to_ints()[before.ob.length + len(before.ac.tokens)] == end
    assert len(trajectory_to_data(said, 1.0)) == 1


def test_an_episode_out_of_room_is_truncated_with_the_rewards_it_has():
    task_id = task_ids(ALFWORLD)[0]
    expected = scripted(ALFWORLD, task_id, seed=0, policy="random")
    whole = play(group(ALFWORLD, task_id), Script(expected.responses))
    third = whole.transitions[2].ob.length
    built = group(ALFWORLD, task_id, max_tokens=third + 9, reply_tokens=10)
    said = play(built, Script(expected.responses))
    assert [turn.reward for turn in said.transitions] == expected.rewards[:2]
    last = said.transitions[-1].metrics
    assert said.stop_reason == "context_overflow"
    assert (last["success"], last["terminated"], last["truncated"]) == (0.0, 0.0, 1.0)
    roomy = group(ALFWORLD, task_id, max_tokens=third + 10, reply_tokens=10)
    assert len(play(roomy, Script(expected.responses)).transitions) >= 3


def test_a_first_prompt_out_of_room_ends_the_episode_unplayed():
    said = play(group(WEBSHOP, task_ids(WEBSHOP)[0], max_tokens=8), Script([]))
    assert said.stop_reason == "max_tokens"
    (only,) = said.transitions
    assert (only.reward, only.metrics["truncated"], only.metrics["success"]) == (0.0, 1.0, 0.0)
    assert trajectory_to_data(said, 1.0) == []


class Company(TokenCompleter):
    """A script for each member of a group, given out in the order in which they first speak."""

    def __init__(self, scripts):
        self.left, self.given = list(scripts), {}

    async def __call__(self, model_input, stop, *, max_tokens=None):
        member = asyncio.current_task()
        if member not in self.given:
            self.given[member] = self.left.pop(0)
        return await self.given[member](model_input, stop)


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_a_pickled_group_plays_and_is_compared(setup):
    task_id = task_ids(setup)[0]
    played = [scripted(setup, task_id, seed=0, policy=name) for name in ("expert", "garbled")]
    built = group(setup, task_id, size=2)
    again = pickle.loads(pickle.dumps(built))
    assert again == built
    company = Company([Script(one.responses) for one in played])
    compared = asyncio.run(do_group_rollout(again, company))
    totals = sorted(compared.get_total_rewards())
    assert totals == pytest.approx(sorted(one.reward for one in played))
    (advantages,) = compute_advantages([compared])
    assert float(advantages.sum()) == pytest.approx(0.0, abs=1e-5)
    told = compute_trajectory_metrics([compared], [again.logging_tags()])
    assert told["env/all/success"] == sum(one.success for one in played) / 2
    assert told["env/all/truncated"] == sum(one.truncated for one in played) / 2
    assert again.logging_tags() == [setup.env_id.removeprefix("AgentGym/")]


def test_slow_environments_are_waited_for_together():
    meeting = threading.Barrier(2, timeout=60)

    def slowly(take):
        def taken(text):
            meeting.wait()  # until the other environment is at work too
            return take(text)

        return taken

    async def side_by_side():
        envs = await group(WEBSHOP, task_ids(WEBSHOP)[0], size=2).make_envs()
        for env in envs:
            await env.initial_observation()
            env.conversation.take = slowly(env.conversation.take)
        return await asyncio.gather(*[env.step(TOKENIZER.encode("hm")) for env in envs])

    one, other = asyncio.run(side_by_side())
    assert one.next_observation == other.next_observation


def test_an_environment_plays_once():
    async def twice():
        (env,) = await group(WEBSHOP, task_ids(WEBSHOP)[0]).make_envs()
        await env.initial_observation()
        with pytest.raises(RuntimeError, match="plays one episode"):
            await env.initial_observation()

    asyncio.run(twice())


def test_a_step_after_the_end_is_an_error():
    task_id = task_ids(WEBSHOP)[0]
    responses = scripted(WEBSHOP, task_id, seed=0, policy="expert").responses

    async def on_and_on():
        (env,) = await group(WEBSHOP, task_id).make_envs()
        await do_single_rollout(Script(responses), env)
        with pytest.raises(ResetNeeded):
            await env.step(TOKENIZER.encode("more"))

    asyncio.run(on_and_on())


def test_global_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].tolist()
    task_id = task_ids(WEBSHOP)[0]
    responses = scripted(WEBSHOP, task_id, seed=5, policy="random").responses
    play(group(WEBSHOP, task_id, seed=5), Script(responses))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("column", ["env_id", "settings", "task_id", "seed", "prompt_style"])
def test_a_row_without_a_column_is_refused_by_name(column):
    row = WEBSHOP.row(task_ids(WEBSHOP)[0])
    del row[column]
    with pytest.raises(ValueError, match=f"no column '{column}'"):
        AgentGymGroup.of(row, model_name=MODEL, renderer_name="llama3", group_size=1)


def test_an_unknown_task_is_an_error():
    with pytest.raises(KeyError, match="no/such-task"):
        play(group(WEBSHOP, "no/such-task"), Script([]))


def test_every_pass_has_each_group_once_in_an_order_of_its_own():
    groups = [group(WEBSHOP, task_id) for task_id in task_ids(WEBSHOP, 7)]
    data = AgentGymDataset(groups, 3, passes=2, shuffle_seed=1)
    assert [len(data.get_batch(i)) for i in range(len(data))] == [3, 3, 1, 3, 3, 1]
    passes = [
        [one.task_id for i in half for one in data.get_batch(i)] for half in ((0, 1, 2), (3, 4, 5))
    ]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(one.task_id for one in groups)
    assert passes[0] != passes[1]
    in_order = AgentGymDataset(groups, 3)
    assert list(in_order.get_batch(1)) == groups[3:6]
    for index in (-1, 6):
        with pytest.raises(IndexError, match=f"batch {index} of 6"):
            data.get_batch(index)
    with pytest.raises(ValueError, match="a data set needs groups"):
        AgentGymDataset([], 3)


def builder_of(**more):
    return AgentGymDatasetBuilder(
        env_id=WEBSHOP.env_id,
        settings={"difficulty": "tiny", "products": 40},
        model_name_for_tokenizer=MODEL,
        renderer_name="qwen3_instruct",
        batch_size=2,
        group_size=3,
        **more,
    )


def test_the_builder_makes_a_training_set_and_a_held_out_one():
    train, test = asyncio.run(builder_of(test_settings={"split": "test"}, count=5, seed=9)())
    assert len(train) == 3
    first, *_ = train.get_batch(0)
    assert (first.group_size, first.seed, first.setup.settings["products"]) == (3, 9, 40)
    held_out = [one for i in range(len(test)) for one in test.get_batch(i)]
    assert {one.group_size for one in held_out} == {1}
    assert [one.task_id for one in held_out] == list(held_out[0].setup.make().tasks.ids)
    assert held_out[0].setup.settings == {"difficulty": "tiny", "products": 40, "split": "test"}
    _, none = asyncio.run(builder_of()())
    assert none is None


def test_the_builder_reads_a_command_line():
    line = ["env_id=AgentGym/SearchQA-v0", "layout=turns", "count=4", "max_tokens=4096"]
    line += [f"model_name_for_tokenizer={MODEL}", "renderer_name=llama3"]
    built = chz.Blueprint(AgentGymDatasetBuilder).make_from_argv(
        [*line, "batch_size=2", "group_size=2"]
    )
    assert (built.layout, built.count, built.max_tokens) == ("turns", 4, 4096)


def test_another_version_is_refused_with_the_fix(monkeypatch):
    monkeypatch.setattr("agentgym_envs.integrations.needs.version", lambda package: "9.1.0")
    with pytest.raises(
        ImportError, match='9.1.0 is installed: pip install "tinker-cookbook>=0.5,<0.6"'
    ):
        runpy.run_path(adapter.__file__)


def test_the_example_runs():
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True
    )
    assert "stop/" in done.stdout
