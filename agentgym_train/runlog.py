"""A run's folder: what ran, what was measured, what was played, where training stands.

run.toml            the settings, complete
machine.json        versions and machine
data.json           what the environments were played on, where they tell
metrics.jsonl       one line a step; the record of truth, equal for equal runs
timings.jsonl       seconds a phase; never equal, so kept apart
episodes.jsonl      episodes as text, to be judged again
traces.jsonl        numbers for every token of a few of them (see traces.py)
checkpoints/        the newest few
best/               the weights that did best on the held-out tasks, in Hugging Face's format
model/              the final weights, likewise
"""

import contextlib
import json
import platform
import subprocess
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

_CAPTURED: dict[str, Any] = {"capture_output": True, "text": True, "check": True}
_LOGS = ("metrics.jsonl", "timings.jsonl", "episodes.jsonl", "traces.jsonl")


class RunLog:
    """Writes one run's folder. Every line is on disk when a method returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seconds: dict[str, float] = {}

    def refuse_another(self) -> None:
        """Raises FileExistsError where the folder already holds a run that has made a step."""
        begun = any(one["step"] > 0 for one in read_metrics(self.folder))
        if begun or (self.folder / "checkpoints").exists():
            raise FileExistsError(
                f"{self.folder} already holds a run: continue it with "
                f"`agentgym-train resume {self.folder}`, or choose another folder with --out"
            )

    def begin(self, settings: str, data: dict[str, Any]) -> None:
        """Make the folder, and record what runs, where, and on which data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "machine.json", _machine())
        write_text(self.folder / "data.json", _told(data))
        write_text(self.folder / "run.toml", settings)

    def same_data(self, data: dict[str, Any]) -> None:
        """Raises ValueError where the run began on other data than there is now."""
        known = json.loads((self.folder / "data.json").read_text(encoding="utf-8"))
        now = json.loads(_told(data))
        for split in sorted(known.keys() | now.keys()):
            before, after = known.get(split, {}), now.get(split, {})
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name):
                    raise ValueError(
                        f"{self.folder} began on other data: {name} ({split}) was "
                        f"{before.get(name)!r} and is {after.get(name)!r}"
                    )

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


def best_success(folder: Path) -> float:
    """The highest success on held-out tasks after any training step so far; -1 before the first."""
    logged = [one for one in read_metrics(folder) if one["step"] > 0]
    return max((one["val/success_rate"] for one in logged if "val/success_rate" in one), default=-1)


def _told(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1) + "\n"


def _machine() -> str:
    packages = ("agentgym-envs", "torch", "transformers", "gymnasium", "numpy")
    about = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
        **{name: version(name) for name in packages},
    }
    return _told(about)


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _commit() -> str | None:
    """The commit of the checkout that this code is in, "+" where it was changed; None elsewhere."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        inside = subprocess.run([*git, "rev-parse", "--show-toplevel"], **_CAPTURED)
        if Path(inside.stdout.strip()) != Path(__file__).parent.parent:
            return None
        head = subprocess.run([*git, "rev-parse", "HEAD"], **_CAPTURED).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], **_CAPTURED).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head
