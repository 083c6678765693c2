"""`agentgym-envs retrieval`: index, convert, search, serve and measure.

What goes wrong leaves as the library's exceptions; the command around it makes a line of each.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from agentgym_envs.retrieval.corpus import Corpus, Progress
from agentgym_envs.retrieval.open import Settings, open_retriever
from agentgym_envs.retrieval.serve.client import TOKEN_VARIABLE
from agentgym_envs.retrieval.types import Retriever

if TYPE_CHECKING:
    from agentgym_envs.retrieval.dense.encoder import Encoder
    from agentgym_envs.retrieval.dense.vectors import Vectors
    from agentgym_envs.searchqa.question import Question

app = typer.Typer(no_args_is_help=True, help="Index a corpus, search it, serve it, measure it.")
index_app = typer.Typer(no_args_is_help=True, help="Build an index of a corpus.")
app.add_typer(index_app, name="index")
convert_app = typer.Typer(no_args_is_help=True, help="Turn an index you have into ours.")
app.add_typer(convert_app, name="convert")

ASKED_TOGETHER = 256

CorpusFile = Annotated[Path, typer.Argument(help="A jsonl file of passages.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for the corpus's offsets file; default: beside the corpus."),
]
SearchedIn = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS|SETTINGS",
        help="A jsonl file; or a server's address or a retriever's settings that need no corpus.",
    ),
]
RetrieverOption = Annotated[
    str | None,
    typer.Option(
        "--retriever", help='A kind, settings as JSON, a .json file, an address; default: "bm25".'
    ),
]
Model = Annotated[str, typer.Option(help="An encoder: a folder or a name of the hub.")]
Device = Annotated[str, typer.Option(help="Where the encoder runs: cpu, cuda, ...")]
EncodingOption = Annotated[
    str | None, typer.Option(help='JSON, such as {"query_prefix": ""}; default: by the name.')
]
Forms = Annotated[
    list[str], typer.Option(help="float32, bfloat16 or int8; may be repeated to store several.")
]


@index_app.command("bm25")
def index_bm25(
    corpus: CorpusFile,
    folder: Annotated[Path, typer.Argument(help="Where the index is written.")],
    k1: float = 0.9,
    b: float = 0.4,
    processes: Annotated[int, typer.Option(min=1, help="How many analyse texts.")] = 1,
    cache: Cache = None,
) -> None:
    """BM25 as Lucene scores it. Stopped, the same command goes on; finished, it checks all."""
    from agentgym_envs.retrieval.bm25.build import is_finished
    from agentgym_envs.retrieval.bm25.index import BM25
    from agentgym_envs.retrieval.bm25.retriever import BM25Retriever

    there = is_finished(folder)
    held = _corpus(corpus, cache)
    with _bar("indexing") as progress:
        BM25Retriever.build(held, folder, k1=k1, b=b, processes=processes, progress=progress)
    if there:
        with _waiting("reading all of it"):
            BM25.open(folder, verify=True)
        _unchanged(folder)
    else:
        typer.echo(f"{len(held):,} passages in {folder} ({_size(folder)})")


@index_app.command("e5")
def index_e5(
    corpus: CorpusFile,
    folder: Annotated[Path, typer.Argument(help="Where the vectors are written.")],
    model: Model,
    forms: Forms = ["float32"],  # noqa: B006 (typer reads it and makes a new list)
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="What the encoder computes in.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    encoding: EncodingOption = None,
    cache: Cache = None,
) -> None:
    """Vectors of all passages, by E5 or another encoder. Stopped, the same command goes on;
    finished, it checks all of them."""
    from agentgym_envs.retrieval.dense.build import build_vectors
    from agentgym_envs.retrieval.dense.vectors import MANIFEST

    there = (folder / MANIFEST).is_file()
    held = _corpus(corpus, cache)
    encoder = _encoder(model, encoding, device=device, dtype=dtype, batch_size=batch_size)
    with _bar("encoding") as progress:
        vectors = build_vectors(held, encoder, folder, forms=forms, progress=progress)
    _tell(vectors, folder, there)


@index_app.command("faiss")
def index_faiss(
    corpus: CorpusFile,
    vectors: Annotated[Path, typer.Argument(help="The folder of `index e5` or `convert`.")],
    file: Annotated[Path, typer.Argument(help="The index file to write.")],
    kind: Annotated[
        str | None, typer.Option(help='As faiss reads it: "IVF4096,SQ8", "HNSW32", "Flat".')
    ] = None,
    cache: Cache = None,
) -> None:
    """An index of faiss from vectors; by default IVF with one byte a number. Stopped, it begins
    again; finished, the same command checks all of it."""
    from agentgym_envs.retrieval.dense.faiss_index import build_faiss
    from agentgym_envs.retrieval.dense.vectors import Vectors

    there = file.exists()
    held = Vectors.open(vectors, corpus=_corpus(corpus, cache).fingerprint)
    with _bar("training and adding") as progress:
        build_faiss(held, file, kind, progress=progress)
    if there:
        _unchanged(file)
    else:
        typer.echo(f"{held.count:,} vectors in {file} ({_size(file)})")


@index_app.command("lucene")
def index_lucene(
    corpus: CorpusFile,
    folder: Annotated[Path, typer.Argument(help="Where the index is written.")],
    threads: Annotated[int, typer.Option(min=1)] = 1,
    cache: Cache = None,
) -> None:
    """An index of Lucene's own through pyserini; needs Java. Stopped, it begins again; finished,
    the same command checks all of it."""
    from agentgym_envs.retrieval.lucene.retriever import MANIFEST, build_lucene_index

    there = (folder / MANIFEST).is_file()
    held = _corpus(corpus, cache)
    with _waiting("pyserini indexes"):
        build_lucene_index(held, folder, threads=threads)
    if there:
        _unchanged(folder)
    else:
        typer.echo(f"{len(held):,} passages in {folder} ({_size(folder)})")


@convert_app.command("e5-flat")
def convert_e5_flat(
    index: Annotated[Path, typer.Argument(help="An e5_Flat.index, or another of its kind.")],
    folder: Annotated[Path, typer.Argument(help="Where the vectors are written.")],
    corpus: Annotated[Path, typer.Argument(help="The jsonl file that the index is of.")],
    forms: Forms = ["float32", "int8"],  # noqa: B006 (typer reads it and makes a new list)
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy float32 too, instead of reading it in the index.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="The encoder it was made by, to be held to it later.")
    ] = None,
    encoding: EncodingOption = None,
    cache: Cache = None,
) -> None:
    """Vectors from a flat faiss index, without faiss. Stopped, the same command goes on; finished,
    it checks all of them."""
    from agentgym_envs.retrieval.dense.e5_files import convert_e5_index, read_header
    from agentgym_envs.retrieval.dense.vectors import MANIFEST

    there = (folder / MANIFEST).is_file()
    read_header(index)  # before minutes go into the corpus
    held = _corpus(corpus, cache)
    by = _encoder(model, encoding).fingerprint if model else ""
    with _bar("converting") as progress:
        vectors = convert_e5_index(
            index, folder, held, forms=forms, encoder=by, copy=copy, progress=progress
        )
    _tell(vectors, folder, there)


@app.command()
def search(
    source: SearchedIn,
    query: str,
    k: Annotated[int, typer.Option("-k", help="How many passages.")] = 3,
    retriever: RetrieverOption = None,
    cache: Cache = None,
) -> None:
    """What a retriever finds for a query."""
    [hits] = _opened(source, retriever, cache).search([query], k)
    for rank, hit in enumerate(hits, start=1):
        typer.echo(f"{rank}. {hit.passage.title}  (id {hit.passage.id}, score {hit.score:.4f})")
        for line in hit.passage.text.splitlines():
            typer.echo(f"   {line}")
    if not hits:
        typer.echo("nothing found")


@app.command()
def serve(
    source: SearchedIn,
    retriever: RetrieverOption = None,
    host: Annotated[str, typer.Option(help="Others than loopback need --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar=TOKEN_VARIABLE, help="What clients must bring.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Searches at a time.")] = 1,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="What is taken, as NAME=NUMBER; may be repeated. Of a request: queries, topk, "
            "passages (queries x topk), body (bytes), reading and timeout (seconds); of a query: "
            "characters; of all that waits: queue (queries)."
        ),
    ] = None,
    cache: Cache = None,
) -> None:
    """Answer both dialects of /retrieve over HTTP until stopped (Ctrl-C)."""
    from agentgym_envs.retrieval.serve import server
    from agentgym_envs.retrieval.serve.dialects import Limits
    from agentgym_envs.retrieval.serve.endpoint import Service

    limits = Limits.of(limit or ())
    server.check(host, token)  # before minutes go into opening
    server.serve(
        _opened(source, retriever, cache),
        *(host, port, token),
        limits=limits,
        service=Service(threads=threads),
        on_ready=lambda address: typer.echo(f"retriever at {address} (Ctrl-C stops)"),
    )


@app.command()
def recall(
    questions: Annotated[
        list[Path], typer.Argument(help="Question files or folders, then the corpus.")
    ],
    corpus: CorpusFile,
    retriever: RetrieverOption = None,
    k: Annotated[list[int], typer.Option("--k", min=1)] = [3, 10],  # noqa: B006
    cache: Cache = None,
) -> None:
    """How often a question, searched for as it stands, brings its gold passages.

    any: one of them is among the first k; all: each of them is. Counts of questions in brackets.
    """
    # The command stands above both packages; retrieval itself knows no environment.
    from agentgym_envs.searchqa.datasets import read_questions
    from agentgym_envs.searchqa.evidence import check_gold

    asked = list(read_questions(questions))
    held = _corpus(corpus, cache)
    check_gold(asked, held, at_most=0)  # of another corpus recall would mean nothing
    known = [question for question in asked if question.gold]
    if not known:
        raise ValueError("no question names gold passages (metadata: gold_doc_ids)")
    found = _found(_over(held, retriever), known, max(k))
    sets: dict[str, list[int]] = defaultdict(list)
    for at, question in enumerate(known):
        sets[f"{question.data_source} {question.split}".strip()].append(at)
    table = Table("set", "questions", *(f"{what} @{n}" for what in ("any", "all") for n in k))
    for name, places in sets.items():
        table.add_row(name, *_row([found[at] for at in places], [known[at] for at in places], k))
    # As wide as it must be, also where there is no terminal to fit into.
    Console(width=max(Console().width, 40 + 30 * len(k))).print(table)
    if left := len(asked) - len(known):
        typer.echo(f"{left} of {len(asked)} questions name no gold passage and are left out")


def _row(found: Sequence[Any], asked: Sequence["Question"], ks: Sequence[int]) -> list[str]:
    from agentgym_envs.retrieval.recall import gold_recall

    counts = [gold_recall(found, [question.gold for question in asked], k) for k in ks]
    reached = [count.any for count in counts] + [count.all for count in counts]
    return [str(len(asked)), *(f"{one / len(asked):.3f} ({one})" for one in reached)]


def _found(retriever: Retriever, asked: Sequence["Question"], k: int) -> list[Any]:
    texts = [question.question for question in asked]
    with _bar("searching") as progress:
        found = []
        for first in range(0, len(texts), ASKED_TOGETHER):
            found += retriever.search(texts[first : first + ASKED_TOGETHER], k)
            progress(len(found), len(texts))
    return found


# -- opening things


def _corpus(path: Path, cache: Path | None) -> Corpus:
    with _bar("reading the corpus", transient=True) as progress:
        return Corpus.open(path, cache=cache, progress=progress)


def _opened(source: str, retriever: str | None, cache: Path | None) -> Retriever:
    if source.startswith(("{", "http://", "https://")) or source.endswith(".json"):
        if retriever is not None:
            raise ValueError("two retrievers are given: name the corpus first, or only settings")
        return _over(None, source)
    return _over(_corpus(Path(source), cache), retriever)


def _over(corpus: Corpus | None, retriever: str | None) -> Retriever:
    settings = _settings(retriever or "bm25")
    with _waiting("opening the retriever"):
        return open_retriever(settings, corpus)


def _settings(text: str) -> Settings:
    """A kind, an address, a table as JSON, or a .json file that holds one."""
    where = "the settings"
    if text.endswith(".json"):
        where, text = text, Path(text).read_text(encoding="utf-8")
    elif not text.startswith("{"):
        return text
    return _table(text, where)


def _table(text: str, where: str) -> Mapping[str, Any]:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: a JSON object is expected, got {text:.40}")
    return table


def _encoder(model: str, encoding: str | None, **settings: Any) -> "Encoder":
    from agentgym_envs.retrieval.dense.encoder import Encoder, Encoding

    given = _table(encoding, "--encoding") if encoding else {}
    with _waiting(f"loading {model}"):
        return Encoder(model, Encoding.for_model(model, **given), **settings)


# -- showing things


@contextmanager
def _bar(what: str, *, transient: bool = False) -> Iterator[Progress]:
    with Bars(console=Console(stderr=True), transient=transient) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    with Console(stderr=True).status(what):
        yield


def _tell(vectors: "Vectors", folder: Path, there: bool) -> None:
    if there:
        with _bar("reading all of it") as progress:
            vectors.check(progress)
        _unchanged(folder)
    else:
        shown = ", ".join(vectors.manifest.forms)
        typer.echo(f"{vectors.count:,} vectors ({shown}) in {folder} ({_size(folder)})")


def _unchanged(place: Path) -> None:
    typer.echo(f"{place} is there already; every byte is as it was written")


def _size(place: Path) -> str:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:,.1f} MB"
