"""What a retrieval server counts, in Prometheus' text format."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_PREFIX = "agentgym_retrieve"


class Histogram:
    """Counts of numbers up to each bound, their sum and their count."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, number: float) -> None:
        self.counts[bisect_left(self.bounds, number)] += 1
        self.sum += number

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.9g}"
        yield f"{name}_count {total}"


class Metrics:
    """Written by one event loop only."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()  # by HTTP status
        self.queries = 0
        self.seconds = Histogram(SECONDS)
        self.batch_sizes = Histogram(SIZES)
        self.search_seconds = Histogram(SECONDS)

    def request(self, status: int, seconds: float) -> None:
        self.requests[status] += 1
        self.seconds.add(seconds)

    def batch(self, size: int, seconds: float) -> None:
        self.batch_sizes.add(size)
        self.search_seconds.add(seconds)

    def text(self, *, queued: int, cached: int, cache_hits: int, cache_misses: int) -> str:
        """All of it; the arguments are what others count."""
        statuses = sorted(self.requests.items())
        errors = sum(count for status, count in statuses if status >= 400)
        lines = [
            *_metric(
                "requests_total",
                "counter",
                "Answers of /retrieve by HTTP status.",
                (f'{{status="{status}"}} {count}' for status, count in statuses),
            ),
            *_one("errors_total", "counter", "Answers with a status of 400 or more.", errors),
            *_one("queries_total", "counter", "Queries that were answered.", self.queries),
            *_one("queue", "gauge", "Queries that wait for a search.", queued),
            *_one("cached_answers", "gauge", "Answers in the cache.", cached),
            *_one("cache_hits_total", "counter", "Queries that the cache answered.", cache_hits),
            *_one("cache_misses_total", "counter", "Queries it did not.", cache_misses),
            *_histogram("request_seconds", "Time from a request to its answer.", self.seconds),
            *_histogram("batch_queries", "Queries of one search.", self.batch_sizes),
            *_histogram("search_seconds", "Time that one search took.", self.search_seconds),
        ]
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, help: str, values: Iterable[str]) -> Iterator[str]:
    yield f"# HELP {_PREFIX}_{name} {help}"
    yield f"# TYPE {_PREFIX}_{name} {kind}"
    for value in values:
        yield f"{_PREFIX}_{name}{value}"


def _one(name: str, kind: str, help: str, value: float) -> Iterator[str]:
    return _metric(name, kind, help, (f" {value}",))


def _histogram(name: str, help: str, histogram: Histogram) -> Iterator[str]:
    yield from _metric(name, "histogram", help, ())
    yield from histogram.lines(f"{_PREFIX}_{name}")
