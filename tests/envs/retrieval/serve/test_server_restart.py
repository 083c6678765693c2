"""A server that dies and comes back loses nobody's episode."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from retrieval_servers import free_port, running

from agentgym_envs.extras import install
from agentgym_envs.retrieval.serve.client import HTTPRetriever
from agentgym_envs.retrieval.types import RetrievalError

pytest.importorskip("fastapi", reason=install("serve"))
pytest.importorskip("uvicorn", reason=install("serve"))

AGENTS, EPISODES, SEARCHES = 16, 12, 3


def test_a_killed_and_restarted_server_loses_no_episode():
    port = free_port()
    retriever = HTTPRetriever(f"http://127.0.0.1:{port}", longest_pause=1.0, attempts=60)
    done = threading.Semaphore(0)

    def agent(number: int) -> list[list[str]]:
        """The passages that each of its episodes met."""
        met = []
        for episode in range(EPISODES):
            wanted = [number * EPISODES + episode + turn for turn in range(SEARCHES)]
            hits = [retriever.search([f"name{one}"], 1)[0] for one in wanted]
            assert [hit.passage.id for (hit,) in hits] == [str(one) for one in wanted]
            met.append([hit.passage.id for (hit,) in hits])
            done.release()
        return met

    with ThreadPoolExecutor(AGENTS) as pool:
        with running(port) as server:
            agents = [pool.submit(agent, number) for number in range(AGENTS)]
            for _ in range(AGENTS):  # all are under way, none is finished
                assert done.acquire(timeout=30)
            server.kill()
            server.wait()
        with running(port):
            met = [one.result(timeout=120) for one in agents]
    assert sum(map(len, met)) == AGENTS * EPISODES
    retriever.close()


def test_a_server_that_is_told_to_stop_answers_first():
    port = free_port()
    retriever = HTTPRetriever(f"http://127.0.0.1:{port}", attempts=1)
    with running(port, delay=0.5) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(retriever.search, ["name3"], 1)
        assert server.stdout.readline() == "searching\n"
        server.terminate()
        ((hit,),) = answer.result(timeout=30)
        assert hit.passage.id == "3"
        server.wait(30)
        with pytest.raises(RetrievalError, match="ConnectionRefused"):
            retriever.search(["name3"], 1)
