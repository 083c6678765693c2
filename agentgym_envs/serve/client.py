"""AgentGym/Remote-v0: an environment that runs on a server, as a Gymnasium environment again."""

import base64
import json
import os
import random
import weakref
from collections.abc import Callable
from functools import cached_property
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from agentgym_envs.core import Observation
from agentgym_envs.serve.link import Link, Lost, RemoteError
from agentgym_envs.spaces import Unicode
from agentgym_envs.types import content_hash

TOKEN_VARIABLE = "AGENTGYM_SERVE_TOKEN"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to connect
_LOSSES = 3  # connections that one message may cost
_ANSWERED = frozenset({"reward", "done"})
_SHOWN = frozenset({"text", "turn", "terminated", "truncated", "success", "info"})

Result = TypeVar("Result")


class RemoteEnv(gym.Env[Observation, str]):
    """An environment on a server that `agentgym-envs serve` runs.

    Same seeds and actions, same episodes as from the environment itself: observations, rewards,
    ends and infos, those as JSON has them (lists for tuples). Each instance has a session of its
    own. Where the connection is lost or the server starts anew, even in the middle of an episode,
    the instance connects again, has the episode restored and goes on; that it is the same episode
    is checked turn by turn. It pickles, and survives a fork, by connecting again.

    url: `ws://host:port`, `wss://` behind a proxy that encrypts. token: a bearer token; None: the
    environment variable AGENTGYM_SERVE_TOKEN, if set (a token given here goes into the spec).
    timeout: seconds for one answer. patience: seconds for which connecting is tried again, also
    where all sessions of the server are in use.

    Raises, at once or whenever it connects: RemoteError where no server answers or it does not
    play the episode as before, PermissionError for a missing or wrong token, ModuleNotFoundError
    without the websockets package. The environment's own errors arrive as they are.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 600.0,
        patience: float = 60.0,
    ) -> None:
        if timeout <= 0 or patience < 0:
            raise ValueError(
                f"timeout is above 0 and patience 0 or more, got {timeout} and {patience}"
            )
        self._url, self._token = _endpoint(url), token
        self._timeout, self._patience = timeout, patience
        self._about: dict[str, Any] | None = None  # what the server serves
        self._base: tuple[str, str] | None = None  # a snapshot, and what was shown there
        self._said: list[tuple[str, str]] = []  # since then: responses, and what they led to
        self._over = True
        self._closed = False
        self._dice = random.SystemRandom()  # of the system: many clients must not agree
        self._let_go()
        self._on_link(lambda link: None)

    # Gymnasium's spaces.

    @cached_property
    def action_space(self) -> spaces.Space[str]:  # type: ignore[override]
        return Unicode(self._known["max_length"])

    @cached_property
    def observation_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        text = Unicode(self._known["max_length"])
        if self._known["observation_mode"] == "text":
            return text
        turns = spaces.Discrete(self._known["max_turns"] + 1)
        return spaces.Dict(text=text, admissible=spaces.Sequence(text), turn=turns)

    @property
    def served(self) -> str:
        """The id of the environment on the server."""
        return self._known["env_id"]

    # Playing.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. Options: the environment's own, such as `task_id`."""
        super().reset(seed=seed)
        data: dict[str, Any] = {"options": options or {}}
        if seed is not None:
            data["seed"] = int(seed)

        def begin(link: Link) -> tuple[dict[str, Any], str]:
            return link.ask("reset", data), link.ask("snapshot")["snapshot"]

        shown, snapshot = self._on_link(begin)
        return self._begun(shown, snapshot)

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one turn. Raises ResetNeeded after the end, TypeError when the action is no str."""
        if self._over:
            raise ResetNeeded("the episode is over or not begun: call reset() before step()")
        if not isinstance(action, str):
            raise TypeError(f"an action is a str, got {type(action).__name__}")
        shown = self._on_link(lambda link: link.ask("step", {"text": action}))
        observation, info = self._seen(shown)
        terminated, truncated = (shown["observation"][end] for end in ("terminated", "truncated"))
        if shown["reward"] is None:
            raise RemoteError(f"{self._url} answered a turn without a reward")
        self._said.append((action, _digest(shown)))
        self._over = terminated or truncated
        return observation, float(shown["reward"]), terminated, truncated, info

    def snapshot(self) -> bytes:
        """Everything needed to go on from here, also in an environment that is not remote."""
        if self._base is None:
            raise ResetNeeded("there is no episode yet: call reset()")
        snapshot = self._on_link(lambda link: link.ask("snapshot"))["snapshot"]
        return base64.b64decode(snapshot)

    def restore(self, snapshot: bytes) -> tuple[Observation, dict[str, Any]]:
        """Go back to where `snapshot` was taken, by this environment or a local one.

        Raises ValueError when it is of another environment, task content or version, or does not
        play the same; then there is no episode until the next reset.
        """
        sent = base64.b64encode(snapshot).decode()
        self._base, self._over = None, True
        return self._begun(
            self._on_link(lambda link: link.ask("restore", {"snapshot": sent})), sent
        )

    def close(self) -> None:
        self._closed = True
        self._drop()

    def __getstate__(self) -> dict[str, Any]:
        left = ("_link", "_hang_up", "_dice")
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._dice = random.SystemRandom()
        self._let_go()

    # What the server says.

    @property
    def _known(self) -> dict[str, Any]:
        assert self._about is not None, "known since the first connection"
        return self._about

    def _begun(self, shown: dict[str, Any], snapshot: str) -> tuple[Observation, dict[str, Any]]:
        seen = self._seen(shown)
        self._base, self._said = (snapshot, _digest(shown)), []
        self._over = shown["done"]
        return seen

    def _seen(self, shown: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Observation and info of an answer. Raises RemoteError where they are not whole."""
        said = shown.get("observation")
        if not (isinstance(said, dict) and said.keys() >= _SHOWN and shown.keys() >= _ANSWERED):
            raise RemoteError(
                f"{self._url} answered without a whole observation: {str(said)[:200]}"
            )
        text, info = said["text"], said["info"]
        if self._known["observation_mode"] == "text":
            return text, info
        admissible, turn = tuple(info["admissible_actions"]), np.int64(said["turn"])
        return {"text": text, "admissible": admissible, "turn": turn}, info

    # Connecting.

    def _on_link(self, call: Callable[[Link], Result]) -> Result:
        """Do something that takes a connection, again where the connection is lost over it."""
        if self._closed:
            raise ClosedEnvironmentError("this remote environment is closed")
        for loss in range(1, _LOSSES + 1):
            link = self._connected()
            try:
                return call(link)
            except Lost as lost:
                self._drop()
                if loss == _LOSSES:
                    raise RemoteError(
                        f"{self._url}: lost {loss} connections over the same message: {lost}"
                    ) from lost
        raise AssertionError("the last round returns or raises")

    def _connected(self) -> Link:
        """A connection whose session stands where the last one stood."""
        if self._link is not None and self._link.usable:
            return self._link
        self._drop()
        until, pause = monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                return self._opened()
            except Lost as lost:
                self._drop()
                if monotonic() + pause > until:
                    raise RemoteError(
                        f"no session at {self._url} after {self._patience:g} s of trying: {lost}"
                    ) from lost
            except RemoteError:
                self._drop()  # its session stands elsewhere
                raise
            sleep(pause * self._dice.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _opened(self) -> Link:
        """A new connection, its episode restored. Raises Lost and RemoteError."""
        link = Link(self._url, self._token or os.environ.get(TOKEN_VARIABLE), self._timeout)
        self._link, self._hang_up = link, weakref.finalize(self, link.close)
        about = {
            name: value
            for name, value in link.ask("state").items()
            if name not in ("episode_id", "step_count", "task_id")
        }
        if self._about not in (None, about):
            raise RemoteError(f"{self._url} serves {about} now; it was {self._about}")
        self._about = about
        if self._base is not None:
            self._resume(link, *self._base)
        return link

    def _resume(self, link: Link, snapshot: str, shown: str) -> None:
        expected = [shown, *(led_to for _, led_to in self._said)]
        asked = [("restore", {"snapshot": snapshot})]
        asked += [("step", {"text": response}) for response, _ in self._said]
        for turn, (message, before) in enumerate(zip(asked, expected, strict=True)):
            try:
                same = _digest(link.ask(*message)) == before
            except (ValueError, KeyError, TypeError, ResetNeeded) as error:
                raise RemoteError(f"{self._url} cannot restore the episode: {error}") from error
            if not same:
                raise RemoteError(
                    f"{self._url} does not play the episode as before: {turn} turns after its "
                    "snapshot it shows something else"
                )

    def _drop(self) -> None:
        self._hang_up()
        self._let_go()

    def _let_go(self) -> None:
        self._link: Link | None = None
        self._hang_up: Callable[[], Any] = lambda: None


def _digest(shown: dict[str, Any]) -> str:
    """Names what an answer shows; rewards are known of steps only."""
    return content_hash(json.dumps([shown["observation"], shown["reward"]], sort_keys=True))


def _endpoint(url: str) -> str:
    """A server's WebSocket. Raises ValueError for what is no server's address."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"a server's address is as ws://127.0.0.1:8765, got {url!r}")
    path = parts.path.rstrip("/")
    return f"{scheme}://{parts.netloc}{path if path.endswith('/ws') else path + '/ws'}"
