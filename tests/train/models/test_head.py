"""The chunked output layer against the plain one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from agentgym_train.models.head import Head, Scoring, sampled_logprob


def problem(n=6, d=5, vocabulary=37, dtype=torch.float64, seed=0, spread=1.0):
    draw = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(n, d, generator=draw) * spread).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, d, generator=draw).to(dtype).requires_grad_()
    bias = torch.randn(vocabulary, generator=draw).to(dtype).requires_grad_()
    return hidden, weight, bias, torch.randint(0, vocabulary, (n,), generator=draw)


def plain(hidden, weight, bias, tokens, scoring):
    scores = (hidden @ weight.T + bias) * scoring.scale
    if scoring.cap is not None:
        scores = scoring.cap * torch.tanh(scores / scoring.cap)
    logprobs = (scores / scoring.temperature).log_softmax(-1)
    return logprobs.gather(1, tokens[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(1)


SCORINGS = [
    Scoring(),
    Scoring(temperature=0.7),
    Scoring(scale=0.3, temperature=1.3),
    Scoring(scale=2.0, cap=3.0, temperature=0.8),
]


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("chunk", [1, 8, 37, 100])
def test_it_equals_the_whole_softmax_and_so_does_its_gradient(scoring, chunk):
    *inputs, tokens = problem()
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(2, 6, generator=draw, dtype=torch.float64)
    results = []
    for ours in (True, False):
        if ours:
            pair = sampled_logprob(
                *inputs[:2], tokens, bias=inputs[2], scoring=scoring, entropy=True, chunk=chunk
            )
        else:
            pair = plain(*inputs, tokens, scoring)
        total = (pair[0] * weights[0]).sum() + (pair[1] * weights[1]).sum()
        results.append([*pair, *torch.autograd.grad(total, inputs)])
    for own, expected in zip(*results, strict=True):
        assert_close(own, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("entropy", [True, False])
def test_gradcheck(scoring, entropy):
    hidden, weight, bias, tokens = problem(n=3, d=4, vocabulary=11)

    def run(hidden, weight, bias):
        outputs = sampled_logprob(
            hidden, weight, tokens, bias=bias, scoring=scoring, entropy=entropy, chunk=4
        )
        return outputs if entropy else outputs[0]

    assert torch.autograd.gradcheck(run, (hidden, weight, bias))


@given(st.integers(1, 9), st.integers(1, 60), st.integers(1, 70), st.integers(0, 10_000))
def test_the_chunk_changes_nothing_in_float32(n, vocabulary, chunk, seed):
    hidden, weight, bias, tokens = problem(n, 8, vocabulary, torch.float32, seed, spread=4.0)
    logprob, entropy = sampled_logprob(hidden, weight, tokens, bias=bias, entropy=True, chunk=chunk)
    exact = plain(hidden.double(), weight.double(), bias.double(), tokens, Scoring())
    # Scores reach 40 here, so float32 itself is off by some 1e-6 of that.
    assert_close(logprob.double(), exact[0], atol=2e-5, rtol=1e-6)
    assert entropy is not None
    assert_close(entropy.double(), exact[1], atol=2e-5, rtol=1e-6)


def test_float32_is_as_good_as_the_plain_softmax():
    hidden, weight, bias, tokens = problem(64, 16, 1000, torch.float32, spread=0.3)
    own, _ = sampled_logprob(hidden, weight, tokens, bias=bias, chunk=128)
    expected, _ = plain(hidden, weight, bias, tokens, Scoring())
    assert_close(own, expected, atol=1e-6, rtol=1e-6)


def test_entropy_is_given_only_when_asked_for():
    hidden, weight, _, tokens = problem()
    assert sampled_logprob(hidden, weight, tokens)[1] is None
    even = torch.zeros(2, 5)
    _, entropy = sampled_logprob(even, torch.ones(8, 5), torch.tensor([0, 7]), entropy=True)
    assert_close(entropy, torch.full((2,), 8.0).log())


def test_frozen_weights_get_no_gradient():
    hidden, weight, _, tokens = problem()
    frozen = weight.detach()
    sampled_logprob(hidden, frozen, tokens)[0].sum().backward()
    assert hidden.grad is not None
    assert frozen.grad is None


def test_the_scores_never_exist_together():
    """No tensor that autograd keeps, or that a chunk makes, is as large as n x V."""
    hidden, weight, _, tokens = problem(n=50, vocabulary=400)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        logprob, entropy = sampled_logprob(hidden, weight, tokens, entropy=True, chunk=20)
        assert entropy is not None
        (logprob + entropy).sum().backward()
    assert largest == max(50 * 20, weight.numel())


def test_no_tokens_are_no_trouble():
    hidden, weight, bias, tokens = problem(n=0)
    logprob, _ = sampled_logprob(hidden, weight, tokens, bias=bias)
    logprob.sum().backward()
    assert logprob.shape == (0,)
    assert weight.grad is not None and not weight.grad.any()


def test_a_head_that_is_no_linear_layer_is_refused():
    class Odd(torch.nn.Module):
        def get_output_embeddings(self):
            return torch.nn.Identity()

    with pytest.raises(ValueError, match="Odd has Identity"):
        Head.of(Odd())
