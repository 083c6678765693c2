"""What every retriever takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a corpus. `contents`: the title in double quotes, a newline, the text."""

    id: str
    contents: str

    @property
    def title(self) -> str:
        """The first line without its quotes."""
        return self.contents.partition("\n")[0].strip('"')

    @property
    def text(self) -> str:
        """All that follows the first line."""
        return self.contents.partition("\n")[2]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it answers a query; higher is better."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """Finds passages. Safe to share between threads; never changes once made."""

    @property
    def fingerprint(self) -> str:
        """Names corpus, index and settings: equal fingerprints answer equally."""
        ...

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query, best first; fewer where fewer match.

        Raises RetrievalError when it cannot answer; never gives an empty list in its stead.
        """
        ...


class RetrievalError(RuntimeError):
    """A retriever could not answer: the run's trouble, not evidence for a policy."""
