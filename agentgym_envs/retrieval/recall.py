"""How often one search brings the passages that a question needs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agentgym_envs.retrieval.types import Hit


@dataclass(frozen=True, slots=True)
class Recall:
    """Counts of questions. `any`: a gold passage is among the first k; `all`: each of them is."""

    questions: int
    any: int
    all: int


def gold_recall(found: Sequence[Sequence[Hit]], gold: Sequence[Collection[str]], k: int) -> Recall:
    """Over questions, each with what a search found for it, best first, and its gold ids.

    A question without gold passages can be neither right nor wrong and does not count.
    Raises ValueError for k < 1 or lists that differ in length.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    counted = one = every = 0
    for hits, needed in zip(found, gold, strict=True):
        if not needed:
            continue
        met = set(needed) & {hit.passage.id for hit in hits[:k]}
        counted += 1
        one += bool(met)
        every += met == set(needed)
    return Recall(counted, one, every)
