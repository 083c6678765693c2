"""Where training stands: weights and optimiser as safetensors, the rest as JSON. No pickle."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from agentgym_train.files import write_folder
from agentgym_train.optimizer import masters

FORMAT = 1


def save(
    folder: Path,
    step: int,
    model: Module,
    optimizer: Optimizer,
    state: dict[str, Any],
    keep: int,
    teacher: dict[str, Tensor] | None = None,
) -> None:
    """Write `step-<n>` under `folder`, atomically, and remove all but the newest `keep`.

    state: whatever else must survive, as JSON values. teacher: the weights of one that moves.
    """

    def fill(aside: Path) -> None:
        save_file(_trained(model, optimizer), aside / "weights.safetensors")
        save_file(_moments(optimizer), aside / "optimizer.safetensors")
        if teacher:
            save_file(teacher, aside / "teacher.safetensors")
        about = {"format": FORMAT, "step": step, "state": state}
        (aside / "state.json").write_text(json.dumps(about), encoding="utf-8")

    folder.mkdir(parents=True, exist_ok=True)
    write_folder(folder / f"step-{step:06d}", fill)
    for old in _saved(folder)[:-keep]:
        shutil.rmtree(old)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint, or None."""
    saved = _saved(folder)
    return saved[-1] if saved else None


def latest_step(folder: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    newest = latest(folder)
    return 0 if newest is None else int(newest.name.rpartition("-")[2])


def state_of(folder: Path) -> dict[str, Any]:
    """The state of the newest checkpoint under `folder`, without its weights; {} where none is."""
    newest = latest(folder)
    if newest is None:
        return {}
    return json.loads((newest / "state.json").read_text(encoding="utf-8"))["state"]


def load(checkpoint: Path, model: Module, optimizer: Optimizer) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint back, in place; returns its step and state.

    Raises ValueError when it is of another format or of another model.
    """
    about = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    if about.get("format") != FORMAT:
        raise ValueError(f"{checkpoint} has format {about.get('format')}, expected {FORMAT}")
    weights = load_file(checkpoint / "weights.safetensors")
    own = _trained(model, optimizer)
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())[0]
        raise ValueError(f"{checkpoint} is of another model: only one of them has {odd}")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, master in own.items():
            master.copy_(weights[name])
            parameters[name].copy_(master)
    _put_moments(optimizer, load_file(checkpoint / "optimizer.safetensors"))
    return about["step"], about["state"]


def load_teacher(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of a teacher that moves; empty where there is none."""
    path = checkpoint / "teacher.safetensors"
    return load_file(path) if path.exists() else {}


def _trained(model: Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """What the optimiser moves, by the name of the parameter; tied weights have one name."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return {name: p.data for name, p in zip(names, masters(optimizer), strict=True)}


def _moments(optimizer: Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value.contiguous()
        for index, state in states.items()
        for name, value in state.items()
    }


def _put_moments(optimizer: Optimizer, moments: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _saved(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
