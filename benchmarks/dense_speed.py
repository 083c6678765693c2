"""How fast is exact dense search, next to faiss's flat index?

    python benchmarks/dense_speed.py                  # 100,000 vectors, a table on the screen
    python benchmarks/dense_speed.py --count 20000    # a quick look
    python benchmarks/dense_speed.py --write          # put the table in RESULTS.md

Both search the same unit vectors, drawn around centres that all lean one way as the vectors of
texts do, with the same queries, in turns within every repeat, on one thread. The clock counts
CPU-seconds of this process. Where there is a CUDA device, a larger set is searched on it as well,
and what is read of the vectors in a second is set against what the device copies in a second.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter, process_time
from typing import Any

import faiss
import numpy as np
import torch
from results import RESULTS, Row, processor, write_section

from agentgym_envs.retrieval.dense.flat import FlatIndex
from agentgym_envs.retrieval.dense.vectors import FORMS, Vectors

K = 10
BATCHES = (1, 64)
LEAST = 0.2  # seconds that one number is measured for


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rows = on_processor(args)
    if torch.cuda.is_available():
        print("processor done", file=sys.stderr)
        rows += on_device(args)
    table = "\n".join([*_heading(args), *[row.line() for row in rows]])
    if not torch.cuda.is_available():
        table += "\n\nOn a GPU: not measured: there is none here."
    print(table)
    if args.write:
        write_section("dense_speed", table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="vectors")
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--device-count", type=int, default=8_000_000, help="vectors on a GPU")
    parser.add_argument("--queries", type=int, default=256, help="a repeat, for both")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors and the first repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--note", default="", help="said in the heading, about the machine")
    parser.add_argument("--write", action="store_true", help=f"put the table in {RESULTS.name}")
    return parser.parse_args()


# -- what is searched


def clustered(count: int, dimension: int, seed: int) -> np.ndarray:
    """Unit vectors around count / 50 centres that share a direction.  [count, dimension]"""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(count // 50, 1), dimension), np.float32)
    centres += rng.standard_normal(dimension, np.float32)
    rows = np.empty((count, dimension), np.float32)
    for first in range(0, count, 65_536):
        part = rows[first : first + 65_536]
        part[:] = centres[rng.integers(len(centres), size=len(part))]
        part += 0.7 * rng.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def asked(matrix: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Unit vectors near some of the rows.  [count, dimension]"""
    rng = np.random.default_rng(seed)
    rows = matrix[rng.integers(len(matrix), size=count)]
    rows = rows + 0.02 * rng.standard_normal(rows.shape, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# -- what is measured


def on_processor(args: argparse.Namespace) -> list[Row]:
    """faiss's flat index and every format of the first pass."""
    matrix = clustered(args.count, args.dimension, args.seed)
    reference: Any = faiss.IndexFlatIP(args.dimension)
    reference.add(matrix)
    vectors = Vectors.of(matrix, list(FORMS), corpus="")
    ours = {first: FlatIndex(vectors, first=first) for first in FORMS}
    rate = "queries / CPU-s"
    theirs = {batch: Row(f"batch {batch}", "faiss flat, float32", rate) for batch in BATCHES}
    rates = {
        (batch, first): Row("", f"ours, {first} first", rate)
        for batch in BATCHES
        for first in FORMS
    }
    ratios = {
        (batch, first): Row(
            "", f"**{first} first / faiss flat**", "times", wanted=_wanted(batch, first)
        )
        for batch, first in rates
    }
    same = {
        first: Row("", f"ours, {first} first", "share of queries", wanted="1") for first in FORMS
    }
    same = {
        "faiss": Row(f"top {K} as in float64, in order", "faiss flat", "share of queries"),
        **same,
    }
    for seed in range(args.seed + 1, args.seed + 1 + args.repeats):
        queries = asked(matrix, args.queries, seed)
        for batch in BATCHES:
            base = _rate(reference, queries, batch, process_time)
            theirs[batch].numbers.append(base)
            for first, index in ours.items():
                rate_of = _rate(index, queries, batch, process_time)
                rates[batch, first].numbers.append(rate_of)
                ratios[batch, first].numbers.append(rate_of / base)
        found = {first: index.search(queries, K)[0] for first, index in ours.items()}
        found["faiss"] = reference.search(queries, K)[1]
        wanted = _exact(matrix, queries)
        for name, rows in found.items():
            same[name].numbers.append(float((rows == wanted).all(1).mean()))
    listed: list[Row] = []
    for batch in BATCHES:
        listed.append(theirs[batch])
        listed += [rates[batch, first] for first in FORMS]
        listed += [ratios[batch, first] for first in FORMS]
    return [*listed, *same.values()]


def _exact(matrix: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The best K rows by a product in float64, rounded to float32; ties by smaller row.

    In float32 itself the order of neighbours depends on how a product is summed.
    """
    scores = np.empty((len(queries), len(matrix)), np.float32)
    for first in range(0, len(matrix), 16_384):
        part = matrix[first : first + 16_384].astype(np.float64)
        scores[:, first : first + len(part)] = queries.astype(np.float64) @ part.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def _wanted(batch: int, first: str) -> str:
    return ">= 8" if batch == 64 and first == "bfloat16" else ""


def on_device(args: argparse.Namespace) -> list[Row]:
    """The first CUDA device: queries a second, and what of its bandwidth one query uses."""
    matrix = clustered(args.device_count, args.dimension, args.seed)
    copied = _bandwidth()
    rows = [Row("GPU", "memory bandwidth, copying", "GB/s", numbers=[copied / 1e9])]
    for first, width in (("bfloat16", 2), ("int8", 1)):
        index = FlatIndex(Vectors.of(matrix, corpus=""), first=first, device="cuda")
        for batch in BATCHES:
            row = Row("", f"ours, {first} first, batch {batch}", "queries / s")
            share = Row("", f"**{first}: bandwidth used at batch 1**", "share", wanted=">= 0.5")
            for seed in range(args.seed + 1, args.seed + 1 + args.repeats):
                queries = asked(matrix, args.queries, seed)
                rate = _rate(index, queries, batch, perf_counter)
                row.numbers.append(rate)
                share.numbers.append(rate * matrix.size * width / copied)
            rows += [row, share] if batch == 1 else [row]
    return rows


def _bandwidth() -> float:
    """Bytes read and written in a second by copies on the device."""
    source = torch.empty(1 << 30, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    start = perf_counter()
    for _ in range(20):
        target.copy_(source)
    torch.cuda.synchronize()
    return 20 * 2 * source.numel() / (perf_counter() - start)


def _rate(index: Any, queries: np.ndarray, batch: int, clock: Callable[[], float]) -> float:
    """Queries a second, in batches of this size, for LEAST seconds or all queries once."""
    index.search(queries[:batch], K)
    start, done = clock(), 0
    while done < len(queries) or clock() - start < LEAST:
        at = done % len(queries)
        index.search(queries[at : at + batch], K)
        done += len(queries[at : at + batch])
        if batch == 1 and clock() - start > 5 * LEAST:
            break  # one by one takes long, and is steady
    return done / (clock() - start)


# -- how it is shown


def _heading(args: argparse.Namespace) -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "faiss-cpu", "numpy"))
    last = args.seed + args.repeats
    return [
        "## Exact dense search",
        "",
        f"`python benchmarks/dense_speed.py --count {args.count}`: {processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}. "
        f"{args.count:,} clustered unit vectors of {args.dimension} numbers, top {K}, one thread. "
        f"Seeds {args.seed + 1} to {last}, one a repeat of {args.queries} queries. Median and "
        f"lowest - highest of the repeats. {args.note}".rstrip(),
        "",
        "| work | way | median | lowest - highest | unit | wanted |",
        "|---|---|---:|---:|---|---|",
    ]


if __name__ == "__main__":
    main()
