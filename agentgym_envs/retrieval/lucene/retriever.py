"""BM25 by Lucene itself, through pyserini: the reference to compare with. Needs Java.

`agentgym.json` in an index that was built here, which Lucene leaves alone, says which corpus it is
of and what its files are. An index from elsewhere has none: only its count can be checked.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.corpus_file import parse_line
from agentgym_envs.retrieval.disk import Seal, locked, put, write_whole
from agentgym_envs.retrieval.lucene.java import check_java, lucene_searcher, placeholder_key
from agentgym_envs.retrieval.needs import needed
from agentgym_envs.retrieval.types import Hit, Passage, RetrievalError

MANIFEST = "agentgym.json"


class LuceneRetriever:
    """An index folder of Lucene. Safe to share between threads, which take turns."""

    def __init__(
        self,
        index: str | PathLike[str],
        corpus: Corpus | None = None,
        *,
        prebuilt: bool = False,
        k1: float = 0.9,
        b: float = 0.4,
        threads: int = 1,
    ) -> None:
        """index: a folder, or with `prebuilt` a name that pyserini knows and downloads.

        corpus: where passages are read; None: the texts that the index stores. threads: of Java,
        for several queries at once.
        Raises what `java.lucene_searcher` raises, FileNotFoundError, and ValueError for an
        unknown name, a damaged index or one of another corpus.
        """
        if threads < 1:
            raise ValueError(f"threads should be at least 1, got {threads}")
        if not prebuilt and not list(Path(index).glob("segments_*")):
            raise FileNotFoundError(
                f"no Lucene index in {index}: make one with build_lucene_index, or set prebuilt "
                "for a name of pyserini's"
            )
        if not prebuilt:
            _check(Path(index), corpus)
        searcher = lucene_searcher()
        self._java_error: type[Exception] = needed("jnius").JavaException
        self._searcher = _opened(searcher, str(index), prebuilt)
        if corpus is not None and self._searcher.num_docs != len(corpus):
            raise ValueError(
                f"the index {index} has {self._searcher.num_docs:,} documents and the corpus "
                f"{len(corpus):,} passages: it belongs to another corpus"
            )
        self._searcher.set_bm25(k1, b)
        self._corpus, self._threads = corpus, threads
        self._lock = threading.Lock()
        said = [str(index)] if prebuilt else _segments(Path(index))
        said += [repr(k1), repr(b), "" if corpus is None else corpus.fingerprint]
        self._fingerprint = hashlib.sha256(repr(("lucene", *said)).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query. Raises RetrievalError."""
        return [
            [Hit(self._passage(id), score) for id, score in zip(*found, strict=True)]
            for found in self.search_ids(queries, k)
        ]

    def search_ids(
        self, queries: Sequence[str], k: int
    ) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
        """Ids and scores of the best `k` documents of each query. Raises RetrievalError."""
        if k < 1:
            raise ValueError(f"k should be at least 1, got {k}")
        if not queries:
            return []
        names = [str(i) for i in range(len(queries))]
        try:
            with self._lock:
                if len(queries) == 1:
                    answers = {"0": self._searcher.search(queries[0], k)}
                else:
                    answers = self._searcher.batch_search(
                        list(queries), names, k=k, threads=self._threads
                    )
        except self._java_error as error:
            raise RetrievalError(f"Lucene could not answer: {error}") from error
        return [
            (
                tuple(hit.docid for hit in answers[name]),
                tuple(float(hit.score) for hit in answers[name]),
            )
            for name in names
        ]

    def _passage(self, id: str) -> Passage:
        if self._corpus is not None:
            return self._corpus.passage(self._corpus.number_of(id))
        with self._lock:
            document = self._searcher.doc(id)
            raw = None if document is None else document.raw()
        if not raw:
            raise RetrievalError(
                f"the index stores no text of document {id!r}: open it with its corpus"
            )
        return parse_line(raw.encode())


def build_lucene_index(
    corpus: Corpus, folder: str | PathLike[str], *, threads: int = 1, store_text: bool = True
) -> None:
    """Index the contents of all passages with pyserini's own command, in a process of its own.

    An index that is there already is compared with what was written, to the last byte, and left as
    it is; a build that was stopped begins again. store_text: keep the passages in the index, which
    then needs no corpus beside it.
    Raises what `java.lucene_searcher` raises, FileExistsError for a folder of other things,
    ValueError for an index that is damaged or of another corpus, and RetrievalError with what the
    command said last where it fails.
    """
    folder = Path(folder)
    if not _is_taken(folder):
        check_java()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not _is_taken(folder):  # still, after waiting
                _make(corpus, folder, threads, store_text)
                return
    if not (folder / MANIFEST).is_file():
        raise FileExistsError(f"{folder} is not empty: an index needs a folder of its own")
    _check(folder, corpus, whole=True)


def _is_taken(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _make(corpus: Corpus, folder: Path, threads: int, store_text: bool) -> None:
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    _index(corpus, draft, threads, store_text)
    files = {path.name: asdict(Seal.of(path)) for path in sorted(draft.iterdir())}
    said = {"corpus": corpus.fingerprint, "files": files}
    write_whole(draft / MANIFEST, json.dumps(said, indent=1))
    put(draft, folder)


def _index(corpus: Corpus, folder: Path, threads: int, store_text: bool) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as lines, placeholder_key() as environment:
        with (Path(lines) / "passages.jsonl").open("w", encoding="utf-8") as file:
            for passage in corpus:
                file.write(json.dumps({"id": passage.id, "contents": passage.contents}) + "\n")
        command = [sys.executable, "-m", "pyserini.index.lucene"]
        command += ["--collection", "JsonCollection", "--input", lines, "--index", str(folder)]
        command += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", str(threads)]
        command += ["--storeRaw"] if store_text else []
        ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ran.returncode or not _segments_file(folder):
        said = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-8:])
        raise RetrievalError(f"pyserini could not index into {folder}; it said:\n{said}")


def _check(folder: Path, corpus: Corpus | None, *, whole: bool = False) -> None:
    """Raises ValueError where an index that was built here is damaged or of another corpus."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    said = json.loads(manifest.read_text(encoding="utf-8"))
    if corpus is not None and said["corpus"] != corpus.fingerprint:
        raise ValueError(
            f"the index in {folder} is of corpus {said['corpus'][:12]}, not of "
            f"{corpus.fingerprint[:12]}: build one of this corpus in another folder"
        )
    for name, seal in said["files"].items():
        Seal(**seal).check(folder / name, whole=whole)


def _opened(searcher: Any, index: str, prebuilt: bool) -> Any:
    if not prebuilt:
        return searcher(index)
    opened = searcher.from_prebuilt_index(index)
    if opened is None:  # pyserini prints this and goes on
        raise ValueError(f"pyserini knows no prebuilt index {index!r}")
    return opened


def _segments_file(folder: Path) -> Path | None:
    return max(folder.glob("segments_*"), default=None)


def _segments(folder: Path) -> list[str]:
    """Lucene's own list of what belongs to the index, which has an id of its making in it."""
    path = _segments_file(folder)
    return [] if path is None else [hashlib.sha256(path.read_bytes()).hexdigest()]
