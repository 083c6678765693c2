"""The `/retrieve` endpoint: a body in either dialect in, stored JSON out.

It speaks ASGI itself, because validating and serialising every passage anew is what most of a
request would cost.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter

from agentgym_envs.endpoint import BodyTooLarge, Receive, Scope, Send, read_body, refuse, respond
from agentgym_envs.retrieval.serve.batching import Batcher, QueueFull, TimedOut
from agentgym_envs.retrieval.serve.cache import Answers, Documents
from agentgym_envs.retrieval.serve.dialects import (
    FINGERPRINT_HEADER,
    Answer,
    Limits,
    Question,
    Refused,
    read_request,
    write_response,
)
from agentgym_envs.retrieval.serve.metrics import Metrics
from agentgym_envs.retrieval.types import RetrievalError, Retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How a server answers, besides what it takes.

    window: seconds that a query waits for others where there are others. batch: most queries of
    one search. threads: searches at a time. answers, documents: bytes of the two caches.
    """

    window: float = 0.001
    batch: int = 256
    threads: int = 1
    answers: int = 256 * 2**20
    documents: int = 64 * 2**20


class RetrieveEndpoint:
    """Answers requests from a retriever. Belongs to one event loop."""

    def __init__(self, retriever: Retriever, limits: Limits, service: Service) -> None:
        self.fingerprint = retriever.fingerprint
        self._named = FINGERPRINT_HEADER.lower().encode(), self.fingerprint.encode()
        self.limits, self.metrics = limits, Metrics()
        self.answers = Answers(self.fingerprint, service.answers)
        self._retriever, self._documents = retriever, Documents(service.documents)
        self.batcher = Batcher(
            self._search,
            window=service.window,
            batch=service.batch,
            queue=limits.queue,
            threads=service.threads,
            on_batch=self.metrics.batch,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        status = 500  # where something unforeseen leaves this function
        try:
            body = await self._body(scope, receive)
            if body is None:
                status = 499  # the client has gone; nobody is told
                return
            began = perf_counter()
            question = read_request(body, self.limits)
            answers = await self._answered(question)
            status = 200
            found = write_response(answers, scored=question.scored)
            await respond(send, status, found, self._named)
        except BodyTooLarge as error:
            status = 413
            await refuse(send, status, str(error))
        except Refused as error:
            status = error.status
            closing = [(b"connection", b"close")] if status == 408 else []
            await refuse(send, status, str(error), *closing)
        except QueueFull as error:
            status = 503
            await refuse(send, status, str(error), (b"retry-after", b"%d" % error.retry_after))
        except TimedOut as error:
            status = 504
            await refuse(send, status, str(error))
        except RetrievalError as error:
            status = 502
            await refuse(send, status, f"the retriever could not answer: {error}")
        finally:
            self.metrics.request(status, perf_counter() - began)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """As `read_body`; raises Refused where it takes too long."""
        seconds = self.limits.reading
        try:
            async with asyncio.timeout(seconds):
                return await read_body(scope, receive, self.limits.body)
        except TimeoutError:
            raise Refused(408, f"the request was not sent whole within {seconds:g} s") from None

    async def _answered(self, question: Question) -> list[Answer]:
        k = question.topk
        found = {query: self.answers.get(query, k) for query in question.queries}
        missing = [query for query, answer in found.items() if answer is None]
        asked = await self.batcher.ask(missing, k, self.limits.timeout)
        for query, answer in zip(missing, asked, strict=True):
            self.answers.put(query, k, answer)
            found[query] = answer
        self.metrics.queries += len(question.queries)
        return [answer for query in question.queries if (answer := found[query]) is not None]

    def _search(self, queries: list[str], k: int) -> list[Answer]:
        return [self._documents.answer(hits) for hits in self._retriever.search(queries, k)]
