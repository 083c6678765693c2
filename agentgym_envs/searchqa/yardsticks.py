"""Scripted policies to hold a trained one against: what each adds to the one before is named.

Each is made with a seed, which none of them uses, and called as policy(env, observation, info). The
expert is every environment's (`agentgym_envs.evaluate:ExpertPolicy`).
"""

import re

from agentgym_envs.core import Observation, TextEnv
from agentgym_envs.searchqa.answers import normalised

_ASKS_YES_OR_NO = re.compile(
    r"^(is|are|was|were|do|does|did|has|have|had|can|could|will|would)\b", re.IGNORECASE
)
_EITHER = re.compile(r"([^,:?]+?),? or ([^,?]+)\??$")
_NAME_OR_NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d\b|\b[A-Z]\w*(?:[ -][A-Z]\w*)*")
_FRAME = re.compile(r"</?information>|\bDoc \d+\b|\bTitle:|\"result\":|\\\\\"")
_SENTENCE_END = re.compile(r"[.!?;]\s|\n|\\n")
UNKNOWN = "unknown"


class ClosedBook:
    """Answers at once, without knowledge: what the form of the question alone is worth.

    "yes" where it asks yes or no, the first of two alternatives where it names them at its end,
    else "unknown".
    """

    def __init__(self, seed: int = 0) -> None:
        pass  # nothing is drawn

    def __call__(self, env: TextEnv, observation: Observation, info: dict) -> str:
        return _answer(guess(info["goal"]))


class OneQuery:
    """Searches for the question as it stands, then answers by comparing words.

    A question whose form gives a guess (see `ClosedBook`) is answered with it. Else the answer is
    the last new name or number of the found sentence that shares most words with the question.
    """

    def __init__(self, seed: int = 0) -> None:
        pass  # nothing is drawn

    def __call__(self, env: TextEnv, observation: Observation, info: dict) -> str:
        if not info["turn"]:
            return f"<search>{info['goal']}</search>"
        formal = guess(info["goal"])
        return _answer(likely(info["goal"], env.scene.text) if formal == UNKNOWN else formal)


class Oracle:
    """Gives the right answer at once: the ceiling, and a check of answers and verifier."""

    def __init__(self, seed: int = 0) -> None:
        pass  # nothing is drawn

    def __call__(self, env: TextEnv, observation: Observation, info: dict) -> str:
        return _answer(env.task.answer["targets"][0])


def guess(question: str) -> str:
    """What the form of a question suggests: "yes", its first alternative, or "unknown"."""
    either = _EITHER.search(question.strip())
    if either is not None:
        return _last_name(either[1]) or either[1].strip()
    return "yes" if _ASKS_YES_OR_NO.match(question.strip()) else UNKNOWN


def likely(question: str, found: str) -> str:
    """The last name or number, not in the question, of the sentence of `found` most like it.

    Of several sentences alike the first read; "unknown" where none has one.
    """
    asked = set(normalised(question).split())
    best, answer = -1, UNKNOWN
    for sentence in _SENTENCE_END.split(_FRAME.sub(" ", found)):
        names = [
            name
            for name in _NAME_OR_NUMBER.findall(sentence)
            if not set(normalised(name).split()) <= asked
        ]
        shared = len(asked & set(normalised(sentence).split()))
        if names and shared > best:
            best, answer = shared, names[-1]
    return answer


def _last_name(text: str) -> str:
    found = _NAME_OR_NUMBER.findall(text)
    return found[-1] if found else ""


def _answer(text: str) -> str:
    return f"<answer>{text}</answer>"
