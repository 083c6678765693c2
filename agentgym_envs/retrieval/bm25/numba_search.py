"""The BM25 search compiled by numba: the same answers as the NumPy one, several times faster.

Documents are searched a range at a time, so that the range's sums stay in the processor's cache.
In each range rare terms come first; once only documents already met can still reach the best k,
the frequent terms' lists are looked up for those alone. The k-th best score carries over from one
range to the next, so that in most ranges little is added at all. Where a term's list crosses from
range to range is remembered for the long lists: in a list of millions every search for a place is
a walk through memory that no cache holds.

Import this module only where numba is installed. What it compiles is kept on disk beside it.
"""

import math
import threading
from typing import Any

import numpy as np
from numba import njit

from agentgym_envs.retrieval.bm25.numpy_search import Found
from agentgym_envs.retrieval.bm25.postings import Postings

# Documents to a range. Their sums take 8 bytes each.
RANGE = 1 << 16
_SLACK = 1 + 1e-12
# Looking one document up takes as long as passing so many postings (measured).
_SCAN = 40
# So many of the best so far are looked up to learn what score can be reached.
_LEADERS = 16
# Crossings are remembered of so many terms at most, and of lists with so many postings a range.
_REMEMBERED, _LONG = 4096, 16


class NumbaSearch:
    """Searches one index. Threads share it; each has scratch memory for one range."""

    def __init__(self, postings: Postings) -> None:
        # One kind of array, read-only and aligned, so that one compiled form serves every index.
        self._arrays = tuple(
            _fixed(array)
            for array in (
                postings.starts,
                postings.documents,
                postings.counts,
                postings.lengths,
                postings.best,
                postings.norms(),
            )
        )
        self._documents = len(postings.lengths)
        self._held_by_any = int(postings.totals[0])
        self._scratch = threading.local()
        self._range = min(RANGE, max(self._documents, 1))
        self._ranges = -(-self._documents // self._range)
        self._crossings: dict[int, np.ndarray] = {}

    def top(self, terms: list[int], counts: list[int], k: int) -> Found:
        """As `NumpySearch.top`, and the same numbers and scores."""
        k = min(k, self._documents)
        sums, met = self._memory()
        numbers, scores = np.empty(k, np.int32), np.empty(k, np.float32)
        query = np.array(terms, np.int64), np.array(counts, np.int64), self._fences(terms)
        arguments: Any = (*self._arrays, self._held_by_any, *query, sums, met, numbers, scores)
        size = _search(*arguments)
        return numbers[:size], scores[:size]

    def _fences(self, terms: list[int]) -> np.ndarray:
        """Where each term's postings begin in each range, and where they end
        [terms, ranges + 1]; a row that begins with -1 is left to be found."""
        fences = np.empty((len(terms), self._ranges + 1), np.int64)
        fences[:, 0] = -1
        if self._ranges >= _LONG:
            for row, term in zip(fences, terms, strict=True):
                known = self._crossings.get(term)
                if known is None:
                    known = self._remember(term)
                if known is not None:
                    row[:] = known
        return fences

    def _remember(self, term: int) -> np.ndarray | None:
        starts, documents, *_ = self._arrays
        begin, end = int(starts[term]), int(starts[term + 1])
        if end - begin < _LONG * self._ranges:
            return None
        known = np.empty(self._ranges + 1, np.int64)
        _cross(documents, begin, end, self._range, known)
        if len(self._crossings) >= _REMEMBERED:
            # Another thread may have dropped the oldest already.
            self._crossings.pop(next(iter(self._crossings)), None)
        self._crossings[term] = known
        return known

    def _memory(self) -> tuple[np.ndarray, np.ndarray]:
        """This thread's sums of a range, zero between searches, and room for documents met."""
        kept = getattr(self._scratch, "kept", None)
        if kept is None:
            kept = np.zeros(self._range), np.empty(self._range + 1, np.int32)
            self._scratch.kept = kept
        return kept


def _fixed(array: np.ndarray) -> np.ndarray:
    plain = np.require(np.asarray(array), requirements=["C", "A"]).view()
    plain.flags.writeable = False
    return plain


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _worse(score, number, other_score, other_number):
    """Whether one document comes after another."""
    return score < other_score or (score == other_score and number > other_number)


@njit(cache=True, nogil=True, error_model="numpy")
def _sink(numbers, scores, at, size):
    """Restore the heap (the worst on top) below position `at`."""
    number, score = numbers[at], scores[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        other = child + 1
        if other < size and _worse(scores[other], numbers[other], scores[child], numbers[child]):
            child = other
        if not _worse(scores[child], numbers[child], score, number):
            break
        numbers[at], scores[at] = numbers[child], scores[child]
        at = child
    numbers[at], scores[at] = number, score


@njit(cache=True, nogil=True, error_model="numpy")
def _offer(numbers, scores, size, number, score):
    """Put a document among the best, in place of the worst where they are full; how many."""
    if size < len(numbers):
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if not _worse(score, number, scores[parent], numbers[parent]):
                break
            numbers[at], scores[at] = numbers[parent], scores[parent]
            at = parent
        numbers[at], scores[at] = number, score
        return size + 1
    numbers[0], scores[0] = number, score
    _sink(numbers, scores, 0, size)
    return size


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _first_from(documents, begin, end, number):
    """The first place from `begin` to `end` whose document is not before `number`."""
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if documents[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, error_model="numpy")
def _cross(documents, begin, end, size, fences):
    """Fill in where the list from `begin` to `end` goes over into each range of documents."""
    fences[0] = begin
    for at in range(1, len(fences) - 1):
        fences[at] = _first_from(documents, fences[at - 1], end, at * size)
    fences[-1] = end


@njit(cache=True, nogil=True, error_model="numpy")
def _kth(values, size, top):
    """The k-th largest of the first `size` values; needs size >= k = len(top), which is scratch."""
    k = len(top)
    top[:] = values[:k]
    top.sort()
    for at in range(k, size):
        value = values[at]
        if value > top[0]:
            place = 0
            while place + 1 < k and top[place + 1] < value:
                top[place] = top[place + 1]
                place += 1
            top[place] = value
    return top[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _floor(sums, met, found, first, k, rest, block, lists):
    """A score that k documents are known to reach: the best so far, looked up in all lists.

    `rest`: the places in the query of the terms still to come. Needs found >= k.
    """
    documents, counts, lengths, norms, weights, fences = lists
    leaders = min(max(k, _LEADERS), found)
    top, partial = np.empty(leaders), np.empty(found)
    for at in range(found):
        partial[at] = sums[met[at] - first]
    bar = _kth(partial, found, top)
    size = 0
    for at in range(found):
        if partial[at] < bar:
            continue
        number = met[at]
        score = partial[at]
        for which in rest:
            end = fences[which, block + 1]
            place = _first_from(documents, fences[which, block], end, number)
            if place < end and documents[place] == number:
                score += _part(weights[which], counts[place], norms[lengths[number]])
        partial[size] = score
        size += 1
        if size == 2 * leaders:
            break
    return np.float32(_kth(partial, size, top[:k]))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _part(weight, count, norm):
    """What a term adds to a score, in single precision."""
    return weight - weight / (np.float32(1) + np.float32(count) * norm)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _inside(number, first):
    """A document's place in its range. Unsigned, as the places in a list are: an index that might
    count from the end costs two more instructions. In the loops that use it nothing branches on
    what was met before, which no processor can guess."""
    return np.uint32(np.uint32(number) - np.uint32(first))


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    starts, documents, counts, lengths, best, norms, held_by_any,
    terms, wanted, fences, sums, met, numbers, scores,
):  # fmt: skip
    """Fill `numbers` and `scores` with the best, in order; how many there are."""
    one = np.float32(1)
    total = len(terms)
    weights = np.empty(total, np.float32)
    bounds = np.empty(total, np.float32)
    for at in range(total):
        held = starts[terms[at] + 1] - starts[terms[at]]
        rarity = (held_by_any - held + 0.5) / (held + 0.5)
        weights[at] = np.float32(math.log(1.0 + rarity)) * np.float32(wanted[at])
        bounds[at] = weights[at] - weights[at] / (one + best[terms[at]])
    order = np.argsort(-bounds)
    rest = np.zeros(total + 1)
    for at in range(total - 1, -1, -1):
        rest[at] = rest[at + 1] + bounds[order[at]]
    for at in range(total):
        if fences[at, 0] < 0:
            begin, end = starts[terms[at]], starts[terms[at] + 1]
            _cross(documents, begin, end, len(sums), fences[at])
    lists = (documents, counts, lengths, norms, weights, fences)
    k, size = len(numbers), 0
    for block in range(fences.shape[1] - 1):
        first = block * len(sums)
        floor = scores[0] if size == k else np.float32(-1)
        found, taken, spent = 0, 0, 0
        while taken < total:
            which = order[taken]
            begin, end = fences[which, block], fences[which, block + 1]
            bound = np.float32(rest[taken] * _SLACK)
            if bound < floor:
                break
            # Where nothing carries over yet: looking for a floor costs a pass over the documents
            # met, worth it before a list that is longer than they are.
            if size < k and found >= k and spent < found and end - begin > found:
                floor = max(floor, _floor(sums, met, found, first, k, order[taken:], block, lists))
                spent = found
                if bound < floor:
                    break
            weight = weights[which]
            for place in range(np.uint64(begin), np.uint64(end)):
                number = documents[place]
                here = _inside(number, first)
                before = sums[here]
                met[found] = number
                found += before == 0.0
                sums[here] = before + _part(
                    weight, counts[place], norms[lengths[np.uint32(number)]]
                )
            taken += 1
        for at in range(taken, total):
            if found == 0:
                break
            found = _narrow(sums, met, found, first, floor, rest[at] * _SLACK)
            which = order[at]
            weight = weights[which]
            begin, end = fences[which, block], fences[which, block + 1]
            if end - begin < _SCAN * found:
                for place in range(np.uint64(begin), np.uint64(end)):
                    number = documents[place]
                    here = _inside(number, first)
                    if sums[here] > 0.0:
                        sums[here] += _part(weight, counts[place], norms[lengths[number]])
            else:
                for one_met in range(found):
                    number = met[one_met]
                    place = _first_from(documents, begin, end, number)
                    if place < end and documents[place] == number:
                        part = _part(weight, counts[place], norms[lengths[number]])
                        sums[number - first] += part
        for at in range(found):
            number = met[at]
            score = np.float32(sums[number - first])
            sums[number - first] = 0.0
            # Asked before the call, which would cost more than the answer.
            if size < k or _worse(scores[0], numbers[0], score, number):
                size = _offer(numbers, scores, size, number, score)
    _in_order(numbers, scores, size)
    return size


@njit(cache=True, nogil=True, error_model="numpy")
def _narrow(sums, met, found, first, floor, bound):
    """Keep those met that can reach the floor with `bound` more; how many. The others' sums: 0."""
    kept = 0
    for at in range(found):
        number = met[at]
        here = _inside(number, first)
        before = sums[here]
        stays = np.float32(before + bound) >= floor
        met[kept] = number
        kept += stays
        sums[here] = before if stays else 0.0
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def _in_order(numbers, scores, size):
    """Turn the heap into a list, best first."""
    for end in range(size - 1, 0, -1):
        numbers[0], numbers[end] = numbers[end], numbers[0]
        scores[0], scores[end] = scores[end], scores[0]
        _sink(numbers, scores, 0, end)
