"""What to hold arms against: an environment's scripted policies, the student and the teacher.

    python -m agentgym_train.suite_yardsticks RUN.toml RESULT.json

plays the run's held-out tasks once with each. A comparison runs it as one of its jobs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from agentgym_envs.statistics import Rate
from agentgym_train.evaluate import PLAIN, evaluate_model, evaluate_yardsticks
from agentgym_train.files import write_text
from agentgym_train.settings import Run, load


def measured(run: Run) -> dict[str, dict[str, float]]:
    """Policy -> "successes", "episodes", "mean_turns" and "mean_score" on the held-out tasks."""
    if run.threads:
        torch.set_num_threads(run.threads)
    scripted = evaluate_yardsticks(run.env, run.evaluation.tasks, run.seed)
    told = {name: _told(one.overall) for name, one in scripted.items()}
    told["student"] = _told(evaluate_model(run)[PLAIN].overall)
    if run.teacher is not None:
        told["teacher"] = _told(evaluate_model(replace(run, model=run.teacher))[PLAIN].overall)
    return told


def _told(rate: Rate) -> dict[str, float]:
    return {
        "successes": rate.successes,
        "episodes": rate.episodes,
        "mean_turns": rate.mean_turns,
        "mean_score": rate.mean_score,
    }


if __name__ == "__main__":
    settings, result = sys.argv[1:]
    found = measured(load(settings, Run))
    write_text(Path(result), json.dumps(found, indent=1) + "\n")
