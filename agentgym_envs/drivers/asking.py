"""Requests to an OpenAI-compatible endpoint; every way they can fail ends here."""

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agentgym_envs.prompts import Message

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

NO_KEY = "none"  # what servers without keys are sent
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)", re.IGNORECASE)
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds between attempts, doubled each time


class EndpointError(ConnectionError):
    """The endpoint is gone, refuses the request, or answers what cannot be read."""


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


class _Unreadable(Exception):
    """An answer with status 200 that is none."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Requests to one endpoint; every way they fail ends here."""

    client: "AsyncOpenAI"
    model: str
    sampling: Mapping[str, Any]

    async def ask(self, messages: Sequence[Message], first: bool) -> Reply | None:
        """The model's reply; None where the messages are longer than its context."""
        from openai import APIConnectionError, APIStatusError

        try:
            return await self._patiently(messages)
        except _Unreadable as error:
            raise EndpointError(
                f"{self.client.base_url} answers what cannot be read (does the address end in "
                f"/v1?): {error}"
            ) from error
        except APIConnectionError as error:
            raise EndpointError(
                f"no answer from {self.client.base_url} ({error.__cause__ or error}): is the "
                "server up, and its address right?"
            ) from error
        except APIStatusError as error:
            if error.code == "content_filter":
                return Reply("", Usage(replies=1, untold=1), 0.0)
            if _is_too_long(error) and not first:
                return None
            raise EndpointError(self._explained(error)) from error

    async def _patiently(self, messages: Sequence[Message]) -> Reply:
        """The client retries what never became an answer; this, what is no readable one."""
        from openai import APIResponseValidationError

        # As `messages` they would be taken apart key by key: 15 ms for a hundred of them.
        extra = {**(self.sampling.get("extra_body") or {}), "messages": list(messages)}
        asked: dict[str, Any] = {**self.sampling, "extra_body": extra}
        left = self.client.max_retries
        while True:
            began = time.perf_counter()
            try:
                answer = await self.client.chat.completions.create(
                    model=self.model, messages=[], **asked
                )
                return _read(answer, began)
            except (
                *(_Unreadable, json.JSONDecodeError),
                *(UnicodeDecodeError, APIResponseValidationError),
            ) as error:
                if not left:
                    raise _Unreadable(str(error)) from error
            tried = self.client.max_retries - left
            await asyncio.sleep(min(_PAUSE * 2**tried, _LONGEST_PAUSE))
            left -= 1

    def _explained(self, error: "APIStatusError") -> str:
        told = f"{self.client.base_url} answers {error.status_code}: {error.message}"
        match error.status_code:
            case 401 | 403:
                return f"{told} (the key comes from api_key or OPENAI_API_KEY)"
            case 404:
                return f"{told} (does the address end in /v1, and is {self.model!r} served there?)"
        return told


def _is_too_long(error: "APIStatusError") -> bool:
    """Endpoints say it in their own words; all of them speak of a context."""
    if error.status_code not in (400, 413, 422):
        return False
    return error.code == "context_length_exceeded" or bool(_TOO_LONG.search(error.message))


def _read(answer: Any, began: float) -> Reply:
    """The reply in an answer; the client checks no answer's shape."""
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    content = getattr(message, "content", None)
    if message is None or not isinstance(content, str | None):
        raise _Unreadable(f"no message in {str(answer)[:200]!r}")
    told = getattr(answer, "usage", None)
    usage = Usage(
        replies=1,
        prompt_tokens=told.prompt_tokens if told else 0,
        completion_tokens=told.completion_tokens if told else 0,
        cut=int(bool(choices) and getattr(choices[0], "finish_reason", None) == "length"),
        untold=int(told is None),
    )
    # Halves of surrogate pairs could not be sent again.
    text = (content or "").encode("utf-8", "replace").decode("utf-8")
    return Reply(text, usage, time.perf_counter() - began)


def client_of(base_url: str, api_key: str | None, retries: int, timeout: float) -> "AsyncOpenAI":
    """A client of the endpoint. api_key: None is OPENAI_API_KEY, or none at all.

    Raises ModuleNotFoundError naming the pip command where openai is not installed.
    """
    try:
        from openai import AsyncOpenAI
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "openai is not installed and endpoints need it: pip install 'agentgym-envs[openai]'",
            name="openai",
        ) from error
    key = api_key or os.environ.get("OPENAI_API_KEY") or NO_KEY
    return AsyncOpenAI(base_url=base_url, api_key=key, max_retries=retries, timeout=timeout)
