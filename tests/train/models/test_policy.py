"""Log-probs of sampled tokens: the same as reading each row alone."""

import pytest
import torch
from torch.testing import assert_close
from train.models.conftest import FAMILIES, make, plain_logprobs

from agentgym_train.batch import Row, TokenSpan, TrajectoryRows, collate
from agentgym_train.models.load import LoraSettings, _with_lora
from agentgym_train.models.policy import Policy

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def rows(count=5, seed=0):
    """Rows of ragged lengths with two sampled spans each."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        tokens = torch.randint(10, 300, (12 + 7 * i,), generator=draw).tolist()
        made.append(Row(tokens, [TokenSpan(0, 3, 6), TokenSpan(1, 8, 10 + i)]))
    return made


def batched(some):
    one = {"places": [0, 1], "valid": [True, True], "episode_return": 0.0, "success": False}
    return collate([TrajectoryRows(group=i, rows=[row], **one) for i, row in enumerate(some)])


def everything(batch):
    return batch.padded(torch.arange(len(batch.length)))


def expected(model, some, temperature=1.0):
    parts = []
    for row in some:
        all_of_it = plain_logprobs(model, list(row.tokens), temperature)
        parts += [all_of_it[span.start - 1 : span.stop - 1] for span in row.spans]
    return torch.cat(parts)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_live_equals_a_plain_forward_pass_row_by_row(family, temperature, tokenizer):
    model = make(family)
    policy, some = Policy(model, tokenizer, temperature), rows()
    for parameter in model.modules():
        if isinstance(parameter, torch.nn.Dropout):
            parameter.p = 0.0
    live = policy.live(everything(batched(some)), entropy=True, logits=True)
    model.eval()
    assert_close(live.logprob, expected(model, some, temperature), **CLOSE)
    assert live.entropy is not None and live.logits is not None
    full = live.logits.log_softmax(-1)
    assert_close(live.entropy, -(full.exp() * full).sum(-1), **CLOSE)
    assert_close(policy.logprobs(batched(some)), live.logprob.detach(), **CLOSE)


def test_the_gradient_is_that_of_a_plain_forward_pass(tokenizer):
    model, some = make("qwen3"), rows()
    weight = torch.linspace(-1, 1, len(batched(some)))
    gradients = []
    for logprob in (
        Policy(model, tokenizer).live(everything(batched(some))).logprob,
        expected(model, some),
    ):
        model.zero_grad()
        (logprob * weight).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("token_budget", [1, 60, 100_000])
def test_neighbours_padding_and_order_change_nothing(token_budget, tokenizer):
    policy, some = Policy(make("llama"), tokenizer), rows()
    batch = batched(some)
    alone = torch.cat([policy.logprobs(batched([row])) for row in some])
    assert_close(policy.logprobs(batch, token_budget=token_budget), alone, **CLOSE)
    shuffled = [batch.padded(torch.tensor(some)) for some in ([3, 0], [4], [2, 1])]
    assert_close(policy.logprobs_of(shuffled, len(batch)), alone, **CLOSE)


def test_tokens_nobody_scored_are_noticed(tokenizer):
    batch = batched(rows())
    policy = Policy(make("llama"), tokenizer)
    with pytest.raises(ValueError, match="are in no row"):
        policy.logprobs_of([batch.padded(torch.tensor([0, 1]))], len(batch))


def test_a_model_that_diverged_is_no_mistake_of_the_settings(tokenizer):
    policy = Policy(make("llama"), tokenizer)
    torch.nn.init.constant_(policy.head.output.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="diverged"):
        policy.logprobs(batched(rows()))


def test_gradient_checkpointing_gives_the_same_gradient(tokenizer):
    gradients = []
    for checkpointing in (False, True):
        model = make("qwen3")
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        live = Policy(model, tokenizer).live(everything(batched(rows())), entropy=True)
        assert live.entropy is not None
        (live.logprob + live.entropy).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, saved in zip(*gradients, strict=True):
        assert_close(plain, saved)


def test_lora_trains_its_matrices_only_and_starts_as_the_model_was(tokenizer):
    model, some = make("qwen3"), rows()
    before = expected(model, some).detach()
    adapted = _with_lora(model, LoraSettings(rank=4, targets=("q_proj", "v_proj")))
    live = Policy(adapted, tokenizer).live(everything(batched(some)))
    assert_close(live.logprob.detach(), before, **CLOSE)
    live.logprob.sum().backward()
    moved = {n for n, p in adapted.named_parameters() if p.grad is not None}
    assert moved and all("lora_" in name for name in moved)


def test_lora_on_the_output_layer_is_refused(tokenizer):
    adapted = _with_lora(make("llama"), LoraSettings(rank=4, targets=("q_proj", "lm_head")))
    with pytest.raises(ValueError, match=r"lora\.targets"):
        Policy(adapted, tokenizer)


def test_a_temperature_of_zero_is_refused(tokenizer):
    with pytest.raises(ValueError, match="positive"):
        Policy(make("llama"), tokenizer, 0.0)
