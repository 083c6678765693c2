"""How fast is BM25, how long does it take to build and open, and does it agree with Lucene?

    python benchmarks/bm25_speed.py                      # 100,000 made-up passages
    python benchmarks/bm25_speed.py --passages 1000000
    python benchmarks/bm25_speed.py --numbers 21000000   # term numbers in place of text
    python benchmarks/bm25_speed.py --pyserini-python PATH   # a Python that has pyserini and Java
    python benchmarks/bm25_speed.py --questions FOLDER   # a corpus.jsonl and question files
    python benchmarks/bm25_speed.py --write              # put the table in RESULTS.md

Every engine answers the same queries on the same corpus, one at a time in one thread; rates count
CPU-seconds of the process, so that other work on the machine disturbs little.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from bm25_corpus import passages, queries, term_ids
from results import RESULTS, processor, write_section

from agentgym_envs.retrieval.bm25.build import room_in
from agentgym_envs.retrieval.bm25.chunks import Chunk, inverted
from agentgym_envs.retrieval.bm25.files import read_arrays, write_arrays
from agentgym_envs.retrieval.bm25.index import BM25
from agentgym_envs.retrieval.bm25.merge import merged

SEED = 7
VOCABULARY = 2_000_000
Found = list[list[tuple[int, float]]]


@dataclass(frozen=True)
class Row:
    """What one engine did. Times in seconds, memory in MiB."""

    engine: str
    build: float
    open: float
    rate: float
    times: Sequence[float]
    resident: float
    found: Found

    def line(self, reference: Found) -> str:
        p50, p99 = (1e3 * float(np.quantile(self.times, at)) for at in (0.5, 0.99))
        return (
            f"| {self.engine} | {self.rate:,.0f} | {p50:.3f} | {p99:.2f} | {self.build:.1f} "
            f"| {self.open:.3f} | {self.resident:,.0f} | {overlap(self.found, reference):.4f} "
            f"| {apart(self.found, reference):.1e} |"
        )


def overlap(found: Found, reference: Found) -> float:
    """Share of the reference's documents that are found too, mean over queries with any."""
    shares = [
        len({number for number, _ in ours} & {number for number, _ in theirs}) / len(theirs)
        for ours, theirs in zip(found, reference, strict=True)
        if theirs
    ]
    return float(np.mean(shares))


def apart(found: Found, reference: Found) -> float:
    """The largest difference of scores at the same place of two lists."""
    pairs = (zip(a, b, strict=False) for a, b in zip(found, reference, strict=True))
    return max((abs(a - b) for pair in pairs for (_, a), (_, b) in pair), default=0.0)


def resident() -> float:
    """Memory this process holds now, MiB; the peak where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def ours(folder: Path, engine: str, asked: Path, k: int) -> Row:
    """An engine in a process of its own, so that its memory is its own."""
    command = [sys.executable, __file__, "--search", str(folder), engine, str(asked), str(k)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Row(engine=f"ours, {engine}", build=0.0, **answer)


def search(folder: Path, engine: str, asked: Path, k: int) -> None:
    """The other end of `ours`: print what was measured."""
    questions = json.loads(asked.read_text())
    start = perf_counter()
    index = BM25.open(folder, engine=engine)  # pyright: ignore[reportArgumentType]
    opened = perf_counter() - start
    ask = index.search_one if isinstance(questions[0], str) else index.search_terms
    for question in questions:
        ask(question, k)
    # The second round counts, as for the others.
    times, found, begun = [], [], process_time()
    for question in questions:
        start = perf_counter()
        found.append(ask(question, k))
        times.append(perf_counter() - start)
    spent = process_time() - begun
    lists = [list(zip(n.tolist(), s.tolist(), strict=True)) for n, s in found]
    row = {"open": opened, "rate": len(times) / spent, "times": times,
           "resident": resident(), "found": lists}  # fmt: skip
    json.dump(row, sys.stdout)


def lucene(python: str, texts: Sequence[str], asked: Path, folder: Path, k: int) -> Row:
    """pyserini in a process of another Python."""
    (folder / "corpus").mkdir()
    # Lucene's ties go by id as text: with leading zeros that is the order of the numbers.
    with (folder / "corpus" / "passages.jsonl").open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": f"{number:09}", "contents": text}) + "\n")
    (folder / "queries.json").write_text(asked.read_text())
    script = Path(__file__).with_name("bm25_pyserini.py")
    subprocess.run([python, str(script), str(folder), str(k)], check=True)
    answer = json.loads((folder / "found.json").read_text())
    times = answer["times"]
    return Row(
        engine="pyserini",
        build=answer["build"],
        open=answer["open"],
        rate=len(times) / answer["spent"],
        times=times,
        resident=answer["resident"],
        found=answer["found"],
    )


def number_index(count: int, folder: Path) -> None:
    """An index of made-up term numbers, saved; in memory only a chunk at a time."""
    drafts, whole = folder.with_name("chunks"), folder.with_name("merged")
    whole.mkdir()
    blocks = term_ids(count, SEED, VOCABULARY)
    # 400,000 passages to a chunk, about as many as a build from texts has.
    for number, some in enumerate(iter(lambda: list(islice(blocks, 50)), [])):
        terms, lengths = (np.concatenate(column) for column in zip(*some, strict=True))
        write_arrays(inverted(terms, lengths, VOCABULARY).arrays(), drafts / f"{number:04}")
    chunks = [Chunk(**read_arrays(path)) for path in sorted(drafts.iterdir())]
    BM25(merged(chunks, 0.9, 0.4, room=room_in(whole))).save(folder)


def number_queries(count: int) -> list[list[int]]:
    """Two to five words of a passage and up to three very frequent terms."""
    rng = np.random.default_rng((SEED, 2))
    terms, lengths = next(term_ids(8000, SEED, VOCABULARY))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    made = []
    for passage in rng.integers(len(lengths), size=count):
        words = terms[starts[passage] : starts[passage + 1]]
        words = words[words >= 30]
        picked = rng.choice(words, min(len(words), int(rng.integers(2, 6))))
        made.append([*picked.tolist(), *rng.integers(0, 20, rng.integers(4)).tolist()])
    return made


def real(folder: Path) -> tuple[list[str], list[str]]:
    """The passages of a corpus.jsonl and the questions of the other files."""
    rows = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(row)["contents"] for row in rows]
    files = [path for path in sorted(folder.glob("*.jsonl")) if path.name != "corpus.jsonl"]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    return texts, [json.loads(line)["question"] for line in lines]


def measure(wanted: argparse.Namespace, room: Path) -> str:
    """All engines on one corpus: the table."""
    index, asked = room / "ours", room / "queries.json"
    texts: list[str] = []
    start = process_time()
    if wanted.numbers:
        number_index(wanted.numbers, index)
        asked.write_text(json.dumps(number_queries(wanted.queries)))
    else:
        if wanted.questions:
            texts, questions = real(wanted.questions)
        else:
            texts = list(passages(wanted.passages, SEED))
            questions = queries(texts, wanted.queries, SEED)
        asked.write_text(json.dumps(questions))
        start = process_time()
        BM25.build_in(index, texts)
    built = process_time() - start
    size = sum(path.stat().st_size for path in index.iterdir()) / 2**20
    rows = [ours(index, engine, asked, wanted.k) for engine in ("numpy", "numba")]
    rows = [Row(**{**vars(row), "build": built}) for row in rows]
    if wanted.pyserini_python and texts:
        (room / "pyserini").mkdir()
        rows.insert(0, lucene(wanted.pyserini_python, texts, asked, room / "pyserini", wanted.k))
    count = wanted.numbers or len(texts)
    title = (
        f"{count:,} passages, {len(rows[0].times):,} queries, top {wanted.k}; index {size:,.0f} MiB"
    )
    return "\n".join([
        f"`python benchmarks/bm25_speed.py {told(wanted)}`: {processor()}, one thread, one run "
        f"(the quantiles are over its queries; seed {SEED}). {title}.",
        "",
        "| engine | queries/CPU-s | p50 ms | p99 ms | build s | open s | MiB | overlap | scores |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(row.line(rows[0].found) for row in rows),
        "",
        f"Overlap and largest difference of scores are against {rows[0].engine}.",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast is BM25?")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--numbers", type=int, default=0, help="passages of bare term numbers")
    parser.add_argument("--questions", type=Path, help="a folder with corpus.jsonl and questions")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--pyserini-python", default="")
    parser.add_argument("--write", action="store_true", help=f"put the table in {RESULTS.name}")
    parser.add_argument("--search", nargs=4, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.search:
        folder, engine, asked, k = wanted.search
        search(Path(folder), engine, Path(asked), int(k))
        return
    with tempfile.TemporaryDirectory() as room:
        table = measure(wanted, Path(room))
    print(table)
    if wanted.write:
        name = f"bm25 {wanted.numbers or (wanted.questions and 'real') or wanted.passages}"
        write_section(name, f"## {title(wanted)}\n\n{table}")


def told(wanted: argparse.Namespace) -> str:
    """The arguments as they would be given again; paths are the user's own."""
    said = [f"--queries {wanted.queries}", f"--k {wanted.k}"]
    if wanted.numbers:
        said.append(f"--numbers {wanted.numbers}")
    else:
        said += ["--questions FOLDER"] if wanted.questions else [f"--passages {wanted.passages}"]
    return " ".join([*said, *["--pyserini-python PATH"] * bool(wanted.pyserini_python)])


def title(wanted: argparse.Namespace) -> str:
    if wanted.questions:
        return "BM25: real questions and passages"
    if wanted.numbers:
        return f"BM25: {wanted.numbers:,} made-up passages, as term numbers"
    return f"BM25: {wanted.passages:,} made-up passages"


if __name__ == "__main__":
    main()
