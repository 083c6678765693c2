"""A run's folder: what ran, what was measured, what was played, where training stands.

run.toml            the settings, complete
machine.json        versions and machine
metrics.jsonl       one line a step; the record of truth, equal for equal runs
timings.jsonl       seconds a phase; never equal, so kept apart
episodes.jsonl      episodes as text, to be judged again
traces.jsonl        numbers for every token of a few of them (see traces.py)
checkpoints/        the newest few
model/              the final weights, in Hugging Face's format
"""

import contextlib
import platform
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from agentgym_envs.episodes import to_record
from agentgym_envs.types import Episode
from agentgym_train.files import append_line, keep_lines, read_lines, write_text
from agentgym_train.layout import Trajectory

_LOGS = ("metrics.jsonl", "timings.jsonl", "episodes.jsonl", "traces.jsonl")


class RunLog:
    """Writes one run's folder. Every line is on disk when a method returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seconds: dict[str, float] = {}

    def refuse_another(self) -> None:
        """Raises FileExistsError where the folder already holds a run."""
        if (self.folder / "run.toml").exists():
            raise FileExistsError(
                f"{self.folder} already holds a run: continue it with "
                f"`agentgym-train resume {self.folder}`, or choose another folder with --out"
            )

    def begin(self, settings: str) -> None:
        """Make the folder, and record what runs and where."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "machine.json", _machine())
        write_text(self.folder / "run.toml", settings)

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: it will be done again."""
        for name in _LOGS:
            keep_lines(self.folder / name, lambda record: record["step"] <= step)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        append_line(self.folder / "metrics.jsonl", {"step": step, **values})

    def episodes(self, step: int, phase: str, played: Iterable[Trajectory]) -> None:
        """Keep these trajectories' episodes and verdicts."""
        for trajectory in played:
            episode = Episode(
                task=trajectory.task,
                turns=tuple(one.turn for one in trajectory.turns),
                outcome=trajectory.outcome,
                stop_reason=trajectory.stop_reason,
            )
            record = to_record(episode, trajectory.verdict)
            append_line(self.folder / "episodes.jsonl", {"step": step, "phase": phase, **record})

    def traces(self, step: int, kept: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Keep these records, each with its number among the step's training episodes."""
        for number, record in kept:
            append_line(self.folder / "traces.jsonl", {"step": step, "episode": number, **record})

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of this block to its phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            self._seconds[phase] = self._seconds.get(phase, 0.0) + passed

    def timings(self, step: int) -> None:
        """Write the phases since the last call."""
        record = {f"seconds/{phase}": round(s, 4) for phase, s in self._seconds.items()}
        append_line(self.folder / "timings.jsonl", {"step": step, **record})
        self._seconds = {}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run, step by step."""
    return read_lines(folder / "metrics.jsonl")


def _machine() -> str:
    import json

    packages = ("agentgym-envs", "torch", "transformers", "gymnasium", "numpy")
    about = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **{name: version(name) for name in packages},
    }
    return json.dumps(about, indent=1) + "\n"
