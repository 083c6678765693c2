import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.serve.batching import Batcher, QueueFull, TimedOut
from agentgym_envs.retrieval.serve.cache import Answers, Documents, Recent
from agentgym_envs.retrieval.serve.dialects import Answer
from agentgym_envs.retrieval.types import Hit, Passage, RetrievalError

HELD = 30  # seconds after which a test that hangs has failed


class Searcher:
    """Answers a query with its own text and k; can be held back. Remembers its batches."""

    def __init__(self):
        self.batches: list[tuple[list[str], int]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, queries: list[str], k: int) -> list[Answer]:
        self.batches.append((queries, k))
        assert self.may_answer.wait(HELD)
        if "broken" in queries:
            raise RetrievalError("out of order")
        return [answer(query, k) for query in queries]


def answer(query: str, k: int) -> Answer:
    return Answer((query.encode(),) * k, (b"1",) * k)


def run(main, searcher: Searcher, **settings):
    """The coroutine of a batcher that is closed afterwards."""

    async def whole():
        batcher = Batcher(searcher, **settings)
        try:
            return await asyncio.wait_for(main(batcher), HELD)
        finally:
            searcher.may_answer.set()
            batcher.close()

    return asyncio.run(whole())


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_requests_of_one_moment_are_one_search():
    searcher = Searcher()

    async def main(batcher):
        return await asyncio.gather(*(batcher.ask([str(i)], 2, HELD) for i in range(50)))

    assert run(main, searcher) == [[answer(str(i), 2)] for i in range(50)]
    assert searcher.batches == [([str(i) for i in range(50)], 2)]


def test_what_comes_during_a_search_is_the_next_one():
    searcher = Searcher()
    searcher.may_answer.clear()

    async def main(batcher):
        first = asyncio.create_task(batcher.ask(["first"], 1, HELD))
        await until(lambda: searcher.batches)
        rest = [asyncio.create_task(batcher.ask([str(i)], 1, HELD)) for i in range(5)]
        await until(lambda: batcher.queued == 5)
        searcher.may_answer.set()
        await asyncio.gather(first, *rest)

    run(main, searcher)
    assert [queries for queries, _ in searcher.batches] == [["first"], ["0", "1", "2", "3", "4"]]


def test_equal_queries_are_asked_once_even_while_one_is_searched():
    searcher = Searcher()
    searcher.may_answer.clear()

    async def main(batcher):
        first = asyncio.create_task(batcher.ask(["same", "same"], 1, HELD))
        await until(lambda: searcher.batches)
        second = asyncio.create_task(batcher.ask(["same"], 1, HELD))
        await asyncio.sleep(0)
        searcher.may_answer.set()
        return await first, await second

    first, second = run(main, searcher)
    assert first == [answer("same", 1)] * 2
    assert second == [answer("same", 1)]
    assert searcher.batches == [(["same"], 1)]


def test_batches_hold_one_k_and_no_more_than_they_may():
    searcher = Searcher()

    async def main(batcher):
        asked = [batcher.ask([f"{k} {i}"], k, HELD) for i in range(5) for k in (1, 3)]
        return await asyncio.gather(*asked)

    answers = run(main, searcher, batch=2)
    assert answers == [[answer(f"{k} {i}", k)] for i in range(5) for k in (1, 3)]
    assert [k for _, k in searcher.batches] == [1, 3, 1, 3, 1, 3]
    assert max(len(queries) for queries, _ in searcher.batches) == 2


def test_a_full_queue_refuses_at_once_and_takes_again_later():
    searcher = Searcher()
    searcher.may_answer.clear()

    async def main(batcher):
        first = asyncio.create_task(batcher.ask(["first"], 1, HELD))
        await until(lambda: searcher.batches)
        waiting = asyncio.create_task(batcher.ask(["a", "b"], 1, HELD))
        await until(lambda: batcher.queued == 2)
        with pytest.raises(QueueFull) as full:
            await batcher.ask(["c"], 1, HELD)
        assert full.value.retry_after >= 1
        # Those that wait already take no room.
        known = asyncio.create_task(batcher.ask(["b", "first"], 1, HELD))
        await asyncio.sleep(0)
        searcher.may_answer.set()
        await asyncio.gather(first, waiting, known)
        return await batcher.ask(["c"], 1, HELD)

    assert run(main, searcher, queue=2) == [answer("c", 1)]


def test_who_no_longer_waits_is_not_searched_for():
    searcher = Searcher()
    searcher.may_answer.clear()

    async def main(batcher):
        first = asyncio.create_task(batcher.ask(["first"], 1, HELD))
        await until(lambda: searcher.batches)
        with pytest.raises(TimedOut):
            await batcher.ask(["gone", "shared"], 1, 0.01)
        shared = asyncio.create_task(batcher.ask(["shared"], 1, HELD))
        await asyncio.sleep(0)
        searcher.may_answer.set()
        await first
        return await shared

    assert run(main, searcher) == [answer("shared", 1)]
    assert [queries for queries, _ in searcher.batches] == [["first"], ["shared"]]


def test_a_query_that_breaks_its_batch_fails_those_who_asked_for_it_and_nobody_else():
    searcher = Searcher()

    async def main(batcher):
        asked = (batcher.ask(queries, 1, HELD) for queries in (["a"], ["broken", "c"], ["b"]))
        failed = await asyncio.gather(*asked, return_exceptions=True)
        return failed, await batcher.ask(["a"], 1, HELD)

    (one, failed, other), after = run(main, searcher)
    assert (one, other, after) == ([answer("a", 1)], [answer("b", 1)], [answer("a", 1)])
    assert str(failed) == "out of order"
    assert [queries for queries, _ in searcher.batches] == [
        ["a", "broken", "c", "b"],
        ["a", "broken"],
        ["c", "b"],
        ["a"],
        ["broken"],
        ["a"],
    ]


def test_a_batch_in_halves_still_takes_in_who_asks_alike_and_drops_who_has_gone():
    searcher = Searcher()
    searcher.may_answer.clear()

    async def main(batcher):
        with pytest.raises(TimedOut):
            await batcher.ask(["gone", "broken"], 1, 0.01)
        searching = asyncio.create_task(batcher.ask(["a", "broken"], 1, HELD))
        await until(lambda: searcher.batches)
        same = asyncio.create_task(batcher.ask(["a"], 1, HELD))
        searcher.may_answer.set()
        return await same, (await asyncio.gather(searching, return_exceptions=True))[0]

    same, failed = run(main, searcher)
    assert same == [answer("a", 1)] and str(failed) == "out of order"
    assert all(queries != ["gone"] for queries, _ in searcher.batches[1:])


def test_a_search_that_loses_an_answer_is_an_error():
    class Losing(Searcher):
        def __call__(self, queries, k):
            return super().__call__(queries, k)[1:]

    async def main(batcher):
        with pytest.raises(RuntimeError, match="1 queries got 0 answers"):
            await batcher.ask(["a", "b"], 1, HELD)

    run(main, Losing())


def test_no_query_is_no_search():
    searcher = Searcher()

    async def main(batcher):
        return await batcher.ask([], 1, HELD)

    assert run(main, searcher) == []
    assert searcher.batches == []


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abcdef"), max_size=4), st.integers(1, 3))),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.001]),
)
def test_everyone_gets_their_own_answers_however_they_are_batched(requests, batch, window):
    async def main(batcher):
        return await asyncio.gather(*(batcher.ask(list(qs), k, HELD) for qs, k in requests))

    answers = run(main, Searcher(), batch=batch, window=window, threads=2)
    assert answers == [[answer(query, k) for query in qs] for qs, k in requests]


@pytest.mark.parametrize("name", ["batch", "queue", "threads"])
def test_a_batcher_takes_something(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        Batcher(Searcher(), **{name: 0})


# -- what is remembered


def test_the_least_recently_used_goes_first():
    held = Recent[str, int](room=1000)  # an entry takes 300 bytes besides its own
    held.put("a", 1, 0)
    held.put("b", 2, 0)
    held.put("c", 3, 0)
    assert held.get("a") == 1
    held.put("d", 4, 0)
    assert [held.get(key) for key in "abcd"] == [1, None, 3, 4]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 900))))
def test_a_cache_never_holds_more_than_its_room(puts):
    held = Recent[str, int](room=2000)
    for key, size in puts:
        held.put(key, size, size)
        assert held.used <= 2000
        assert held.get(key) == size


def test_what_does_not_fit_is_not_held():
    held = Recent[str, int](room=0)
    held.put("a", 1, 0)
    assert held.get("a") is None
    assert held.used == 0


def test_answers_of_another_index_are_other_answers():
    answers = Answers("one index", 10_000)
    answers.put("honey", 3, answer("honey", 3))
    assert answers.get("honey", 3) == answer("honey", 3)
    assert answers.get("honey", 2) is None
    assert (answers.hits, answers.misses) == (1, 1)


def test_passages_with_one_id_and_other_contents_are_told_apart():
    documents = Documents(10_000)
    written = [documents.answer([Hit(Passage("1", text), 1.0)]).documents for text in "aba"]
    assert written == [
        (b'{"id":"1","contents":"a"}',),
        (b'{"id":"1","contents":"b"}',),
        (b'{"id":"1","contents":"a"}',),
    ]
