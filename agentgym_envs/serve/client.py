"""AgentGym/Remote-v0: an environment that runs on a server, as one of ours again."""

import base64
from collections.abc import Sequence
from functools import cached_property
from operator import index
from typing import Any

import gymnasium as gym

from agentgym_envs.core import DEBUG_TYPES, INFO_TYPES, Observation, Running, TextEnv
from agentgym_envs.episodes import turn_of
from agentgym_envs.serve.lasting import LastingSession, Shown
from agentgym_envs.types import Advice, Episode, Scene, Task, Turn, Verdict
from agentgym_envs.vector import TextVectorEnv

_KEPT_TASKS = 4096


class RemoteEnv(TextEnv):
    """An environment on a server that `agentgym-envs serve` runs.

    Same seeds and actions, same episodes as from the environment itself: observations, rewards,
    ends and infos, those as JSON has them (lists for tuples). It plays wherever a TextEnv does.
    Its settings are the server's. What of a task is secret stays there: verdicts are asked for, and
    so is the expert's advice, which a server gives that was told `info_level=debug`.

    Each instance has a session of its own. Where the connection is lost or the server starts anew,
    even in the middle of an episode, the instance connects again, has the episode restored and goes
    on; that it is the same episode is checked turn by turn. It pickles, and survives a fork, by
    connecting again.

    url: `ws://host:port`, `wss://` behind a proxy that encrypts. parser: that which the server must
    have, as a prompt style wants it. token: a bearer token; None: the environment variable
    AGENTGYM_SERVE_TOKEN, if set (a token given here goes into the spec). timeout: seconds for one
    answer. patience: seconds for which connecting is tried again, also where all sessions of the
    server are in use; None: 60, but not where no server is there when it connects first.

    Raises, at once or whenever it connects: RemoteError where no server answers or it does not
    play the episode as before, PermissionError for a missing or wrong token, ModuleNotFoundError
    without the websockets package. The environment's own errors arrive as they are.
    """

    def __init__(
        self,
        url: str,
        *,
        parser: str | None = None,
        token: str | None = None,
        timeout: float = 600.0,
        patience: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._session = session = LastingSession(url, token, timeout, patience)
        about = session.about
        if parser not in (None, about["parser"]):
            session.close()
            raise ValueError(
                f"{session.url} reads replies by the parser {about['parser']!r}, and {parser!r} is "
                f"wanted: serve with --set parser={parser}"
            )
        super().__init__(
            RemoteTasks(session),
            max_turns=about["max_turns"],
            observation_mode=about["observation_mode"],
            render_mode=render_mode,
            max_length=about["max_length"],
        )
        self.parser = about["parser"]
        self.version = about["env_version"]  # type: ignore[misc]
        self._told: dict[str, Any] = {}  # the last info

    @property
    def served(self) -> str:
        """The id of the environment on the server."""
        return self._session.about["env_id"]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. Options: the environment's own, such as `task_id`."""
        data: dict[str, Any] = {"options": options or {}}
        if seed is not None:
            data["seed"] = index(seed)
        begun = self._begun(self._session.reset(data), [])
        gym.Env.reset(self, seed=data.get("seed"))
        return begun

    def verify(self, episode: Episode) -> Verdict:  # type: ignore[override]
        """What the server's verifier says of the episode being played.

        Raises ValueError for any other: those are judged where the environment is.
        """
        if episode != self.episode:
            raise ValueError(f"{self._session.url} judges the episode that is played there only")
        return Verdict(**self._session.ask("verdict"))

    def advise(self) -> Advice | None:
        """Raises ValueError where the server does not tell."""
        said = self._session.ask("advice")["advice"]
        return None if said is None else Advice(**said)

    def snapshot(self) -> bytes:
        """Everything needed to go on from here, also in an environment that is not remote."""
        _ = self._playing
        return base64.b64decode(self._session.ask("snapshot")["snapshot"])

    def restore(self, snapshot: bytes) -> tuple[Observation, dict[str, Any]]:
        """Go back to where `snapshot` was taken, by this environment or a local one.

        Raises ValueError when it is of another environment, task content or version, or does not
        play the same; then there is no episode until the next reset.
        """
        self._run = None
        shown = self._session.restore(base64.b64encode(snapshot).decode())
        return self._begun(shown, list(map(turn_of, self._session.ask("turns")["turns"])))

    def close(self) -> None:
        self._session.close()

    # Inside.

    def _play(self, run: Running, response: str) -> float:
        before = run.scene
        shown = self._session.step(response)
        self._follow(run, shown)
        run.write_down(before, response)
        return float(shown["reward"])

    def _begun(self, shown: Shown, turns: list[Turn]) -> tuple[Observation, dict[str, Any]]:
        task = self.tasks.task(shown["observation"]["info"]["task_id"])
        run = Running(task, Scene(""), turns=turns)
        self._follow(run, shown)
        self._run = run
        if self.render_mode == "human":
            print(f"{run.scene.text}\n")
        return self._observe(run), self._told

    def _follow(self, run: Running, shown: Shown) -> None:
        """Write down what the server shows."""
        said = shown["observation"]
        self._told = info = said["info"]
        ours = {*INFO_TYPES, *DEBUG_TYPES, *run.task.facts}
        run.scene = Scene(
            said["text"],
            tuple(info["admissible_actions"]),
            done=said["terminated"],
            facts={name: fact for name, fact in info.items() if name not in ours},
        )
        run.action, run.valid = info["action_parsed"], info["action_valid"]
        run.invalid_turns, run.terms = info["invalid_turns"], info["reward_terms"]
        run.terminated, run.truncated = said["terminated"], said["truncated"]
        run.verdict = Verdict(info["success"], info["score"])

    def _info(self, run: Running) -> dict[str, Any]:
        return self._told


class RemoteTasks:
    """The tasks of a server, without what is secret of them."""

    def __init__(self, session: LastingSession) -> None:
        self._session = session
        self.ids = RemoteIds(session)
        self._known: dict[str, Task] = {}

    def task(self, task_id: str) -> Task:
        """Raises KeyError for an unknown id."""
        if task_id not in self._known:
            if len(self._known) >= _KEPT_TASKS:
                self._known.clear()
            self._known[task_id] = Task(**self._session.ask("task", {"task_id": task_id}))
        return self._known[task_id]


class RemoteIds(Sequence[str]):
    """The ids of a server's tasks, asked for when one is looked at."""

    def __init__(self, session: LastingSession) -> None:
        self._session = session

    def __len__(self) -> int:
        return self._session.about["tasks"]

    def __getitem__(self, place: Any) -> Any:
        return self._asked[place]

    @cached_property
    def _asked(self) -> tuple[str, ...]:
        return tuple(self._session.ask("tasks")["ids"])


class RemoteVectorEnv(TextVectorEnv):
    """Many sessions on a server, asked one after the other; the workers of a pool ask together."""

    env_type = RemoteEnv
