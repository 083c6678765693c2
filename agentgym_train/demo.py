"""The demonstration: a tiny model is warmed up, trained with GRPO, and tested before and after."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from agentgym_train.plot import plot_success
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Run, SettingsError, Warmup, build, override
from agentgym_train.train import train
from agentgym_train.warmup import warm_up


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demonstration ends with."""

    before: dict[str, float]
    after: dict[str, float]
    plot: Path
    metrics: Path


def demonstrate(
    folder: Path,
    overrides: list[str],
    on_warmup: Callable[[str, int, int, float], None],
    on_step: Callable[[int, dict[str, float]], None],
) -> Outcome:
    """Warm up and train in `folder` with the packaged settings `demo.toml`.

    overrides: `env.a=value`, `warmup.a=value` or `run.a=value`. Raises FileExistsError where
    `folder` holds a demonstration already, SettingsError for a setting that is wrong.
    """
    warmup, run = planned(folder, overrides)
    warm_up(warmup, folder / "warmup", on_warmup)
    train(run, folder / "grpo", on_step)
    held_out = [one for one in read_metrics(folder / "grpo") if "val/success_rate" in one]
    plot = plot_success(folder / "grpo", "GRPO on generated ALFWorld games, rooms never seen")
    return Outcome(held_out[0], held_out[-1], plot, folder / "grpo" / "metrics.jsonl")


def planned(folder: Path, overrides: list[str]) -> tuple[Warmup, Run]:
    """What the demonstration would do in `folder`: the packaged settings with these overrides.

    The two share their environment, and the run trains the model that was warmed up.
    """
    text = files("agentgym_train").joinpath("presets/demo.toml").read_text(encoding="utf-8")
    packaged = tomllib.loads(text)
    tables = override(packaged, overrides)
    for key in tables:
        if key not in packaged:
            raise SettingsError(f"unknown table {key}; known: {', '.join(packaged)}")
    for name, key in (("warmup", "env"), ("run", "env"), ("run", "model")):
        if key in tables[name]:
            raise SettingsError(f"{name}.{key} follows from the rest: set env or warmup.model")
    model = {"name": str(folder / "warmup" / "model")}
    warmup = build(Warmup, {**tables["warmup"], "env": tables["env"]})
    return warmup, build(Run, {**tables["run"], "env": tables["env"], "model": model})
