"""A session on a server that goes on where its connections do not."""

import json
import os
import random
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from agentgym_envs.serve.link import Link, Lost, RemoteError
from agentgym_envs.types import content_hash

TOKEN_VARIABLE = "AGENTGYM_SERVE_TOKEN"
_PATIENCE = 60.0  # seconds for which connecting is tried again, unless it is said
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to connect
_LOSSES = 3  # connections that one message may cost
_OTHERS = ("episode_id", "step_count", "task_id")  # what a state says of the episode
_ANSWERED = frozenset({"reward", "done"})
_SHOWN = frozenset({"text", "turn", "terminated", "truncated", "success", "info"})
# What an environment raises over a request, which has then changed nothing.
_ANSWERS = (KeyError, ValueError, TypeError, ResetNeeded)

Shown = dict[str, Any]
Result = TypeVar("Result")


@dataclass(slots=True)
class _Stand:
    """Where the episode stands: a snapshot and what it shows, and since then responses, each with
    what it led to. What was shown is a hash."""

    snapshot: str
    shown: str
    said: list[tuple[str, str]]


class LastingSession:
    """A session of a client's own, and what it takes to have it again.

    Where a connection is lost or given up half-way, or the server starts anew, the next message
    connects again, has the episode restored, and checks turn by turn that it is the same.

    about: what is served. Arguments and what is raised: see `RemoteEnv`. It pickles, and survives a
    fork, by connecting again.
    """

    def __init__(self, url: str, token: str | None, timeout: float, patience: float | None) -> None:
        if timeout <= 0 or (patience is not None and patience < 0):
            raise ValueError(
                f"timeout is above 0 and patience 0 or more, got {timeout} and {patience}"
            )
        self.url, self._token = _endpoint(url), token
        self._timeout = timeout
        self._patience = _PATIENCE if patience is None else patience
        self._waits_for_server = patience is not None
        self.about: dict[str, Any] = {}
        self._stand: _Stand | None = None
        self._closed = False
        self._dice = random.SystemRandom()  # of the system: many clients must not agree
        self._let_go()
        self._on_link(lambda link: None)

    def reset(self, data: dict[str, Any]) -> Shown:
        """Begin an episode."""

        def begin(link: Link) -> Shown:
            shown = self._whole(link.ask("reset", data))
            self._stand = _Stand(link.ask("snapshot")["snapshot"], _digest(shown), [])
            return shown

        return self._on_link(begin)

    def step(self, text: str) -> Shown:
        """Play one turn."""

        def play(link: Link) -> Shown:
            shown = self._whole(link.ask("step", {"text": text}))
            if self._stand is None or shown["reward"] is None:
                raise RemoteError(f"{self.url} answered a turn without a reward")
            self._stand.said.append((text, _digest(shown)))
            return shown

        return self._on_link(play)

    def restore(self, snapshot: str) -> Shown:
        """Go back to where a snapshot was taken; where that fails there is no episode."""
        self._stand = None

        def go_back(link: Link) -> Shown:
            shown = self._whole(link.ask("restore", {"snapshot": snapshot}))
            self._stand = _Stand(snapshot, _digest(shown), [])
            return shown

        return self._on_link(go_back)

    def ask(self, kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any message that changes nothing."""
        return self._on_link(lambda link: link.ask(kind, data))

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

    def _whole(self, shown: Shown) -> Shown:
        """Raises RemoteError where an observation is not whole."""
        said = shown.get("observation")
        if not (isinstance(said, dict) and said.keys() >= _SHOWN and shown.keys() >= _ANSWERED):
            raise RemoteError(f"{self.url} answered without a whole observation: {str(said)[:200]}")
        return shown

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
                        f"{self.url}: lost {loss} connections over the same message: {lost}"
                    ) from lost
            except _ANSWERS:
                raise
            except BaseException:  # also Ctrl-C: where the session stands now is not known
                self._drop()
                raise
        raise AssertionError("the last round returns or raises")

    def _connected(self) -> Link:
        """A connection whose session stands where the last one stood."""
        if self._link is not None and self._link.usable:
            return self._link
        self._drop()
        until, pause, waiting = monotonic() + self._patience, _FIRST_PAUSE, False
        while True:
            try:
                return self._opened()
            except Lost as lost:
                self._drop()
                if lost.nobody and not (self.about or self._waits_for_server):
                    raise RemoteError(
                        f"no server at {self.url}: {lost}. Start one with `agentgym-envs serve`, "
                        f"or set patience={_PATIENCE:g} to wait for one"
                    ) from lost
                if monotonic() + pause > until:
                    raise RemoteError(
                        f"no session at {self.url} after {self._patience:g} s of trying: {lost}"
                    ) from lost
            except BaseException:
                self._drop()  # its session stands elsewhere
                raise
            if not waiting:
                print(f"waiting for {self.url} ({self._patience:g} s)", file=sys.stderr)
                waiting = True
            sleep(pause * self._dice.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _opened(self) -> Link:
        """A new connection, its episode restored. Raises Lost and RemoteError."""
        link = Link(self.url, self._token or os.environ.get(TOKEN_VARIABLE), self._timeout)
        self._link, self._hang_up = link, weakref.finalize(self, link.close)
        state = link.ask("state")
        about = {name: value for name, value in state.items() if name not in _OTHERS}
        about |= link.ask("about")
        if self.about not in ({}, about):
            raise RemoteError(f"{self.url} serves {about} now; it was {self.about}")
        self.about = about
        if self._stand is not None:
            self._resume(link, self._stand)
        return link

    def _resume(self, link: Link, stand: _Stand) -> None:
        expected = [stand.shown, *(led_to for _, led_to in stand.said)]
        asked = [("restore", {"snapshot": stand.snapshot})]
        asked += [("step", {"text": response}) for response, _ in stand.said]
        for turn, (message, before) in enumerate(zip(asked, expected, strict=True)):
            try:
                same = _digest(link.ask(*message)) == before
            except _ANSWERS as error:
                raise RemoteError(f"{self.url} cannot restore the episode: {error}") from error
            if not same:
                raise RemoteError(
                    f"{self.url} does not play the episode as before: {turn} turns after its "
                    "snapshot it shows something else"
                )

    def _drop(self) -> None:
        self._hang_up()
        self._let_go()

    def _let_go(self) -> None:
        self._link: Link | None = None
        self._hang_up: Callable[[], Any] = lambda: None


def _digest(shown: Shown) -> str:
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
