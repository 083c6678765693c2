"""Retrieval servers in processes of their own: `python retrieval_servers.py PORT DELAY READING`."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from time import sleep

from agentgym_envs.retrieval.bm25.retriever import BM25Retriever
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.serve.dialects import Limits
from agentgym_envs.retrieval.serve.server import serve
from agentgym_envs.retrieval.types import Hit, Passage

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


class Delayed:
    """Says when it begins to search and takes its time."""

    def __init__(self, retriever: BM25Retriever, seconds: float):
        self._retriever, self._seconds = retriever, seconds
        self.fingerprint = retriever.fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        print("searching", flush=True)
        sleep(self._seconds)
        return self._retriever.search(queries, k)


@contextmanager
def running(
    port: int, delay: float = 0.0, reading: float = 10.0
) -> Iterator[subprocess.Popen[str]]:
    """A server over the small corpus that takes connections; killed at the end if it still runs.

    delay: seconds of a search. reading: seconds in which a request must have been sent.
    """
    command = [sys.executable, __file__, str(port), str(delay), str(reading)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("http://"):
                break
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    retriever, delay = small_retriever(), float(sys.argv[2])
    serve(
        Delayed(retriever, delay) if delay else retriever,
        port=int(sys.argv[1]),
        limits=Limits(reading=float(sys.argv[3])),
        on_ready=lambda url: print(url, flush=True),
    )
