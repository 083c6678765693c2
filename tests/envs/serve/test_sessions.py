import asyncio
import threading

import pytest

from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.serve.hosted import Hosted
from agentgym_envs.serve.messages import Reset, State, Step
from agentgym_envs.serve.sessions import Failed, Full, Sessions, UnknownSession

PANTRY = "pantry:Pantry/Honey-v0"


def hosted():
    return Hosted(lambda: make_text_env(PANTRY, {}), PANTRY)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_no_more_sessions_than_allowed_and_a_closed_one_makes_room():
    async def play():
        sessions = Sessions(hosted, limit=2, idle=10.0)
        first, _ = [await sessions.open() for _ in range(2)]
        with pytest.raises(Full, match="all 2 sessions"):
            await sessions.open()
        sessions.close(first)
        assert (await sessions.open()).id != first.id
        assert len(sessions) == 2
        sessions.close_all()
        assert len(sessions) == 0

    asyncio.run(play())


def test_an_environment_that_cannot_be_made_takes_no_room():
    def broken():
        raise ValueError("no such catalogue")

    async def play():
        sessions = Sessions(broken, limit=1, idle=10.0)
        for _ in range(3):
            with pytest.raises(Failed, match="no such catalogue"):
                await sessions.open()
        assert len(sessions) == 0

    asyncio.run(play())


def test_an_unused_session_ends_and_a_used_one_does_not():
    async def play():
        clock = Clock()
        sessions = Sessions(hosted, limit=3, idle=10.0, clock=clock)
        used, unused = [await sessions.open() for _ in range(2)]
        connected = await sessions.open(attached=True)
        clock.now = 8.0
        await sessions.answer(used, State())
        clock.now = 11.0
        assert sessions.find(used.id) is used
        with pytest.raises(UnknownSession, match="unused for 10 s"):
            sessions.find(unused.id)
        assert len(sessions) == 2, "the connection's session stays: it sees to itself"
        with pytest.raises(UnknownSession):
            sessions.find(connected.id)
        with pytest.raises(UnknownSession):
            await sessions.answer(unused, State())
        sessions.close_all()

    asyncio.run(play())


class Slow:
    """Answers nothing until it may."""

    def __init__(self):
        self.begun, self.may = threading.Event(), threading.Event()

    def answer(self, request):
        self.begun.set()
        self.may.wait(30)
        return {"type": "state", "data": {}}

    def close(self):
        pass


def test_a_slow_environment_holds_nobody_up_and_is_not_taken_for_unused():
    slow, clock = Slow(), Clock()
    made = iter([slow, hosted()])

    async def play():
        sessions = Sessions(lambda: next(made), limit=2, idle=1.0, clock=clock)
        waiting, quick = [await sessions.open() for _ in range(2)]
        answer = asyncio.ensure_future(sessions.answer(waiting, State()))
        await asyncio.to_thread(slow.begun.wait)
        assert b"Cupboards" in await sessions.answer(quick, Reset(seed=0))
        clock.now = 5.0
        with pytest.raises(UnknownSession):
            sessions.find(quick.id)
        assert sessions.find(waiting.id) is waiting
        assert not answer.done()
        slow.may.set()
        assert b"state" in await answer
        sessions.close_all()

    asyncio.run(play())


class Broken:
    """An environment whose engine has died."""

    def answer(self, request):
        raise RuntimeError("the engine has died")

    def close(self):
        raise RuntimeError("and cannot be closed")


def test_an_error_within_is_told_and_logged_and_the_session_lives(caplog):
    async def play():
        sessions = Sessions(Broken, limit=1, idle=10.0)
        session = await sessions.open()
        for _ in range(2):
            with pytest.raises(Failed, match="the engine has died") as failed:
                await sessions.answer(session, State())
        assert (failed.value.kind, failed.value.mistake) == ("RuntimeError", False)
        sessions.close(session)

    asyncio.run(play())
    for thread in threading.enumerate():
        if thread.name == "agentgym-session":
            thread.join(10)
    assert [record.message for record in caplog.records] == [
        *["an environment failed"] * 2,
        "an environment could not be closed",
    ]


def test_a_clients_mistake_is_told_and_not_logged(caplog):
    async def play():
        sessions = Sessions(hosted, limit=1, idle=10.0)
        session = await sessions.open()
        with pytest.raises(Failed, match="call reset") as failed:
            await sessions.answer(session, Step("open red"))
        assert (failed.value.kind, failed.value.mistake) == ("ResetNeeded", True)
        sessions.close_all()

    asyncio.run(play())
    assert not caplog.records


@pytest.mark.parametrize(("limit", "idle"), [(0, 1.0), (1, 0.0)])
def test_limits_are_above_nothing(limit, idle):
    with pytest.raises(ValueError, match="should be"):
        Sessions(hosted, limit=limit, idle=idle)
