"""What a server remembers: answers and passages as they are sent, both bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from agentgym_envs.retrieval.serve.dialects import Answer, write_document, write_score
from agentgym_envs.retrieval.types import Hit, Passage

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_ENTRY = 300  # bytes that Python takes for an entry besides its text, roughly


class Recent(Generic[Key, Value]):
    """The most recently used values, as many as fit into `room` bytes. Threads may share it."""

    def __init__(self, room: int) -> None:
        """A room of 0 keeps nothing. Raises ValueError for less."""
        if room < 0:
            raise ValueError(f"a cache cannot have {room} bytes")
        self.room, self.used = room, 0
        self._held: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used; None where it is not held."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Hold a value of `size` bytes and let go of the least recently used to make room."""
        with self._lock:
            self.used -= self._held.pop(key, (None, 0))[1]
            self._held[key] = value, size + _ENTRY
            self.used += size + _ENTRY
            while self.used > self.room:
                self.used -= self._held.popitem(last=False)[1][1]


class Documents:
    """Hits made ready to send; a passage that was sent lately is not written again."""

    def __init__(self, room: int) -> None:
        self._written: Recent[str, tuple[Passage, bytes]] = Recent(room)

    def answer(self, hits: Sequence[Hit]) -> Answer:
        """Raises ValueError for a score that is not finite."""
        return Answer(
            tuple(self._document(hit.passage) for hit in hits),
            tuple(write_score(hit.score) for hit in hits),
        )

    def _document(self, passage: Passage) -> bytes:
        found = self._written.get(passage.id)
        # Nothing promises that ids of several corpora differ, so the contents are compared too.
        if found is not None and found[0] == passage:
            return found[1]
        written = write_document(passage)
        self._written.put(passage.id, (passage, written), 2 * len(written))
        return written


class Answers:
    """Answers given lately. A key has the fingerprint, so that another index is another answer."""

    def __init__(self, fingerprint: str, room: int) -> None:
        self._fingerprint = fingerprint
        self._held: Recent[tuple[str, str, int], Answer] = Recent(room)
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, query: str, k: int) -> Answer | None:
        found = self._held.get((self._fingerprint, query, k))
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def put(self, query: str, k: int, answer: Answer) -> None:
        """Counted with its documents, although answers may share them: the bound is kept."""
        size = len(query) + sum(map(len, answer.documents)) + sum(map(len, answer.scores))
        self._held.put((self._fingerprint, query, k), answer, size)
