"""A corpus: passages numbered from 0, on disk or in memory, named by what they say."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from os import PathLike

from agentgym_envs.retrieval.types import Passage

# Called now and then with what is done and what there is to do (bytes or rows).
Progress = Callable[[int, int], None]


class Corpus(ABC):
    """Passages numbered from 0 in a fixed order. Never changes; safe to share between threads."""

    @staticmethod
    def open(
        path: str | PathLike[str],
        *,
        cache: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> "Corpus":
        """The corpus of a jsonl file, memory-mapped: only the passages that are read take memory.

        A line is an object with `id` and `contents`, or `id`, `title` and `text` (contents is then
        the title in double quotes, a newline, the text). The first opening reads the whole file
        and writes an offsets file beside it, or into the folder `cache`; later ones are instant.
        A file that changed is read anew. progress: told the bytes read and the bytes in all.
        Pickles as its path.

        Raises FileNotFoundError, PermissionError where the offsets file cannot be written, and
        ValueError naming the line that is malformed or repeats an id.
        """
        from agentgym_envs.retrieval.corpus_file import FileCorpus

        return FileCorpus(path, cache=cache, progress=progress)

    @staticmethod
    def of(passages: Iterable[Passage]) -> "Corpus":
        """The corpus of these passages, in memory. Raises ValueError where an id comes twice."""
        return HeldCorpus(passages)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of all ids and contents in order, however they are stored."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def passage(self, number: int) -> Passage:
        """The passage of that number. Raises IndexError outside 0 to len - 1."""

    @abstractmethod
    def number_of(self, id: str) -> int:
        """The number of the passage with that id. Raises KeyError."""

    def passages(self, ids: Iterable[str]) -> list[Passage]:
        """The passages with these ids, in their order. Raises KeyError."""
        return [self.passage(self.number_of(id)) for id in ids]

    def __iter__(self) -> Iterator[Passage]:
        return (self.passage(number) for number in range(len(self)))

    def _checked(self, number: int) -> int:
        if not 0 <= number < len(self):
            raise IndexError(f"no passage {number}: the corpus has {len(self)}, numbered from 0")
        return number


class HeldCorpus(Corpus):
    """A corpus in memory. Make it with `Corpus.of`."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._passages = tuple(passages)
        self._numbers = {passage.id: i for i, passage in enumerate(self._passages)}
        if len(self._numbers) < len(self._passages):
            seen: set[str] = set()
            # add() gives None: the first id that is already there is the repeated one
            twice = next(p.id for p in self._passages if p.id in seen or seen.add(p.id))
            raise ValueError(f"two passages have the id {twice!r}: ids must differ")
        named = ContentHash()
        for passage in self._passages:
            named.add(passage)
        self._fingerprint = named.hexdigest()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._passages)

    def passage(self, number: int) -> Passage:
        return self._passages[self._checked(number)]

    def number_of(self, id: str) -> int:
        if id not in self._numbers:
            raise KeyError(f"no passage has the id {id!r}")
        return self._numbers[id]


class ContentHash:
    """sha256 over passages: the byte lengths of id and contents, then both in UTF-8."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, passage: Passage) -> None:
        """Raises UnicodeEncodeError where the text has half of a surrogate pair."""
        id, contents = passage.id.encode(), passage.contents.encode()
        self._sha.update(b"%d %d " % (len(id), len(contents)) + id + contents)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()
