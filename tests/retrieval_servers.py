"""Retrieval servers in processes of their own, for tests; also `python retrieval_servers.py PORT`."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from agentgym_envs.retrieval.bm25_retriever import BM25Retriever
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.server import serve
from agentgym_envs.retrieval.types import Passage

COUNT = 400


def small_corpus() -> Corpus:
    """Passage i is the only one with the word `name{i}`; all of them have `honey`."""
    return Corpus.of(
        Passage(str(i), f'"Page {i}"\nname{i} sells honey — and “{i % 7} jars”.')
        for i in range(COUNT)
    )


def small_retriever() -> BM25Retriever:
    return BM25Retriever.build(small_corpus(), engine="numpy")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return taken.getsockname()[1]


@contextmanager
def running(port: int) -> Iterator[subprocess.Popen[str]]:
    """A server over the small corpus that takes connections; killed at the end if it still runs."""
    process = started(port)
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def started(port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(port)], stdout=subprocess.PIPE, text=True
    )


if __name__ == "__main__":
    retriever = small_retriever()
    serve(retriever, port=int(sys.argv[1]), on_ready=lambda url: print(url, flush=True))
