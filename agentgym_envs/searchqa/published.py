"""The rule by which many published Search-QA tables were averaged, to reproduce and correct them.

Nothing here is used to judge: see `averages`, and docs/search-qa-averages.md.
"""

from collections.abc import Sequence


def mean_of_batch_means(
    outcomes: Sequence[tuple[str, bool]], batch_size: int = 512
) -> dict[str, float]:
    """The published rule: per batch the rate of each set in it, then the mean of those rates.

    `outcomes`: (set, right) in the order of evaluation. A set's last batch weighs as much as a full
    one, however few of its questions are in it: of no use but to reproduce a published figure.
    """
    rates: dict[str, list[float]] = {}
    for start in range(0, len(outcomes), batch_size):
        batch: dict[str, list[bool]] = {}
        for name, right in outcomes[start : start + batch_size]:
            batch.setdefault(name, []).append(right)
        for name, rights in batch.items():
            rates.setdefault(name, []).append(sum(rights) / len(rights))
    return {name: sum(found) / len(found) for name, found in rates.items()}


def effective_sample(parts: Sequence[int]) -> float:
    """How many equally weighted questions are as precise as a mean of means over such batches."""
    return len(parts) ** 2 / sum(1 / part for part in parts)


def bamboogle_as_published(right_of_124: int, last_right: bool) -> float:
    """Bamboogle's percentage by the published rule: 124 questions weigh as much as the last one."""
    return 100 * (right_of_124 / 124 + last_right) / 2


def bamboogle_corrected(published: float) -> list[float]:
    """The true percentages (of 125) behind a published one with one decimal.

    The figure may have been rounded or cut off (68.95 is in print as 68.9). Empty where no count
    gives it by that rule: it was made by another. More than one only at 50.0, which 124 right and
    the last wrong give as well as only the last right.
    """
    return [
        100 * (right + last) / 125
        for last in (False, True)
        for right in range(125)
        if -0.05 <= bamboogle_as_published(right, last) - published < 0.1
    ]
