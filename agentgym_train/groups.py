"""Which environment plays what, and which turns belong together: groups, seeds, states."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

VALIDATION_OFFSET = 1000  # keeps validation seeds away from training seeds


def group_of(n_groups: int, group_size: int) -> list[int]:
    """Group of each of the n_groups * group_size environments: i // group_size."""
    if n_groups < 1 or group_size < 1:
        raise ValueError(
            f"need at least one group of one attempt, got {n_groups} groups of {group_size}"
        )
    return [i // group_size for i in range(n_groups * group_size)]


def training_seeds(n_groups: int, group_size: int, base_seed: int) -> list[int]:
    """Environment seeds: the attempts of a group start alike, from base_seed + group."""
    return [base_seed + group for group in group_of(n_groups, group_size)]


def validation_seeds(n_tasks: int, base_seed: int) -> list[int]:
    """Environment seeds of a validation round, where every group has one attempt."""
    return [base_seed + VALIDATION_OFFSET + i for i in range(n_tasks)]


def same_state(texts: Sequence[str], similarity: float = 1.0) -> list[int]:
    """Number of the state each text describes, counted from 0 in the order of appearance.

    A text joins the first state whose first text it resembles by at least `similarity` (ratio of
    matching characters, in [0, 1]); at 1 only identical texts meet.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity must lie in (0, 1], got {similarity}")
    firsts: list[str] = []
    found: dict[str, int] = {}
    for text in texts:
        if text in found:
            continue
        alike = (i for i, first in enumerate(firsts) if _alike(first, text, similarity))
        found[text] = next(alike, len(firsts)) if similarity < 1 else len(firsts)
        if found[text] == len(firsts):
            firsts.append(text)
    return [found[text] for text in texts]


def _alike(a: str, b: str, similarity: float) -> bool:
    """The two quick ratios are upper bounds, and settle nearly all pairs."""
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return all(bound() >= similarity for bound in bounds)
