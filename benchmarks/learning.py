"""What six algorithms make of one weak student and one teacher, on generated tasks, on a CPU.

    python benchmarks/learning.py --family alfworld --workers 2 --write

Makes the student and the teacher of `benchmarks/runs/<family>_tiny` where they are missing, trains
every algorithm with every seed, and prints success on held-out tasks against training step, beside
the environment's scripted policies. Finished arms are not repeated, so it can be stopped and
started again.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import processor, write_section

from agentgym_envs.statistics import wilson
from agentgym_train.evaluate import evaluate_model, evaluate_yardsticks
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Run, load

RUNS = Path(__file__).parent / "runs"
ALGORITHMS = ("grpo", "opd", "sdar", "sod", "tcod", "atod")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=("alfworld", "webshop", "searchqa"), default="alfworld")
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--out", type=Path, help="default: runs/<family>_tiny")
    parser.add_argument("--teacher", type=Path, help="a model; default: made from teacher.toml")
    parser.add_argument("--set", nargs="*", default=[], help="settings for every arm: a.b=value")
    parser.add_argument("--write", action="store_true", help="replace the section of RESULTS.md")
    chosen = parser.parse_args()
    runs = RUNS / f"{chosen.family}_tiny"
    out = chosen.out or Path("runs") / runs.name
    teacher = chosen.teacher or out / "teacher" / "model"
    warm(runs, out, ("student",) if chosen.teacher else ("teacher", "student"))
    arms = [(name, seed) for seed in chosen.seeds for name in chosen.algorithms]
    with ThreadPoolExecutor(chosen.workers) as pool:
        list(pool.map(lambda arm: train(runs, out, teacher, *arm, chosen.set), arms))
    text = report(runs, out, teacher, chosen.algorithms, chosen.seeds, chosen.set)
    print(text)
    if chosen.write:
        write_section(f"learning_{chosen.family}", text)


def warm(runs: Path, out: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (out / name / "model").exists():
            command("warmup", str(runs / f"{name}.toml"), "--out", str(out / name))


def train(runs: Path, out: Path, teacher: Path, name: str, seed: int, settings: list[str]) -> None:
    folder = out / f"{name}-{seed}"
    if (folder / "model").exists():
        return
    if (folder / "run.toml").exists():
        command("resume", str(folder))
        return
    own = [f"seed={seed}", f'model.name="{out}/student/model"', *settings]
    if name in ("opd", "sod", "tcod", "atod"):
        own.append(f'teacher.name="{teacher}"')
    pairs = [word for setting in own for word in ("--set", setting)]
    command("run", str(runs / f"{name}.toml"), "--out", str(folder), *pairs)


def command(*words: str) -> None:
    """One `agentgym-train` command on one core; its progress is not shown."""
    log = subprocess.run(
        [sys.executable, "-m", "agentgym_train", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if log.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{log.stderr[-2000:]}")


def report(
    runs: Path,
    out: Path,
    teacher: Path,
    names: list[str],
    seeds: list[int],
    settings: list[str],
) -> str:
    """A table: a row an algorithm, a column an evaluated step; all seeds' episodes together."""
    run = load(runs / "grpo.toml", Run, settings)
    taught = load(runs / "grpo.toml", Run, [*settings, f'model.name="{teacher}"'])
    columns: list[int] = []
    rows = []
    for name in names:
        curves = [held_out(out / f"{name}-{seed}") for seed in seeds]
        columns = sorted(curves[0])
        cells = [cell([curve[step] for curve in curves]) for step in columns]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    best = evaluate_model(taught).overall
    settings_told = (
        f"`python benchmarks/learning.py --family {runs.name.removesuffix('_tiny')} --algorithms "
        f"{' '.join(names)} --seeds {' '.join(map(str, seeds))} --teacher {teacher}`: "
        f"{processor()}, one thread a run. {run.env.id}, {told(run.env.common)}; "
        f"a Qwen3 of 0.4 M parameters, {run.rollout.groups} tasks x "
        f"{run.rollout.group_size} attempts a step, lr {run.learning.lr:g}. Success on "
        f"{run.evaluation.tasks} held-out tasks, each played once at "
        f"temperature {run.evaluation.temperature:g}: mean over {len(seeds)} seeds, 95 % Wilson "
        "interval of all their episodes together, and lowest - highest seed. Every arm starts from "
        f"the student, which is the column of step 0; the teacher ({teacher.parent.name}) has "
        f"{best}."
    )
    scripted = evaluate_yardsticks(run)
    listed = [f"- {name}: {done.overall}" for name, done in scripted.items()]
    settings_told += "\n\nScripted policies on the same tasks:\n\n" + "\n".join(listed)
    head = "| algorithm | " + " | ".join(f"step {step}" for step in columns) + " |"
    title = f"## What algorithms make of a weak student: {run.env.id}"
    lines = [title, "", settings_told, "", head]
    return "\n".join([*lines, "|---|" + "---|" * len(columns), *rows])


def told(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def held_out(folder: Path) -> dict[int, dict[str, float]]:
    return {one["step"]: one for one in read_metrics(folder) if "val/success_rate" in one}


def cell(found: list[dict[str, float]]) -> str:
    rates = [one["val/success_rate"] for one in found]
    wins = sum(round(one["val/success_rate"] * one["val/episodes"]) for one in found)
    low, high = wilson(wins, int(sum(one["val/episodes"] for one in found)))
    mean = sum(rates) / len(rates)
    return f"{mean:.3f} [{low:.3f}, {high:.3f}] ({min(rates):.3f} - {max(rates):.3f})"


if __name__ == "__main__":
    main()
