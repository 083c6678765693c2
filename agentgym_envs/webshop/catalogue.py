"""All products of a shop: looked up, searched and listed. Nothing in it ever changes."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from agentgym_envs.retrieval.bm25.index import BM25
from agentgym_envs.webshop.assemble import assemble, from_record, index_products, part_of
from agentgym_envs.webshop.cleaning import index_text
from agentgym_envs.webshop.loader import Rows, find_files, is_official, read_files
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.records import Records, TextKeys
from agentgym_envs.webshop.store import Store, read_store, write_store

FOUND = 50  # products a search finds, at most
_KEPT_PRODUCTS = 4096  # decoded; about 7 kB each
_KEPT_QUERIES = 4096  # about 4 kB each

GoalKind = Literal["synthetic", "human"]
KINDS: tuple[GoalKind, ...] = ("synthetic", "human")


class Catalogue:
    """The products of one shop, for all environments of a process.

    Made by `load` (official folder or saved store) or `build` (rows); `open_catalogue` shares one.
    Products are decoded when asked for; recent ones and recent searches are kept. The index of a
    catalogue that was not read from a store is built at the first search. Safe to share between
    threads; pickles as its path where it has one.

    `asins`: in load order. `fingerprint`: sha256 of all content, the same however it is stored.
    `inputs`: file name -> sha256 of the official files it was made from. `nouns`: title -> nouns
    of the stored noun table, None where there is none.
    """

    def __init__(self, store: Store, path: Path | None) -> None:
        """Use `load`, `build` or `open_catalogue`. path: what pickling writes down."""
        self.path = path
        self.fingerprint = store.fingerprint
        self.inputs: Mapping[str, str] = dict(store.inputs)
        self._arrays = store.arrays
        self._owner = str(path) if path else "catalogue"
        self.asins: Sequence[str] = Asins(self._arrays["asins"])
        self.prices = self._arrays["prices"]
        self._records = self._part("products")
        self._spoken = {kind: self._part(kind) for kind in KINDS}
        self._numbers = {}
        for name, listed in zip(("categories", "queries"), self._part("names"), strict=True):
            self._numbers[name] = {text: number for number, text in enumerate(listed)}
        self.nouns: Mapping[str, tuple[str, ...]] | None = None
        if "noun_hashes" in self._arrays:
            self.nouns = TextKeys(self._part("nouns"), self._arrays["noun_hashes"])
        index = part_of(self._arrays, "index")
        self._index = BM25.from_arrays(index) if index else None
        self._lock = threading.Lock()
        self._product = lru_cache(_KEPT_PRODUCTS)(self._decode)
        self._found = lru_cache(_KEPT_QUERIES)(self._look_up)

    @classmethod
    def load(cls, path: str | Path) -> "Catalogue":
        """Read a folder with the official files, its product file, or a saved store.

        Official files are read product by product; beyond 64 MB, what is kept of them goes to a
        temporary file (`TMPDIR` says where; about 3 GB for the full set).
        Raises FileNotFoundError naming the missing file, ValueError naming what is malformed.
        """
        path = Path(path).expanduser().absolute()
        if not path.exists():
            raise FileNotFoundError(f"no WebShop catalogue: {path} does not exist")
        if not is_official(path):
            return cls(read_store(path), path)
        return cls(_assembled(read_files(find_files(path))), path)

    @classmethod
    def build(
        cls,
        products: Iterable[Mapping[str, Any]],
        attributes: Mapping[str, Mapping[str, Any]],
        human: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        nouns: Mapping[str, Sequence[str]] | None = None,
    ) -> "Catalogue":
        """Make a catalogue from rows in the official layout.

        products: in load order. attributes: asin -> attributes and, where there is a synthetic
        goal, instruction and instruction_attributes. human: asin -> instructions. nouns: title ->
        nouns. Raises ValueError naming the row, its asin and what is wrong.
        """
        rows = Rows(products=products, attributes=attributes, human=human, nouns=nouns)
        return cls(_assembled(rows), None)

    def save(self, path: str | Path) -> None:
        """Write everything, the index too, to one file; it appears whole or not at all.

        Raises FileNotFoundError where the folder is missing.
        """
        index = {f"index/{name}": values for name, values in self.index.arrays().items()}
        write_store(
            Path(path).expanduser().absolute(),
            Store(
                arrays=self._arrays | index, fingerprint=self.fingerprint, inputs=dict(self.inputs)
            ),
        )

    def __len__(self) -> int:
        return len(self.asins)

    def __contains__(self, asin: object) -> bool:
        return self._row(asin) is not None

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} products, {self.fingerprint[:12]}, path={self.path})"

    def __reduce__(self):
        if self.path is not None:
            return _reopen, (self.path, self.fingerprint)
        store = Store(arrays=self._arrays, fingerprint=self.fingerprint, inputs=dict(self.inputs))
        return Catalogue, (store, None)

    def product(self, asin: str) -> Product:
        """The product of that id. Raises KeyError."""
        return self._product(asin)

    def row(self, asin: str) -> int:
        """Its place in load order. Raises KeyError."""
        row = self._row(asin)
        if row is None:
            raise KeyError(f"no product {asin!r} among the {len(self)} of this catalogue")
        return row

    def search(self, query: str, k: int = FOUND) -> tuple[str, ...]:
        """Asins of the k best products, best first, in the order of the official search engine."""
        return self._found(query, k)

    def by_category(self, name: str) -> tuple[str, ...]:
        """Asins of a category, in load order; none for an unknown one."""
        return self._listed("categories", name)

    def by_query(self, name: str) -> tuple[str, ...]:
        """Asins whose `query` is name, in load order; none for an unknown one."""
        return self._listed("queries", name)

    def instructions(self, kind: GoalKind) -> Sequence[Any]:
        """What customers of a kind ask for, in load order; decoded when read.

        synthetic: [row, instruction, attributes, number of goals]; human: [row, instruction,
        attributes, option values]. Raises ValueError naming the known kinds.
        """
        if kind not in self._spoken:
            raise ValueError(f"no goals of kind {kind!r}; there are: {', '.join(KINDS)}")
        return self._spoken[kind]

    @property
    def index(self) -> BM25:
        """The search index; document numbers follow ascending asins. Built where there is none."""
        with self._lock:
            if self._index is None:
                products = index_products(self._arrays)
                self._index = BM25.build(index_text(product) for product in products)
            return self._index

    def _part(self, name: str) -> Records:
        return Records(part_of(self._arrays, name), self._owner)

    def _row(self, asin: object) -> int | None:
        asins, by_asin = self._arrays["asins"], self._arrays["by_asin"]
        raw = asin.encode("utf-8", "replace") if isinstance(asin, str) else b""
        # A longer key would make numpy copy the whole array to a wider type.
        if not raw or len(raw) > asins.itemsize:
            return None
        place = int(np.searchsorted(asins, np.array(raw, asins.dtype), sorter=by_asin))
        if place == len(asins) or asins[by_asin[place]] != raw:
            return None
        return int(by_asin[place])

    def _decode(self, asin: str) -> Product:
        return from_record(self._records[self.row(asin)])

    def _look_up(self, query: str, k: int) -> tuple[str, ...]:
        documents, _ = self.index.search_one(query, k)
        return self._named(self._arrays["by_asin"][documents])

    def _listed(self, column: str, name: str) -> tuple[str, ...]:
        number = self._numbers[column].get(name)
        if number is None:
            return ()
        return self._named(np.flatnonzero(self._arrays[column] == number))

    def _named(self, rows: np.ndarray) -> tuple[str, ...]:
        return tuple([raw.decode() for raw in self._arrays["asins"][rows].tolist()])


class Asins(Sequence[str]):
    """The ids in load order, as texts; kept as bytes."""

    def __init__(self, raw: np.ndarray) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [raw.decode() for raw in self._raw[index].tolist()]
        return self._raw[index].decode()

    def __iter__(self) -> Iterator[str]:
        return (raw.decode() for raw in self._raw.tolist())


def open_catalogue(path: str | Path) -> Catalogue:
    """`Catalogue.load`, once per process and path: everyone who asks gets the same object.

    A file that changes later is not read again.
    """
    with _OPENING:
        return _shared(Path(path).expanduser().absolute())


_OPENING = threading.Lock()


@lru_cache(maxsize=16)
def _shared(path: Path) -> Catalogue:
    return Catalogue.load(path)


def _reopen(path: Path, fingerprint: str) -> Catalogue:
    catalogue = open_catalogue(path)
    if catalogue.fingerprint != fingerprint:
        raise ValueError(f"{path} has changed since this catalogue was pickled")
    return catalogue


def _assembled(rows: Rows) -> Store:
    arrays, fingerprint = assemble(rows)
    return Store(arrays=arrays, fingerprint=fingerprint, inputs=rows.checksums())
