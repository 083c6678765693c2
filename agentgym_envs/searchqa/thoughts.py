"""The expert's thoughts: short, regular, and made of words that stand in front of it."""

from collections.abc import Sequence

from agentgym_envs.searchqa.answers import normalised
from agentgym_envs.searchqa.question import Question

Fact = Sequence[str]  # subject, relation, value


def thoughts(question: Question, queries: Sequence[str]) -> tuple[str, ...]:
    """One thought for each search, and one for the answer.

    Each says what the search before it found, then what is needed now: "father of Ann is Bob.
    need: birthplace of Bob". Facts are the `evidence` of the question's metadata, those of a
    search the ones whose subject its query names; without them the query's words stand for them.
    """
    wanted = [_asked(question.metadata.get("evidence", ()), query) for query in queries]
    needs = [
        "need: " + (", ".join(f"{fact[1]} of {fact[0]}" for fact in facts) or query)
        for facts, query in zip(wanted, queries, strict=True)
    ]
    found = [
        ", ".join(f"{relation} of {subject} is {value}" for subject, relation, value in facts)
        for facts in wanted
    ]
    known = ["", *(f"{text}. " if text else "" for text in found[:-1])]
    answer = (found[-1] if found else "") or f"found: {question.answers[0]}"
    return (*(before + need for before, need in zip(known, needs, strict=False)), answer)


def _asked(evidence: Sequence[Fact], query: str) -> list[Fact]:
    words = set(normalised(query).split())
    return [fact for fact in evidence if set(normalised(fact[0]).split()) <= words]
