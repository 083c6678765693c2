"""Who is in the shop: one environment a visitor, a limited number, forgotten when idle."""

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from agentgym_envs.types import Verdict
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.web_page import MAX_QUERY, Form, shop_page

DEEDS = ("click", "search", "again", "next")


class ShopFull(RuntimeError):
    """As many visitors as there may be are in the shop."""


class Visit:
    """One visitor: an environment, played by forms. Safe to use from several threads.

    Every form carries the visit's token, which no other site knows, and the place it was made for,
    `episode.turn`: a form of an earlier page does nothing.
    """

    def __init__(self, env: WebShopEnv, *, seed: int, task: str | None) -> None:
        """Raises KeyError for a task that the environment does not have."""
        self.env = env
        self._token = secrets.token_urlsafe(16)
        self._episodes = 1
        self._lock = threading.Lock()
        env.reset(seed=seed, options={"task_id": task} if task else None)

    def page(self, notice: str = "") -> str:
        with self._lock:
            return shop_page(self.env, Form(self._token, self._place()), self._verdict(), notice)

    def owns(self, token: str) -> bool:
        """Whether a form with this token came from a page of this visit."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def do(self, deed: str, place: str, what: str) -> str:
        """Do what a form says; a key of `NOTICES` where nothing was done, "" where something was.

        deed: one of `DEEDS`. what: the number of an admissible click, or the words searched for.
        Raises ValueError for what no form of ours says.
        """
        with self._lock:
            if place != self._place():
                return "stale"
            if deed in ("again", "next"):
                self._begin(again=deed == "again")
                return ""
            if self.env.episode.stop_reason:
                return "over"
            self.env.step(self._search(what) if deed == "search" else self._click(what))
            return ""

    def _place(self) -> str:
        return f"{self._episodes}.{len(self.env.episode.turns)}"

    def _begin(self, *, again: bool) -> None:
        self._episodes += 1
        self.env.reset(options={"task_id": self.env.task.id} if again else None)

    def _click(self, what: str) -> str:
        """By number, so that what a seller wrote never has to come back from a browser intact."""
        actions = self.env.scene.admissible
        number = int(what) if what.isascii() and what.isdecimal() and len(what) < 7 else -1
        if not 0 <= number < len(actions) or not actions[number].startswith("click["):
            raise ValueError(f"what={what!r:.40} is no number of a click on this page")
        return actions[number]

    def _search(self, what: str) -> str:
        if not 0 < len(what) <= MAX_QUERY:
            raise ValueError(f"a search has 1 to {MAX_QUERY} characters, this one has {len(what)}")
        return f"search[{what}]"

    def _verdict(self) -> Verdict | None:
        return self.env.verify(self.env.episode) if self.env.episode.stop_reason else None


@dataclass(slots=True)
class _Seat:
    visit: Visit
    used: float


class Visits:
    """Visits by their key, a secret. Safe to use from several threads.

    limit: how many at once. idle_s: seconds after which an unused one is forgotten. clock: seconds,
    never going back.
    """

    def __init__(
        self, opened: Callable[[], Visit], *, limit: int, idle_s: float, clock: Callable[[], float]
    ) -> None:
        if limit < 1 or idle_s <= 0:
            raise ValueError(f"limit {limit} and idle_s {idle_s}: both must be above 0")
        self._opened, self.limit, self.idle_s, self._clock = opened, limit, idle_s, clock
        self._seats: dict[str, _Seat] = {}
        self._lock = threading.Lock()

    def find(self, key: str) -> Visit | None:
        with self._lock:
            self._forget_idle()
            seat = self._seats.get(key)
            if seat is None:
                return None
            seat.used = self._clock()
            return seat.visit

    def open(self) -> tuple[str, Visit]:
        """A new visit and its key. Raises ShopFull."""
        with self._lock:
            self._forget_idle()
            if len(self._seats) >= self.limit:
                raise ShopFull(f"all {self.limit} places of this shop are taken")
            key, visit = secrets.token_urlsafe(32), self._opened()
            self._seats[key] = _Seat(visit, self._clock())
            return key, visit

    def _forget_idle(self) -> None:
        last = self._clock() - self.idle_s
        self._seats = {key: seat for key, seat in self._seats.items() if seat.used > last}
