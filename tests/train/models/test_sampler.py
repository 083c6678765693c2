"""Sampling: what a reply depends on, and what is read to make it."""

import numpy as np
import pytest
import torch
from train.models.conftest import PLAIN, SLIDING, make, plain_logprobs

from agentgym_train.models.load import LoraSettings, _with_lora
from agentgym_train.models.sampler import Ask, LocalSampler, Sampling, choose

SOME = Sampling(max_tokens=9, stop=(2, 3, 4, 5, 6, 7, 8), temperature=1.0)


def ragged(count: int, seed: int = 0, longest: int = 30) -> list[list[int]]:
    dice = np.random.default_rng(seed)
    return [dice.integers(10, 300, dice.integers(1, longest)).tolist() for _ in range(count)]


def play(sampler: LocalSampler, keys: list, turns: int, sampling: Sampling = SOME) -> dict:
    """Conversations that grow by the reply and a ragged observation; all tokens and log-probs."""
    prompts = dict(zip(keys, ragged(len(keys)), strict=True))
    said: dict = {key: [] for key in keys}
    for turn in range(turns):
        asks = [Ask(key, prompts[key], (1, key, turn)) for key in keys]
        for key, reply in zip(keys, sampler.reply(asks, sampling), strict=True):
            start = len(prompts[key])
            said[key].append((start, reply))
            observation = ragged(1, seed=100 * turn + key)[0]
            prompts[key] = [*prompts[key], *reply.tokens, *observation]
    return {key: (prompts[key], said[key]) for key in keys}


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize(
    ("family", "cache"),
    [(f, "kept") for f in PLAIN] + [(f, "none") for f in ("qwen3", "gpt2", *SLIDING)],
)
def test_logprobs_are_those_of_a_plain_forward_pass(family, cache, temperature, tokenizer):
    model = make(family)
    sampler = LocalSampler(model, tokenizer, cache=cache)
    sampling = Sampling(max_tokens=9, stop=SOME.stop, temperature=temperature)
    lengths = set()
    for tokens, said in play(sampler, list(range(7)), 4, sampling).values():
        expected = plain_logprobs(model, tokens, temperature)
        for start, reply in said:
            own = torch.tensor(reply.logprobs)
            torch.testing.assert_close(
                own, expected[start - 1 : start - 1 + len(own)], atol=1e-4, rtol=1e-4
            )
            assert reply.finished == (reply.tokens[-1] in SOME.stop)
            assert reply.finished or len(reply.tokens) == 9
            lengths.add(len(reply.tokens))
    assert len(lengths) > 3  # rows did finish at different times


@pytest.mark.parametrize("cache", ["kept", "none"])
def test_a_reply_does_not_depend_on_its_neighbours(cache, tokenizer):
    model = make("qwen3")
    together = play(LocalSampler(model, tokenizer, cache=cache), list(range(12)), 3)
    for key in (0, 5, 11):
        sampler = LocalSampler(model, tokenizer, cache=cache)
        prompts, start = together[key][0], 0
        for turn, (start, reply) in enumerate(together[key][1]):
            alone = sampler.reply([Ask(key, prompts[:start], (1, key, turn))], SOME)[0]
            assert alone.tokens == reply.tokens
            assert alone.logprobs == pytest.approx(reply.logprobs, abs=1e-5)


def test_a_seed_repeats_itself_and_another_does_not(tokenizer):
    sampler = LocalSampler(make("llama"), tokenizer)
    prompt, long = ragged(1)[0], Sampling(max_tokens=20, stop=())
    one, again, other = sampler.reply(
        [Ask("a", prompt, (3, 1)), Ask("b", prompt, (3, 1)), Ask("c", prompt, (3, 2))], long
    )
    assert one.tokens == again.tokens
    assert one.tokens != other.tokens


def test_temperature_zero_takes_the_likeliest_token(tokenizer):
    model = make("qwen3")
    prompt = ragged(1)[0]
    greedy = Sampling(max_tokens=5, stop=(), temperature=0.0)
    reply = LocalSampler(model, tokenizer).reply([Ask(0, prompt, (0,))], greedy)[0]
    tokens = list(prompt)
    for token in reply.tokens:
        logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
        assert token == int(logits.argmax())
        tokens.append(token)
    expected = plain_logprobs(model, tokens)[len(prompt) - 1 :]
    torch.testing.assert_close(torch.tensor(reply.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_only_what_is_new_is_read(tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer)
    four = Sampling(max_tokens=4, stop=())
    prompt = ragged(1, longest=60)[0] * 3
    reply = sampler.reply([Ask(0, prompt, (0,))], four)[0]
    assert sampler.prefill_tokens == len(prompt)
    assert sampler.decode_tokens == 4
    observation = [20, 21, 22]
    sampler.reply([Ask(0, [*prompt, *reply.tokens, *observation], (1,))], four)
    # Of the reply, the last token was sampled but never read.
    assert sampler.prefill_tokens == len(prompt) + 1 + len(observation)


def test_a_group_reads_its_prompt_once(tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer)
    role = list(range(10, 50))
    tasks = [[*role, 100, 101, 102], [*role, 200, 201]]
    asks = [Ask((t, m), tasks[t], (t, m)) for m in range(4) for t in range(2)]
    replies = sampler.reply(asks, SOME)
    assert sampler.prefill_tokens == len(role) + 3 + 2
    # And what was copied is what would have been read.
    for ask, reply in zip(asks, replies, strict=True):
        alone = LocalSampler(make("qwen3"), tokenizer).reply([ask], SOME)[0]
        assert alone.tokens == reply.tokens


def test_a_newcomer_shares_what_others_hold(tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer)
    role = list(range(10, 50))
    sampler.reply([Ask("old", [*role, 100, 101], (0,))], SOME)
    before = sampler.prefill_tokens
    newcomer = Ask("new", [*role, 200, 201, 202], (1,))
    reply = sampler.reply([newcomer], SOME)[0]
    assert sampler.prefill_tokens == before + 3
    assert LocalSampler(make("qwen3"), tokenizer).reply([newcomer], SOME)[0].tokens == reply.tokens


def test_a_windowed_prompt_keeps_its_leading_part(tokenizer):
    model = make("qwen3")
    sampler = LocalSampler(model, tokenizer)
    role = list(range(10, 50))
    sampler.reply([Ask(0, [*role, *range(60, 90)], (0,))], SOME)
    before = sampler.prefill_tokens
    slid = Ask(0, [*role, *range(75, 110)], (1,))
    reply = sampler.reply([slid], SOME)[0]
    assert sampler.prefill_tokens == before + 35
    assert LocalSampler(model, tokenizer).reply([slid], SOME)[0].tokens == reply.tokens


def test_memory_is_bounded_and_a_forgotten_conversation_is_read_again(tokenizer):
    model = make("qwen3")
    sampler = LocalSampler(model, tokenizer, conversations=4)
    asks = [Ask(key, prompt, (key,)) for key, prompt in enumerate(ragged(12, longest=9))]
    for first in range(0, 12, 3):
        replies = sampler.reply(asks[first : first + 3], SOME)
        for ask, reply in zip(asks[first : first + 3], replies, strict=True):
            assert LocalSampler(model, tokenizer).reply([ask], SOME)[0].tokens == reply.tokens
    again = sampler.reply(asks[:1], SOME)[0]
    assert LocalSampler(model, tokenizer).reply(asks[:1], SOME)[0].tokens == again.tokens


def test_conversations_may_come_and_go_in_any_order(tokenizer):
    """A random timetable over many turns against reading everything afresh."""
    model = make("llama")
    kept, fresh = LocalSampler(model, tokenizer), LocalSampler(model, tokenizer, cache="none")
    dice = np.random.default_rng(3)
    prompts = {key: ragged(1, seed=key)[0] for key in range(9)}
    for turn in range(8):
        keys = dice.permutation(9)[: dice.integers(1, 9)].tolist()
        asks = [Ask(key, prompts[key], (key, turn)) for key in keys]
        expected = fresh.reply(asks, SOME)
        for key, own, plain in zip(keys, kept.reply(asks, SOME), expected, strict=True):
            assert own.tokens == plain.tokens
            assert own.logprobs == pytest.approx(plain.logprobs, abs=1e-4)
            prompts[key] = [*prompts[key], *own.tokens, *ragged(1, seed=turn * 50 + key)[0]]


def test_changed_weights_need_an_empty_cache(tokenizer):
    model = make("qwen3")
    sampler = LocalSampler(model, tokenizer)
    ask = Ask(0, [10, 11, 12], (0,))
    sampler.reply([ask], SOME)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    with pytest.raises(RuntimeError, match="forget"):
        sampler.reply([ask], SOME)
    sampler.forget()
    reply = sampler.reply([ask], SOME)[0]
    assert reply.tokens == LocalSampler(model, tokenizer).reply([ask], SOME)[0].tokens


def test_lora_adapters_are_sampled_from_and_watched(tokenizer):
    adapted = _with_lora(make("qwen3"), LoraSettings(rank=4, targets=("q_proj", "down_proj")))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    sampler = LocalSampler(adapted, tokenizer)
    prompt = ragged(1)[0]
    reply = sampler.reply([Ask(0, prompt, (0,))], Sampling(max_tokens=8, stop=()))[0]
    expected = plain_logprobs(adapted, [*prompt, *reply.tokens])[len(prompt) - 1 :]
    torch.testing.assert_close(torch.tensor(reply.logprobs), expected, atol=1e-4, rtol=1e-4)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad])
    adapted(input_ids=torch.tensor([prompt])).logits.sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="forget"):
        sampler.reply([Ask(0, prompt, (0,))], SOME)


@pytest.mark.parametrize("family", SLIDING)
def test_layers_that_see_a_part_of_the_past_need_the_other_cache(family, tokenizer):
    with pytest.raises(ValueError, match='cache = "none"'):
        LocalSampler(make(family), tokenizer, cache="kept")


def test_the_probe_notices_a_model_that_reads_masks_its_own_way(tokenizer, monkeypatch):
    model = make("qwen3")
    forward = model.model.forward

    def forgetful(input_ids, attention_mask=None, position_ids=None, past_key_values=None, **more):
        mask = None if attention_mask is None else torch.zeros_like(attention_mask)
        return forward(input_ids, mask, position_ids, past_key_values, **more)

    monkeypatch.setattr(model.model, "forward", forgetful)
    with pytest.raises(ValueError, match="reads a conversation differently"):
        LocalSampler(model, tokenizer)


@pytest.mark.parametrize("cache", ["kept", "none"])
def test_nobody_is_read_beyond_the_context(cache, tokenizer):
    """GPT-2 has no position to read at there, not even for a row that is over already."""
    sampler = LocalSampler(make("gpt2"), tokenizer, cache=cache)
    asks = [Ask(0, [10] * 508, (0,)), *(Ask(i, [10] * 20, (i,)) for i in range(1, 9))]
    together = sampler.reply(asks, Sampling(max_tokens=30, stop=()))
    assert [len(reply.tokens) for reply in together] == [4] + [30] * 8
    sampler.forget()
    (alone,) = sampler.reply(asks[:1], Sampling(max_tokens=30, stop=()))
    assert alone.tokens == together[0].tokens


def test_the_context_cuts_a_reply_and_refuses_a_prompt(tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer)
    long = Sampling(max_tokens=50, stop=())
    short, full = sampler.reply([Ask(0, [10] * 20, (0,)), Ask(1, [10] * 502, (1,))], long)
    assert len(short.tokens) == 50
    assert len(full.tokens) == 10
    assert not full.finished
    with pytest.raises(ValueError, match="conversation 'x'.*512"):
        sampler.reply([Ask("x", [10] * 512, (0,))], long)


def test_a_key_asked_twice_and_an_empty_prompt_are_refused(tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer)
    with pytest.raises(ValueError, match="twice"):
        sampler.reply([Ask(0, [10], (0,)), Ask(0, [11], (0,))], SOME)
    with pytest.raises(ValueError, match="empty"):
        sampler.reply([Ask(0, [], (0,))], SOME)
    assert sampler.reply([], SOME) == []


def test_a_reply_ends_at_its_stop_token(tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer)
    prompt = [10, 11, 12]
    free = sampler.reply([Ask(0, prompt, (0,))], Sampling(max_tokens=6, stop=()))[0]
    stop = free.tokens[-1]
    reply = sampler.reply([Ask(0, prompt, (0,))], Sampling(max_tokens=6, stop=(stop,)))[0]
    cut = free.tokens.index(stop) + 1
    assert reply.tokens == free.tokens[:cut]
    assert reply.finished and not free.finished


@pytest.mark.parametrize("cache", ["kept", "none"])
def test_a_text_ends_a_reply_with_the_token_that_completes_it(cache, tokenizer):
    sampler = LocalSampler(make("qwen3"), tokenizer, cache=cache)
    asks = [Ask(i, [10 + i, 11, 12], (i,)) for i in range(12)]
    free = sampler.reply(asks, Sampling(max_tokens=20, stop=()))
    text = tokenizer.decode(list(free[3].tokens[6:8]))
    sampler.forget()
    ended = sampler.reply(asks, Sampling(max_tokens=20, stop=(), stop_text=text))
    cut = 0
    for whole, reply in zip(free, ended, strict=True):
        count = len(reply.tokens)
        assert reply.tokens == whole.tokens[:count]
        assert reply.finished == (text in tokenizer.decode(list(reply.tokens)))
        assert text not in tokenizer.decode(list(reply.tokens[:-1]))
        assert reply.finished or count == 20
        cut += reply.finished
    assert 0 < cut < 12


def test_tokens_come_as_often_as_they_should():
    """Inverting at a grid of uniforms gives each token its share: 10, 20, 30 and 40 of 100."""
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(100, 4)
    grid = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    tokens, logprobs = choose(logits, grid, Sampling(max_tokens=1, stop=()))
    assert tokens.bincount().tolist() == [10, 20, 30, 40]
    assert logprobs.exp()[-1] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("cut", "shares"),
    [
        ({"top_k": 2}, [0, 0, 60, 80]),  # 3 : 4
        ({"top_p": 0.6}, [0, 0, 60, 80]),  # 0.4 is not enough, 0.7 is
        ({"top_p": 0.4}, [0, 0, 0, 140]),
        ({"top_k": 3, "top_p": 0.99}, [0, 28 + 3, 46 + 1, 62]),
    ],
)
def test_cuts_leave_the_likeliest(cut, shares):
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(140, 4)
    grid = (torch.arange(140, dtype=torch.float64) + 0.5) / 140
    tokens, logprobs = choose(logits, grid, Sampling(max_tokens=1, stop=(), **cut))
    counts = tokens.bincount(minlength=4).tolist()
    assert counts == pytest.approx(shares, abs=1)
    # Log-probs are of the whole distribution.
    torch.testing.assert_close(logprobs, logits.double()[torch.arange(140), tokens])


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}]
)
def test_a_sampling_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**{"max_tokens": 1, "stop": ()} | wrong)
