"""A retriever from settings: a name, an address, or a table as a TOML file has it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, signature
from math import isclose
from pathlib import Path
from typing import Any, Literal

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.types import Retriever

Settings = str | Mapping[str, Any]


def open_retriever(settings: Settings, corpus: Corpus | None = None) -> Retriever:
    """The retriever that the settings describe, over this corpus.

    A text is a kind without settings ("bm25"), or the address of a server ("http://host:8000").
    A table has `kind` and the settings of that kind:

        bm25    folder (a saved index, made there if it is missing; none: in memory), k1, b, ...
        e5      model, vectors (a folder made by `build_vectors` or `convert_e5_index`), first, ...
        faiss   model, index (a file), vectors, search, ...
        lucene  index, k1, b, ...
        hybrid  retrievers (a list of settings), depth
        http    url and the other arguments of `serve.client.HTTPRetriever`

    lucene and http can do without a corpus.
    Raises ValueError for an unknown kind or setting, naming the nearest known one, and for one
    that is missing; else what the kind raises.
    """
    if isinstance(settings, str):
        remote = settings.startswith(("http://", "https://"))
        settings = {"kind": "http", "url": settings} if remote else {"kind": settings}
    given = dict(settings)
    kind = given.pop("kind", None)
    if kind is None:
        raise ValueError(f"a retriever's settings need `kind`: one of {', '.join(KINDS)}")
    if kind not in KINDS:
        raise ValueError(f"no kind of retriever {kind!r}: {_nearest(kind, KINDS)}")
    if kind == "http":
        return _http(given)
    _check_names(f"retriever {kind!r}", KINDS[kind], given, ours=("corpus",))
    if corpus is None and kind not in ("lucene", "hybrid"):
        raise ValueError(f"retriever {kind!r} needs a corpus")
    return KINDS[kind](corpus, **given)


def _bm25(
    corpus: Corpus,
    *,
    folder: str | None = None,
    k1: float = 0.9,
    b: float = 0.4,
    processes: int = 1,
    engine: Literal["auto", "numpy", "numba"] = "auto",
) -> Retriever:
    from agentgym_envs.retrieval.bm25.files import MANIFEST
    from agentgym_envs.retrieval.bm25.index import BM25
    from agentgym_envs.retrieval.bm25.retriever import BM25Retriever

    if folder is None or not (Path(folder) / MANIFEST).is_file():
        return BM25Retriever.build(corpus, folder, k1=k1, b=b, processes=processes, engine=engine)
    index = BM25.open(folder, corpus=corpus.fingerprint, engine=engine)
    for name, found, wanted in zip(("k1", "b"), index.constants, (k1, b), strict=True):
        if not isclose(found, wanted, rel_tol=1e-6):
            raise ValueError(
                f"the index in {folder} has {name} = {found:g}, not {wanted:g}: set {name} to "
                "that, or build into another folder"
            )
    return BM25Retriever(corpus, index)


def _e5(
    corpus: Corpus,
    *,
    model: str,
    vectors: str,
    first: str = "bfloat16",
    rescore: int = 32,
    device: str = "cpu",
    dtype: str = "float32",
    encoding: Mapping[str, Any] | None = None,
) -> Retriever:
    """device is the vectors' and the encoder's; dtype the encoder's; encoding: `Encoding`."""
    from agentgym_envs.retrieval.dense.flat import FlatIndex
    from agentgym_envs.retrieval.dense.retriever import DenseRetriever
    from agentgym_envs.retrieval.dense.vectors import Vectors

    encoder = _encoder(model, device, dtype, encoding)
    held = Vectors.open(vectors, corpus=corpus.fingerprint, encoder=encoder.fingerprint)
    index = FlatIndex(held, first=first, rescore=rescore, device=device)
    return DenseRetriever(corpus, encoder, index)


def _faiss(
    corpus: Corpus,
    *,
    model: str,
    index: str,
    vectors: str | None = None,
    search: Mapping[str, int] | None = None,
    mapped: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    encoding: Mapping[str, Any] | None = None,
) -> Retriever:
    """vectors: the folder that the index was built from, to check that it was; device: encoder's"""
    from agentgym_envs.retrieval.dense.faiss_index import FaissIndex
    from agentgym_envs.retrieval.dense.retriever import DenseRetriever
    from agentgym_envs.retrieval.dense.vectors import Vectors

    encoder = _encoder(model, device, dtype, encoding)
    named = None
    if vectors is not None:
        held = Vectors.open(vectors, corpus=corpus.fingerprint, encoder=encoder.fingerprint)
        named = held.fingerprint
    opened = FaissIndex(
        index,
        count=len(corpus),
        dimension=encoder.dimension,
        vectors=named,
        search=search,
        mapped=mapped,
    )
    return DenseRetriever(corpus, encoder, opened)


def _lucene(
    corpus: Corpus | None,
    *,
    index: str,
    prebuilt: bool = False,
    k1: float = 0.9,
    b: float = 0.4,
    threads: int = 1,
) -> Retriever:
    from agentgym_envs.retrieval.lucene.retriever import LuceneRetriever

    return LuceneRetriever(index, corpus, prebuilt=prebuilt, k1=k1, b=b, threads=threads)


def _hybrid(
    corpus: Corpus | None, *, retrievers: Sequence[Settings], depth: int = 100
) -> Retriever:
    from agentgym_envs.retrieval.hybrid import HybridRetriever

    if isinstance(retrievers, str | Mapping):
        raise ValueError("retriever 'hybrid': `retrievers` is a list of settings")
    return HybridRetriever([open_retriever(one, corpus) for one in retrievers], depth=depth)


def _http(given: Mapping[str, Any]) -> Retriever:
    """The passages come with the answers; the client's arguments are its settings."""
    make = import_module("agentgym_envs.retrieval.serve.client").HTTPRetriever
    _check_names("retriever 'http'", make, given)
    return make(**given)


KINDS: Mapping[str, Callable[..., Retriever]] = {
    "bm25": _bm25,
    "e5": _e5,
    "faiss": _faiss,
    "lucene": _lucene,
    "hybrid": _hybrid,
    "http": _http,
}


def _encoder(model: str, device: str, dtype: str, encoding: Mapping[str, Any] | None) -> Any:
    from agentgym_envs.retrieval.dense.encoder import Encoder, Encoding

    given = dict(encoding or {})
    _check_names("`encoding`", Encoding.for_model, given, ours=("model",))
    return Encoder(model, Encoding.for_model(model, **given), device=device, dtype=dtype)


def _check_names(
    what: str, make: Callable[..., Any], given: Mapping[str, Any], ours: Sequence[str] = ()
) -> None:
    """Raises ValueError for a setting that `make` does not take, or one that it cannot do without.

    ours: arguments that are not settings.
    """
    known = {name: value for name, value in signature(make).parameters.items() if name not in ours}
    for name in given:
        if name not in known:
            raise ValueError(f"{what} has no setting {name!r}: {_nearest(name, known)}")
    missing = [
        name
        for name, value in known.items()
        if value.default is Parameter.empty and name not in given
    ]
    if missing:
        raise ValueError(f"{what} needs `{'`, `'.join(missing)}`")


def _nearest(name: object, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
