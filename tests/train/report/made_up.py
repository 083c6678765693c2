"""A suite folder with made-up runs, in the format that real runs are written in.

Success follows a curve of each algorithm's own; tasks have their difficulties and seeds their luck,
so that there is something to find. No model and no environment takes part.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from train.pantry_run import SETTINGS

from agentgym_envs.episodes import to_record
from agentgym_envs.statistics import summarise
from agentgym_envs.types import Episode, Task, Turn, Verdict, content_hash
from agentgym_train.algorithms import BUILT_IN
from agentgym_train.evaluate import numbers_of
from agentgym_train.settings import Run, build, dump
from agentgym_train.suite_rules import merged

HOSTILE = '</script><img src=x onerror="document.title=1">|`<b>&"\'\u2028=1+1'
IDS = {
    "alfworld": "AgentGym/ALFWorld-v0",
    "webshop": "AgentGym/WebShop-v0",
    "searchqa": "AgentGym/SearchQA-v0",
}
KINDS = {
    "alfworld": ("pick_and_place_simple", "look_at_obj_in_light", "pick_heat_then_place_in_recep"),
    "webshop": ("home", "fashion"),
    "searchqa": ("nq", "hotpotqa", "bamboogle"),
}
# Where each ends, in logits, and how fast it gets there.
ENDS = {
    "grpo": (-0.6, 0.6),
    "opd": (0.5, 2.2),
    "sdar": (-0.2, 0.9),
    "sod": (0.6, 1.6),
    "tcod": (0.4, 1.3),
    "atod": (1.1, 1.8),
    "skill_grpo": (-0.4, 0.7),
}
SIX = tuple(ENDS)[:6]
RECIPE = {
    "episodes": 2500, "noise": 0.4, "steps": 450, "batch": 8, "lr": 0.003, "seed": 0,
    "model": {"name": "tiny", "tiny": {"width": 128, "layers": 2, "vocabulary": 600}},
}  # fmt: skip
MACHINE = {"python": "3.11.7", "platform": "Linux", "threads": 1, "gpu": None, "torch": "2.13.0"}


@dataclass(frozen=True)
class MadeUp:
    """What to make up. `unfinished` and `broken`: arms as "env/algorithm-seed". `collapsing`: an
    algorithm that falls after half of its steps. `text`: what every free text says. `baseline`: of
    every environment. `student`: the hash of its weights. `settings`: of every run, over the usual
    ones."""

    envs: Sequence[str] = ("alfworld",)
    algorithms: Sequence[str] = SIX
    seeds: int = 3
    steps: int = 20
    every: int = 5
    tasks: int = 24
    unfinished: Sequence[str] = ()
    broken: Sequence[str] = ()
    collapsing: str = ""
    text: str = "put a mug in the cabinet"
    title: str = "Six algorithms side by side"
    baseline: str = ""
    student: str = "0a1b2c3d4e5f6a7b"
    settings: dict[str, Any] = field(default_factory=dict)


def write_suite(folder: Path, wanted: MadeUp) -> Path:
    """A suite folder; returns it."""
    status, yardsticks, pinned = {}, {}, {}
    for env in wanted.envs:
        tasks = _tasks(env, wanted)
        hashes = [task.hash for task in tasks]
        ids = [task.id for task in tasks]
        pinned[env] = {
            "evaluation": {
                "ids": ids,
                "hashes": hashes,
                "hash": content_hash(json.dumps([ids, hashes])),
            },
            "train": {"ids": [], "hashes": [], "hash": content_hash(wanted.text)},
        }
        yardsticks[env] = {
            name: {
                "successes": round(share * wanted.tasks),
                "episodes": wanted.tasks,
                "mean_turns": 9.5,
                "mean_score": share,
            }
            for name, share in (("random", 0.04), ("student", 0.12), ("teacher", 0.79))
        }
        for algorithm in wanted.algorithms:
            for seed in range(wanted.seeds):
                arm = f"{env}/{algorithm}-{seed}"
                if arm in wanted.broken:
                    error = f"RuntimeError: out of memory {wanted.text}"
                    status[arm] = {"state": "broken", "error": error}
                    continue
                open_ = arm in wanted.unfinished
                status[arm] = {"state": "waiting" if open_ else "done"}
                home = folder / "arms" / arm
                write_run(home, env, algorithm, seed, wanted, wanted.steps // 2 if open_ else None)
    shared = {"student": wanted.student, "teacher": "7b6a5f4e3d2c1b0a"}
    for name, content in (
        ("status", status),
        ("yardsticks", yardsticks),
        ("tasks", pinned),
        ("pins", dict.fromkeys(wanted.envs, shared)),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    table = {"student": {"warmup": RECIPE}, "teacher": {"arm": "other/grpo-0"}}
    if wanted.baseline:
        table["baseline"] = wanted.baseline
    record = {"title": wanted.title, "environments": dict.fromkeys(wanted.envs, table)}
    (folder / "suite.toml").write_text(tomli_w.dumps(record), encoding="utf-8")
    return folder


def write_run(
    home: Path, env: str, algorithm: str, seed: int, wanted: MadeUp, stop: int | None = None
) -> Path:
    """One run's folder; `stop`: the step at which it was left. Returns it."""
    home.mkdir(parents=True)
    teacher = BUILT_IN[algorithm].teacher == "model"
    tables: dict[str, Any] = {"teacher": {"name": "warm/teacher/model"}} if teacher else {}
    if BUILT_IN[algorithm].skills:
        tables["skills"] = {"bank": "alfworld"}
    usual = {
        **SETTINGS,
        "env": {"id": IDS[env]},
        "model": {"name": "warm/student/model"},
        "algorithm": {"name": algorithm},
        "evaluation": {"every": wanted.every, "tasks": wanted.tasks},
        "steps": wanted.steps,
        "seed": seed,
        **tables,
    }
    run = build(Run, merged(usual, wanted.settings))
    (home / "run.toml").write_text(dump(run), encoding="utf-8")
    (home / "machine.json").write_text(json.dumps(MACHINE), encoding="utf-8")
    dice = np.random.default_rng([seed, list(ENDS).index(algorithm), list(IDS).index(env)])
    tasks = _tasks(env, wanted)
    hard = np.random.default_rng(5).normal(0, 1.2, len(tasks))
    luck = dice.normal(0, 0.25)
    metrics, seconds, episodes = [], [], []
    for step in range((wanted.steps if stop is None else stop) + 1):
        skill = _skill(algorithm, step / wanted.steps, wanted) + luck
        record: dict[str, Any] = {"step": step}
        if step:
            record |= _training(algorithm, step, wanted, _share(skill), dice)
            phases = {"rollout": 2.1, "score": 0.5 + 0.9 * teacher, "update": 1.5}
            told = {f"seconds/{k}": round(v * dice.uniform(0.9, 1.1), 4) for k, v in phases.items()}
            seconds.append({"step": step, **told})
        if step % wanted.every == 0 or step == wanted.steps:
            won = dice.random(len(tasks)) < 1 / (1 + np.exp(-(skill - hard)))
            judged = [_played(t, bool(w), wanted, dice) for t, w in zip(tasks, won, strict=True)]
            record |= numbers_of(summarise(judged), "val")
            if algorithm == "skill_grpo":
                helped = [(episode, Verdict(True, 1.0)) for episode, _ in judged]
                record |= numbers_of(summarise(helped), "val_with_skill")
            episodes += [
                {"step": step, "phase": "evaluation", **to_record(episode, verdict)}
                for episode, verdict in judged
            ]
        metrics.append(record)
    for name, lines in (("metrics", metrics), ("timings", seconds), ("episodes", episodes)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (home / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return home


def _tasks(env: str, wanted: MadeUp) -> list[Task]:
    kinds = KINDS[env]
    return [
        Task(id=f"{env}/{i}", goal=f"{wanted.text} {i}", answer=i, kind=kinds[i % len(kinds)])
        for i in range(wanted.tasks)
    ]


def _skill(algorithm: str, way: float, wanted: MadeUp) -> float:
    end, speed = ENDS[algorithm]
    if algorithm == wanted.collapsing and way > 0.5:
        return end - 6 * (way - 0.5)
    return -2.2 + (end + 2.2) * (1 - math.exp(-2.5 * speed * way))


def _share(skill: float) -> float:
    return 1 / (1 + math.exp(-skill))


def _played(
    task: Task, success: bool, wanted: MadeUp, dice: np.random.Generator
) -> tuple[Episode, Verdict]:
    turns = tuple(
        Turn(
            observation=f"{wanted.text}: you see a shelf.",
            response=f"{wanted.text} > look",
            action="look",
            valid=bool(dice.random() < 0.9),
            admissible=("look", "go"),
        )
        for _ in range(int(dice.integers(2, 6)))
    )
    verdict = Verdict(success, float(success), wanted.text)
    return Episode(task=task, turns=turns, stop_reason="won" if success else "turns"), verdict


def _training(
    algorithm: str, step: int, wanted: MadeUp, share: float, dice: np.random.Generator
) -> dict[str, float]:
    way = step / wanted.steps

    def noisy(value: float) -> float:
        return float(value * dice.uniform(0.92, 1.08))

    told = {
        "episode/success_rate": share,
        "episode/length/mean": noisy(18 - 8 * share),
        "episode/valid_action_ratio": min(noisy(0.9), 1.0),
        "response_length/clip_ratio": noisy(0.05),
        "tokens/sampled": float(dice.integers(15_000, 18_000)),
        "tokens/read": float(dice.integers(34_000, 38_000)),
        "actor/entropy_loss": noisy(0.6 * math.exp(-1.5 * way)),
        "actor/grad_norm": noisy(0.4),
        "actor/ppo_kl": 0.0,
        "actor/skipped_steps": 0.0,
        "credit/reward": noisy(0.2 + 0.1 * way),
    }
    if algorithm == wanted.collapsing:
        told["response_length/clip_ratio"] = noisy(0.05 + 0.6 * max(way - 0.5, 0))
        told["actor/entropy_loss"] = noisy(0.6 * math.exp(-8 * way))
    if BUILT_IN[algorithm].teacher != "none":
        told["teacher/tokens_read"] = told["tokens/read"]
        gap = 0.9 * math.exp(-1.8 * way) + 0.1
        told |= {
            "teacher/gap_mean": -noisy(gap / 2),
            "teacher/gap_abs_mean": noisy(gap),
            "kl/token_mean": noisy(gap / 2),
        }
        for turn in range(12):
            told[f"turn/{turn}/kl"] = noisy(gap * (0.3 + 0.04 * turn))
            told[f"turn/{turn}/disagreement"] = noisy(gap * (0.5 + 0.05 * turn))
            told[f"turn/{turn}/student_entropy"] = noisy(0.4)
    if algorithm in ("opd", "sod", "tcod", "atod"):
        told["credit/teacher"] = noisy(0.8 * (1 - 0.7 * way))
    if algorithm in ("sdar", "grpo"):
        told["actor/kl_loss"] = noisy(0.05 * way)
    own = {
        "sdar": {"sdar/gate_active_ratio": noisy(0.5 - 0.2 * way), "sdar/gate_mean": noisy(0.4)},
        "sod": {
            "sod/weight_mean": noisy(0.8),
            "sod/first_turn_divergence": noisy(0.2),
            **{f"sod/turn_{turn}_mean_weight": noisy(1 - 0.06 * turn) for turn in range(12)},
        },
        "tcod": {"tcod/depth": float(2 + step // 3)},
        "atod": {
            "hybrid/kl_coef": 1 - 0.9 * way,
            "hybrid/rl_coef": 1 + way,
            "tdur/active_ratio": noisy(0.6),
            "tdur/mean_weight": noisy(0.55),
            **{f"tdur/turn_{turn}_mean_weight": noisy(1.3 - 0.05 * turn) for turn in range(12)},
        },
    }
    return told | own.get(algorithm, {})
