"""How fast does the retrieval server answer, and what does waiting for others cost?

    python benchmarks/server_speed.py            # a table on the screen
    python benchmarks/server_speed.py --write    # put the table in RESULTS.md

Every repeat draws another corpus and other queries from its seed and starts all servers, each in
a process of its own, one after the other under the same load. Agents are connections that ask
again as soon as they are answered; they all live in this process, which sends stored bytes and
looks at answers only as far as their length, so that it takes little of the machine.

The peer is a server as Search-R1's is: FastAPI validates and serialises, the handler blocks the
event loop, and queries are searched one after the other. It searches with our BM25 too.
"""

import argparse
import asyncio
import gc
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

import numpy as np
from bm25_corpus import passages, queries
from results import RESULTS, Row, processor, write_section

from agentgym_envs.retrieval.bm25.retriever import BM25Retriever
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.serve.dialects import write_request
from agentgym_envs.retrieval.serve.endpoint import Service
from agentgym_envs.retrieval.serve.server import serve
from agentgym_envs.retrieval.types import Passage

TOPK = 3
GROUP = 8  # agents that ask one question
TOGETHER = 64  # queries of a request, where a turn's queries go together
WARMING = 512


@dataclass(frozen=True)
class Load:
    """Bodies to send, dealt to so many agents."""

    bodies: list[bytes]
    agents: int


@dataclass(frozen=True)
class Took:
    """A load was carried. latencies in seconds; seconds by the clock and of the server's CPU."""

    latencies: list[float]
    seconds: float
    cpu: float

    def quantile(self, share: float) -> float:
        """In ms."""
        return float(np.quantile(self.latencies, share)) * 1e3


def main() -> None:
    args = _arguments()
    rows: dict[str, Row] = {}
    for seed in range(args.seed, args.seed + args.repeats):
        for row in measure(args, seed):
            kept = rows.setdefault(row.work + row.way + row.unit, row)
            if kept is not row:
                kept.numbers += row.numbers
        print(f"seed {seed} done", file=sys.stderr)
    table = "\n".join([*_heading(args), *[row.line() for row in rows.values()]])
    print(table)
    if args.write:
        write_section("server_speed", table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=10_000, help="of each load")
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="of the first repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--note", default="", help="said in the heading, about the machine")
    parser.add_argument("--write", action="store_true", help=f"put the table in {RESULTS.name}")
    return parser.parse_args()


# -- what is measured


def measure(args: argparse.Namespace, seed: int) -> list[Row]:
    count, agents = args.requests, args.agents
    # Every load has queries of its own: no server knows them from the load before.
    texts = iter(_queries(args.passages, 3 * count + 2 * WARMING, seed))

    def drawn(size: int) -> list[str]:
        return [next(texts) for _ in range(size)]

    single = Load([write_request([query], TOPK, "verl_agent") for query in drawn(count)], agents)
    alone = Load([write_request([query], TOPK, "verl_agent") for query in drawn(count // GROUP)], 1)
    groups = Load(
        [
            write_request([query], TOPK, "verl_agent")
            for query in drawn(count // GROUP)
            for _ in range(GROUP)
        ],
        agents,
    )
    many = drawn(count)
    together = Load(
        [
            write_request(many[at : at + TOGETHER], TOPK, "search_r1")
            for at in range(0, count, TOGETHER)
        ],
        4,
    )
    known = drawn(WARMING)
    warming = Load(
        [write_request([query], TOPK, "verl_agent") for query in drawn(WARMING)]
        + [
            write_request(known[at : at + TOGETHER], TOPK, "search_r1")
            for at in range(0, WARMING, TOGETHER)
        ],
        agents,
    )
    loads = {"single": single, "alone": alone, "groups": groups, "together": together}
    took: dict[tuple[str, str], Took] = {}
    for name, run in (("ours", _ours), ("no window", _ours_at_once), ("peer", _peer)):
        with _server(run, args.passages, seed) as (port, pid):
            carry(port, pid, warming)  # after which everything is loaded
            for kind, load in loads.items():
                took[name, kind] = carry(port, pid, load)
    return list(_rows(took, agents))


def _rows(took: dict[tuple[str, str], Took], agents: int) -> Iterator[Row]:
    who = {"ours": "ours", "peer": "as Search-R1"}
    works = {
        "single": f"one query a request, {agents} agents, all different",
        "groups": f"one query a request, {agents} agents, {GROUP} ask alike",
        "alone": "one query a request, one agent",
    }
    for kind, work in works.items():
        wanted = {("single", "ours"): ">= 5,000"}
        for name, way in who.items():
            one = took[name, kind]
            count = len(one.latencies)
            yield Row(work, way, "requests / s", [count / one.seconds])
            yield Row(
                work,
                way,
                "requests / CPU-s of the server",
                [count / one.cpu],
                wanted.get((kind, name), ""),
            )
            yield Row(work, way, "ms, p50", [one.quantile(0.5)])
            yield Row(work, way, "ms, p99", [one.quantile(0.99)])
        faster = took["peer", kind].cpu / took["ours", kind].cpu
        yield Row(work, "**ours / as Search-R1**", "times per CPU-s", [faster])
    for name, way in who.items():
        one = took[name, "together"]
        count = len(one.latencies) * TOGETHER
        work = f"{TOGETHER} queries a request, 4 callers"
        yield Row(work, way, "queries / CPU-s of the server", [count / one.cpu])
        yield Row(work, way, "ms, p50", [one.quantile(0.5)])
    for kind, work in works.items():
        added = took["ours", kind].quantile(0.5) - took["no window", kind].quantile(0.5)
        yield Row("what the window adds", work, "ms, p50", [added], "<= 2")


def carry(port: int, pid: int, load: Load) -> Took:
    """Raises RuntimeError for any answer but 200."""
    return asyncio.run(_carry(port, pid, load))


async def _carry(port: int, pid: int, load: Load) -> Took:
    latencies: list[float] = []
    work = iter([_request(body) for body in load.bodies])
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(load.agents)]

    async def agent(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, work: Iterator[bytes]
    ) -> None:
        for request in work:
            began = perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server answered {head!r}")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
            await reader.readexactly(int(length))
            latencies.append(perf_counter() - began)

    hello = _request(write_request(["hello"], TOPK, "verl_agent"))
    await asyncio.gather(*(agent(*stream, iter([hello])) for stream in streams))
    latencies.clear()  # those had to be accepted first
    gc.collect()
    gc.disable()  # a pause of this process would be taken for one of the server
    cpu, began = _cpu(pid), perf_counter()
    await asyncio.gather(*(agent(*stream, work) for stream in streams))
    seconds, cpu = perf_counter() - began, _cpu(pid) - cpu
    gc.enable()
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()
    return Took(latencies, seconds, cpu)


def _request(body: bytes) -> bytes:
    head = (
        "POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _cpu(pid: int) -> float:
    """CPU-seconds of a process so far; Linux."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the servers


@contextmanager
def _server(run: Callable[..., None], count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Its port and process number."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run, args=(count, seed, there))
    process.start()
    try:
        if not here.poll(600):
            raise RuntimeError("the server did not start")
        yield here.recv(), process.pid or 0
    finally:
        process.terminate()
        process.join()


def _ours(count: int, seed: int, ready: Connection) -> None:
    _serve(count, seed, ready, Service())


def _ours_at_once(count: int, seed: int, ready: Connection) -> None:
    _serve(count, seed, ready, Service(window=0))


def _serve(count: int, seed: int, ready: Connection, service: Service) -> None:
    serve(
        _retriever(count, seed),
        port=0,
        service=service,
        on_ready=lambda url: ready.send(int(url.rpartition(":")[2])),
    )


def _peer(count: int, seed: int, ready: Connection) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Request(BaseModel):
        queries: list[str] | None = None
        query: str | None = None
        topk: int | None = None
        return_scores: bool = False

    class Document(BaseModel):
        id: str
        contents: str

    class Scored(BaseModel):
        document: Document
        score: float

    class Response(BaseModel):
        result: list[list[Scored]]

    retriever = _retriever(count, seed)
    app = FastAPI()

    async def retrieve(request: Request) -> Response:
        asked = request.queries if request.query is None else [request.query]
        found = [retriever.search([query], request.topk or TOPK)[0] for query in asked or []]
        return Response(
            result=[
                [
                    Scored(
                        document=Document(id=hit.passage.id, contents=hit.passage.contents),
                        score=hit.score,
                    )
                    for hit in hits
                ]
                for hits in found
            ]
        )

    app.post("/retrieve")(retrieve)
    config = uvicorn.Config(app, port=0, log_level="warning", access_log=False)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            ready.send(self.servers[0].sockets[0].getsockname()[1])

    Server(config).run()


def _retriever(count: int, seed: int) -> BM25Retriever:
    texts = passages(count, seed)
    return BM25Retriever.build(Corpus.of(Passage(str(i), text) for i, text in enumerate(texts)))


def _queries(count: int, wanted: int, seed: int) -> list[str]:
    """Different ones; a made-up query comes twice now and then."""
    made = dict.fromkeys(queries(list(passages(count, seed)), wanted + wanted // 10 + 100, seed))
    if len(made) < wanted:
        raise ValueError(f"{wanted} different queries are needed and {len(made)} were made")
    return list(made)[:wanted]


# -- how it is shown


def _heading(args: argparse.Namespace) -> list[str]:
    installed = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("fastapi", "uvicorn", "httptools", "uvloop", "numpy", "numba")
        if importlib.util.find_spec(name) is not None
    )
    last = args.seed + args.repeats - 1
    return [
        "## Speed of the retrieval server",
        "",
        f"`python benchmarks/server_speed.py`: {processor()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {installed}. Seeds {args.seed} to {last}, one a repeat: "
        f"{args.passages:,} made-up passages, BM25, top {TOPK}, {args.requests:,} requests a load. "
        "Median and lowest - highest of the repeats. CPU-seconds are those of the server's "
        "process; the agents share the machine with it." + f" {args.note}".rstrip(),
        "",
        "| work | way | median | lowest - highest | unit | wanted |",
        "|---|---|---:|---:|---|---|",
    ]


if __name__ == "__main__":
    main()
