"""A retriever from settings: a name, an address, or a table as a TOML file has it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from agentgym_envs.addresses import named
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.types import Retriever

Settings = str | Mapping[str, Any]


class CorpusNeeded(ValueError):
    """A retriever has no passages of its own, and no corpus was given."""


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

    lucene and http can do without a corpus. A kind of your own is an import path,
    "package.module:make", called as make(corpus, **settings).

    Raises ValueError for an unknown kind or setting, naming the nearest known one, and for a
    setting that is missing or of the wrong type; CorpusNeeded; else what the kind raises.
    """
    kind, given, make, ours = _described(settings)
    if corpus is None and kind in _NEED_CORPUS:
        raise CorpusNeeded(f"retriever {kind!r} needs a corpus")
    return make(corpus, **given) if ours else make(**given)


def passages_come_along(settings: Settings) -> bool:
    """Whether a retriever's passages come with its answers: no corpus makes a difference.

    Raises ValueError for settings that `open_retriever` would refuse.
    """
    return _described(settings)[0] == "http"


def _described(
    settings: Settings,
) -> tuple[str, dict[str, Any], Callable[..., Retriever], tuple[str, ...]]:
    """The kind of retriever, its settings, what makes it, and which arguments are no settings."""
    kind, given = _named(settings)
    make, ours = _maker(kind)
    _check_settings(f"retriever {kind!r}", make, given, ours=ours)
    return kind, given, make, ours


def _named(settings: Settings) -> tuple[str, dict[str, Any]]:
    """The kind of retriever, and its settings."""
    if isinstance(settings, str):
        remote = settings.startswith(("http://", "https://"))
        settings = {"kind": "http", "url": settings} if remote else {"kind": settings}
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"a retriever is a kind, an address or a table of settings, got {settings!r:.60}; "
            "your own: 'package.module:make'"
        )
    given = dict(settings)
    kind = given.pop("kind", None)
    if kind is None:
        raise ValueError(f"a retriever's settings need `kind`: one of {', '.join(KINDS)}")
    if not isinstance(kind, str):
        raise ValueError(f"a retriever's `kind` is a text, got {kind!r:.60}")
    return kind, given


def _maker(kind: str) -> tuple[Callable[..., Retriever], tuple[str, ...]]:
    """What makes a retriever of this kind, and which of its arguments are no settings."""
    if kind not in KINDS and ":" not in kind:
        raise ValueError(
            f"no kind of retriever {kind!r}: {_nearest(kind, KINDS)}; your own: "
            "'package.module:make'"
        )
    make = KINDS.get(kind, kind)
    if isinstance(make, str):
        make = named(make, "the kind of retriever")
    return make, () if kind == "http" else tuple(signature(make).parameters)[:1]


def _bm25(
    corpus: Corpus,
    *,
    folder: str | Path | None = None,
    k1: float = 0.9,
    b: float = 0.4,
    processes: int = 1,
    engine: Literal["auto", "numpy", "numba"] = "auto",
) -> Retriever:
    from agentgym_envs.retrieval.bm25.retriever import BM25Retriever

    return BM25Retriever.build(corpus, folder, k1=k1, b=b, processes=processes, engine=engine)


def _e5(
    corpus: Corpus,
    *,
    model: str | Path,
    vectors: str | Path,
    first: str = "bfloat16",
    rescore: int | None = None,
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
    model: str | Path,
    index: str | Path,
    vectors: str | Path | None = None,
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
    index: str | Path,
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


# By name; an import path where the kind is a module of its own.
KINDS: Mapping[str, Callable[..., Retriever] | str] = {
    "bm25": _bm25,
    "e5": _e5,
    "faiss": _faiss,
    "lucene": _lucene,
    "hybrid": _hybrid,
    "http": "agentgym_envs.retrieval.serve.client:HTTPRetriever",
}
_NEED_CORPUS = ("bm25", "e5", "faiss")


def _encoder(model: str | Path, device: str, dtype: str, encoding: Mapping[str, Any] | None) -> Any:
    from agentgym_envs.retrieval.dense.encoder import Encoder, Encoding

    given = dict(encoding or {})
    _check_settings("`encoding`", Encoding.for_model, given, ours=("model",))
    shape = Encoding.for_model(str(model), **given)
    return Encoder(model, shape, device=device, dtype=dtype)


def _check_settings(
    what: str, make: Callable[..., Any], given: Mapping[str, Any], ours: Sequence[str] = ()
) -> None:
    """Raises ValueError for a setting that `make` does not take, one of another type than it says,
    or one that it cannot do without.

    ours: arguments that are not settings.
    """
    known = {name: value for name, value in signature(make).parameters.items() if name not in ours}
    open_ended = any(value.kind is Parameter.VAR_KEYWORD for value in known.values())
    for name, value in given.items():
        if name in known:
            _check_type(f"{what}: {name}", value, known[name].annotation)
        elif not open_ended:
            raise ValueError(f"{what} has no setting {name!r}: {_nearest(name, known)}")
    missing = [
        name
        for name, value in known.items()
        if value.default is Parameter.empty
        and value.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
        and name not in given
    ]
    if missing:
        raise ValueError(f"{what} needs `{'`, `'.join(missing)}`")


def _check_type(what: str, value: object, wanted: Any) -> None:
    """Raises ValueError where a plain annotation (`float`, `str | None`) is not kept."""
    plain = wanted.__args__ if isinstance(wanted, UnionType) else (wanted,)
    if not all(isinstance(one, type) for one in plain) or Parameter.empty in plain:
        return
    taken = (*plain, int) if float in plain else plain
    if not isinstance(value, taken) or (isinstance(value, bool) and bool not in plain):
        names = " or ".join(_NAMES.get(one) or one.__name__ for one in plain)
        raise ValueError(f"{what} is {names}, got {value!r:.60}")


_NAMES: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    Path: "a path",
}


def _nearest(name: object, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
