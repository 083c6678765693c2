"""Requests to an OpenAI-compatible endpoint; every way they can fail ends here."""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agentgym_envs.extras import install
from agentgym_envs.prompts import Message

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

NO_KEY = "none"  # what servers without keys are sent
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts, doubled each time
_STRANGE = 30.0  # seconds of trying to reach an endpoint that nobody ever reached
_PASSING = frozenset({408, 409, 425, 429})  # statuses that may be others later, as all from 500 on
_ENDPOINTS = frozenset({401, 403, 404})  # statuses that any other request would get as well
_HOPELESS = 16  # requests in vain, one after the other: it is not about the requests
# How endpoints say that the messages are longer than the context, each in its own words.
_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)"  # OpenAI, vLLM, SGLang, llama.cpp, Mistral, DeepSeek
    r"|prompt is too long"  # Anthropic
    r"|input token count.{0,20} exceeds"  # Gemini
    r"|`inputs`( tokens \+ `max_new_tokens`)? must (be <=|have less than)"  # TGI, Together
    r"|longer than the maximum model length"  # vLLM's engine
    r"|max.?session.?len",  # LMDeploy
    re.IGNORECASE,
)


class EndpointError(ConnectionError):
    """The endpoint is gone, takes no request of ours, or answers what cannot be read."""


class Refused(Exception):
    """The endpoint answers others, and not this request."""


class TooLong(Refused):
    """The messages are longer than the model's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What replies cost. cut: those that ended at the token limit; untold: those whose answer had
    no token counts, which the two sums lack."""

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: int = 0
    untold: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        mine, theirs = asdict(self), asdict(other)
        return Usage(**{name: mine[name] + theirs[name] for name in mine})

    def __str__(self) -> str:
        tokens = f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} reply tokens"
        told = f"{tokens} (without {self.untold} replies that told none)" if self.untold else tokens
        return f"{self.replies:,} replies, {told}, {self.cut:,} cut at the token limit"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, what that cost, and the seconds it took."""

    text: str
    usage: Usage
    seconds: float


class _Passing(Exception):
    """No reply this time. wait: seconds after which the endpoint wants to be asked; 0: unsaid."""

    def __init__(self, said: str, wait: float = 0.0) -> None:
        super().__init__(said)
        self.wait = wait


class _Gone(_Passing):
    """Nobody could be asked."""


class _Pace:
    """When requests may be sent, for all who ask one endpoint: if it is busy for one, it is so for
    the others."""

    def __init__(self) -> None:
        self.until, self._pause = 0.0, 0.0

    async def turn(self) -> None:
        while (left := self.until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def slow(self, sent: float, wait: float) -> None:
        """A request sent at that time came to nothing; those that were sent with it say no more."""
        if sent >= self.until:
            self._pause = min(max(_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
        self.until = max(self.until, time.monotonic() + (wait or self._pause))

    def well(self) -> None:
        self._pause = 0.0


class Asker:
    """Requests to one endpoint, of all episodes that are played there at the same time.

    patience: seconds, from its first failure on, for which a request is tried again that may fare
    better: no connection, no answer in time, statuses 408, 409, 425, 429 and 5xx, and answers that
    cannot be read. The pauses grow, and are those the endpoint asks for where it does. An address
    that was never reached is given up after half a minute. answers: it is known to answer requests
    of this kind.
    """

    def __init__(
        self,
        client: "AsyncOpenAI",
        model: str,
        sampling: Mapping[str, Any],
        patience: float,
        answers: bool = False,
    ) -> None:
        self.answers = answers
        self._client = client.with_options(max_retries=0)
        self._model, self._sampling, self._patience = model, sampling, patience
        self._pace = _Pace()
        self._reached = False
        self._vain = 0  # requests since the last reply that were refused or given up

    async def ask(self, messages: Sequence[Message]) -> Reply:
        """The model's reply; an empty one where the endpoint filtered it.

        Raises TooLong; Refused where others are answered, or may be, and this is not; EndpointError
        where nobody is.
        """
        failing: float | None = None
        while True:
            await self._pace.turn()
            sent = time.monotonic()
            try:
                reply = await self._asked(messages)
            except _Passing as error:
                failing = time.monotonic() if failing is None else failing
                self._reached |= not isinstance(error, _Gone)
                self._pace.slow(sent, error.wait)
                patience = self._patience if self._reached else min(self._patience, _STRANGE)
                if self._pace.until > failing + patience:
                    raise self._given_up(error) from error
            except Refused as refused:
                self._vain += 1
                if self._vain >= _HOPELESS and not self.answers:
                    raise EndpointError(f"{refused} (so are all requests)") from refused
                raise
            else:
                self.answers = self._reached = True
                self._vain = 0
                self._pace.well()
                return reply

    def _given_up(self, error: _Passing) -> Exception:
        """It answers others: then it is this request. Unless it answers nobody any more."""
        self._vain += 1
        if isinstance(error, _Gone) or not self.answers or self._vain >= _HOPELESS:
            return EndpointError(str(error))
        return Refused(f"{error} (others are answered)")

    async def _asked(self, messages: Sequence[Message]) -> Reply:
        """One request."""
        from openai import (
            APIConnectionError,
            APIResponseValidationError,
            APIStatusError,
            APITimeoutError,
        )

        # As `messages` they would be taken apart key by key: 15 ms for a hundred of them.
        extra = {**(self._sampling.get("extra_body") or {}), "messages": list(messages)}
        asked: dict[str, Any] = {**self._sampling, "extra_body": extra}
        began = time.perf_counter()
        try:
            answer = await self._client.chat.completions.create(
                model=self._model, messages=[], **asked
            )
            return _read(answer, began)
        except (
            *(_Unreadable, json.JSONDecodeError),
            *(UnicodeDecodeError, APIResponseValidationError),
        ) as error:
            raise _Passing(
                f"{self._client.base_url} answers what cannot be read (does the address end in "
                f"/v1?): {error}"
            ) from error
        except APIConnectionError as error:
            kind = _Passing if isinstance(error, APITimeoutError) else _Gone
            raise kind(
                f"no answer from {self._client.base_url} ({error.__cause__ or error}): is the "
                "server up, and its address right?"
            ) from error
        except APIStatusError as error:
            if error.code == "content_filter":
                return Reply("", Usage(replies=1, untold=1), 0.0)
            raise self._meant(error) from error

    def _meant(self, error: "APIStatusError") -> Exception:
        """What a status other than 200 means."""
        status = error.status_code
        told = f"{self._client.base_url} answers {status}: {error.message}"
        if status in _PASSING or status >= 500:
            return _Passing(told, _wait(error.response.headers))
        if error.code == "context_length_exceeded" or _TOO_LONG.search(error.message):
            return TooLong(told)
        if status not in _ENDPOINTS:
            return Refused(told)
        why = (
            f"does the address end in /v1, and is {self._model!r} served there?"
            if status == 404
            else "the key comes from api_key or OPENAI_API_KEY"
        )
        return EndpointError(f"{told} ({why})")


class _Unreadable(Exception):
    """An answer with status 200 that is none."""


def _wait(headers: Mapping[str, str]) -> float:
    """The seconds of a Retry-After, 0 without one; a date, which it may be as well, is not read."""
    for name, second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            return max(0.0, float(headers.get(name, "")) / second)
    return 0.0


def _read(answer: Any, began: float) -> Reply:
    """The reply in an answer; the client checks no answer's shape."""
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    content = getattr(message, "content", None)
    if message is None or not isinstance(content, str | None):
        raise _Unreadable(f"no message in {str(answer)[:200]!r}")
    told = getattr(answer, "usage", None)
    counts = [getattr(told, name, None) for name in ("prompt_tokens", "completion_tokens")]
    usage = Usage(
        replies=1,
        prompt_tokens=counts[0] or 0,
        completion_tokens=counts[1] or 0,
        cut=int(bool(choices) and getattr(choices[0], "finish_reason", None) == "length"),
        untold=int(None in counts),
    )
    # Halves of surrogate pairs could not be sent again.
    text = (content or "").encode("utf-8", "replace").decode("utf-8")
    return Reply(text, usage, time.perf_counter() - began)


def client_of(base_url: str, api_key: str | None, timeout: float) -> "AsyncOpenAI":
    """A client of the endpoint. api_key: None is OPENAI_API_KEY, or none at all.

    Raises ModuleNotFoundError naming the command where openai is not installed.
    """
    try:
        from openai import AsyncOpenAI
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"openai is not installed and endpoints need it: {install('openai')}",
            name="openai",
        ) from error
    key = api_key or os.environ.get("OPENAI_API_KEY") or NO_KEY
    return AsyncOpenAI(base_url=base_url, api_key=key, timeout=timeout)
