"""Small updates add up, however narrow the weights that the model computes in."""

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from train.pantry_run import pantry_run

from agentgym_train import checkpoint
from agentgym_train.optimizer import make_optimizer, masters
from agentgym_train.runlog import RunLog
from agentgym_train.train import Trainer, resume, train

BF16 = torch.bfloat16


def pulled(dtype, steps=200, lr=1e-6):
    """A weight of 0.02 or so, pulled the same way at the published rate."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter((0.02 * torch.randn(400)).to(dtype))
    start = weight.detach().clone()
    optimizer = make_optimizer([weight], lr=lr, weight_decay=0.0)
    for _ in range(steps):
        (weight * torch.linspace(-1, 1, 400).to(dtype)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return start, weight, optimizer


def test_updates_smaller_than_the_next_bfloat16_add_up():
    start, weight, optimizer = pulled(BF16)
    (master,) = masters(optimizer)
    exact_start, exact, _ = pulled(torch.float32)
    assert_close(master - start.float(), exact.detach() - exact_start, atol=1e-7, rtol=2e-3)
    assert weight.dtype == BF16 and weight.equal(master.to(BF16))
    assert (weight != start).float().mean() > 0.7  # 2e-4 is more than a step of most of them


def test_a_wide_parameter_is_its_own_master():
    for dtype in (torch.float32, torch.float64):
        _, weight, optimizer = pulled(dtype, steps=1)
        assert masters(optimizer)[0] is weight


def test_gradients_of_many_parts_add_up_in_float32():
    weight = torch.nn.Parameter(torch.ones(3, dtype=BF16))
    (master,) = masters(make_optimizer([weight], lr=0.1, weight_decay=0.0))
    for _ in range(1000):  # in bfloat16 the sum would stop at 256
        weight.sum().backward()
    assert weight.grad is None
    assert master.grad is not None and master.grad.tolist() == [1000.0] * 3


def test_a_checkpoint_keeps_what_rounding_hides(tmp_path):
    model = torch.nn.Linear(4, 4, dtype=BF16)
    optimizer = make_optimizer(model.parameters(), lr=1e-6, weight_decay=0.0)
    model(torch.ones(1, 4, dtype=BF16)).sum().backward()
    optimizer.step()
    checkpoint.save(tmp_path, 1, model, optimizer, {}, keep=1)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    again = torch.nn.Linear(4, 4, dtype=BF16)
    its = make_optimizer(again.parameters(), lr=1e-6, weight_decay=0.0)
    checkpoint.load(saved, again, its)
    for one, other in zip(masters(optimizer), masters(its), strict=True):
        assert one.dtype == torch.float32 and one.equal(other)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert one.equal(other)


@pytest.fixture(scope="module")
def narrow_runs(tmp_path_factory):
    """The same run in bfloat16 and in float32, at the published rate."""
    folders = {}
    for dtype in ("bfloat16", "float32"):
        folders[dtype] = tmp_path_factory.mktemp(dtype) / "run"
        train(small(dtype), folders[dtype])
    return folders


def small(dtype):
    return pantry_run(model={"dtype": dtype}, learning={"lr": 1e-6, "weight_decay": 0.0})


def weights_of(folder, step=4):
    return load_file(folder / "checkpoints" / f"step-{step:06d}" / "weights.safetensors")


def test_a_run_in_bfloat16_moves_its_weights_as_one_in_float32_does(narrow_runs, tmp_path):
    """Adam's first steps are of the rate's size, so the lengths can be compared."""
    model = Trainer(small("float32"), RunLog(tmp_path)).policy.model
    start = {name: p.detach() for name, p in model.named_parameters()}
    moves = {}
    for dtype, folder in narrow_runs.items():
        first = start if dtype == "float32" else {n: p.to(BF16).float() for n, p in start.items()}
        moved = weights_of(folder)
        moves[dtype] = torch.cat([(moved[name] - first[name]).flatten() for name in first])
    share = {dtype: float((move != 0).float().mean()) for dtype, move in moves.items()}
    assert share["float32"] > 0.5
    assert share["bfloat16"] == pytest.approx(share["float32"], abs=0.05)
    lengths = {dtype: float(move.norm()) for dtype, move in moves.items()}
    assert lengths["bfloat16"] == pytest.approx(lengths["float32"], rel=0.25)


def test_a_run_in_bfloat16_resumes_to_the_bit(narrow_runs, tmp_path):
    whole = narrow_runs["bfloat16"]
    folder = tmp_path / "run"
    stopped(small("bfloat16"), folder, after=3)
    assert resume(small("bfloat16"), folder) == 2
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert all(weights_of(folder)[name].equal(value) for name, value in weights_of(whole).items())


class Stop(Exception):
    pass


def stopped(run, folder, after):
    def stop(step, values):
        if step == after:
            raise Stop

    with pytest.raises(Stop):
        train(run, folder, stop)
