# pyright: reportMissingImports=false
"""skyrl-gym (SkyRL): any of our environments as its environment "agentgym".

    import agentgym_envs.integrations.skyrl_gym  # registers "agentgym"
    env = skyrl_gym.make("agentgym", env_config={}, extras=row)

`rows` makes the data set and `write_parquet` stores it; SkyRL hands the environment one row of it.
The layout is "chat": SkyRL only ever appends to a conversation.

skyrl-gym has one flag, `done`. What it cannot hold (terminated, truncated, success, the reason to
stop) is in the metadata of every step, and in the metrics of an episode.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym_envs.drivers.setup import Row, Setup
from agentgym_envs.integrations.needs import require

require("skyrl-gym", (0, 4), (0, 5))

from skyrl_gym.envs.base_text_env import (  # noqa: E402
    BaseTextEnv,
    BaseTextEnvStepOutput,
    ConversationType,
)
from skyrl_gym.envs.registration import register, registry  # noqa: E402
from skyrl_gym.metrics import default_aggregate_metrics  # noqa: E402

__all__ = ["NAME", "AgentGymEnv", "rows", "write_parquet"]

NAME = "agentgym"


class AgentGymEnv(BaseTextEnv):
    """One episode of the task that a data set row names.

    env_config: SkyRL's `environment.skyrl_gym.agentgym`; it has no keys, so that a row alone says
    what is played. extras: the row. SkyRL adds its `generator.max_turns` to it and leaves the
    limit to the environment; the environment's own is the one that counts.

    Raises ValueError for a missing or broken column, for any key in env_config, for the layout
    "turns", and where `max_turns` is below the environment's own.
    """

    def __init__(self, env_config: Mapping[str, Any], extras: Mapping[str, Any]) -> None:
        super().__init__()
        if env_config:
            raise ValueError(
                f"environment.skyrl_gym.{NAME} has the key {next(iter(env_config))!r}, and none "
                "is read: settings belong into the data set, by rows(Setup(settings=...))"
            )
        setup = _chat(Setup.of(extras))
        self._env_id = setup.env_id
        self._task_id, self._seed = _column(extras, "task_id"), _column(extras, "seed")
        self._talk = setup.conversation()
        self.max_turns = self._talk.env.max_turns
        if extras.get("max_turns", self.max_turns) < self.max_turns:
            raise ValueError(
                f"SkyRL's generator.max_turns is {extras['max_turns']}, and {setup.env_id} plays "
                f"up to {self.max_turns} turns: raise it to {self.max_turns} or more, or set the "
                "environment's own with rows(Setup(settings={'max_turns': ...}))"
            )

    def init(self, prompt: ConversationType) -> tuple[ConversationType, dict[str, Any]]:
        """Begin the row's task. Returns the messages a model replies to, and nothing else.

        prompt: the row's; what is returned is the environment's own, which is the same unless the
        data set was edited. Raises KeyError for an unknown task.
        """
        self.turns = 0
        return list(self._talk.begin(task_id=self._task_id, seed=self._seed)), {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Play one reply. observations: the new messages, none at the end.

        metadata: `Conversation.summary`, and whether the reply kept the format.
        """
        news = self._talk.take(action)
        self.turns += 1
        return BaseTextEnvStepOutput(
            observations=list(news),
            reward=self._talk.rewards[-1],
            done=self._talk.over,
            metadata={**self._talk.summary, "action_valid": self._talk.info["action_valid"]},
            postprocessed_action=None,
        )

    def close(self) -> None:
        self._talk.env.close()

    def get_metrics(self) -> dict[str, Any]:
        """How the episode went. One that SkyRL cut off at its token limit is truncated."""
        talk, verdict = self._talk, self._talk.verdict
        return {
            "env_id": self._env_id,
            "success": verdict.success,
            "score": verdict.score,
            "reward": talk.reward,
            "turns": self.turns,
            "invalid_turns": talk.info["invalid_turns"],
            "terminated": talk.terminated,
            "truncated": not talk.terminated,
        }

    @staticmethod
    def aggregate_metrics(metrics: list[dict[str, Any]]) -> dict[str, Any]:
        """Means over all episodes, and as `<env_id>/<name>` over each environment's where there
        are several."""
        env_ids = sorted({one["env_id"] for one in metrics})
        means = default_aggregate_metrics(metrics)
        for env_id in env_ids if len(env_ids) > 1 else []:
            own = default_aggregate_metrics([one for one in metrics if one["env_id"] == env_id])
            means |= {f"{env_id}/{name}": value for name, value in own.items()}
        return means


def rows(setup: Setup, count: int | None = None, seed: int = 0) -> list[Row]:
    """A data set for SkyRL: one row for each of the first `count` tasks of the split (None: all).

    Beside the columns of `Setup.row`: `prompt` (the messages the episode begins with, by which
    SkyRL leaves out prompts that are too long), `env_class` and `data_source`. SkyRL repeats a row
    to make a group. Raises ValueError for the layout "turns".
    """
    talk = _chat(setup).conversation()
    own = {"data_source": setup.env_id, "env_class": NAME}
    return [
        {**own, "prompt": talk.begin(task_id=row["task_id"], seed=seed), **row}
        for row in setup.rows(count, seed)
    ]


def write_parquet(path: str | Path, rows: Sequence[Row]) -> None:
    """Store rows for `data.train_data` or `data.val_data`.

    Raises ModuleNotFoundError naming the fix where pyarrow is missing.
    """
    try:
        from pyarrow import Table
        from pyarrow.parquet import write_table
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a parquet file needs pyarrow: pip install pyarrow") from error
    write_table(Table.from_pylist(list(rows)), Path(path))


def _chat(setup: Setup) -> Setup:
    if setup.layout != "chat":
        raise ValueError(
            f"SkyRL appends to one conversation, which the layout {setup.layout!r} does not: "
            "use Setup(layout='chat')"
        )
    return setup


def _column(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise ValueError(f"a task row has no column {name!r}: write rows with rows()")
    return row[name]


if NAME not in registry:
    register(NAME, entry_point=f"{__name__}:AgentGymEnv")
