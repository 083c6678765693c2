"""The other side of `bm25_speed.py`: Lucene through pyserini, run by a Python that has it.

    python bm25_pyserini.py FOLDER K

FOLDER holds `corpus/passages.jsonl` and `queries.json`; `found.json` is written there. Needs a
Java runtime; one thread for indexing and searching, one query at a time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time

# Some versions make a client with it at import; none is ever called.
os.environ.setdefault("OPENAI_API_KEY", "none")


def main(folder: Path, k: int) -> None:
    start = perf_counter()
    command = ["-m", "pyserini.index.lucene", "--collection", "JsonCollection", "--threads", "1"]
    paths = ["--input", str(folder / "corpus"), "--index", str(folder / "lucene")]
    more = ["--generator", "DefaultLuceneDocumentGenerator"]
    subprocess.run([sys.executable, *command, *paths, *more], check=True, capture_output=True)
    built = perf_counter() - start
    from pyserini.search.lucene import LuceneSearcher

    queries = json.loads((folder / "queries.json").read_text())
    start = perf_counter()
    searcher = LuceneSearcher(str(folder / "lucene"))
    searcher.set_bm25(0.9, 0.4)
    opened = perf_counter() - start
    for query in queries:
        searcher.search(query, k)
    # The second round counts: the virtual machine has compiled itself by then.
    times, hits, begun = [], [], process_time()
    for query in queries:
        start = perf_counter()
        hits.append(searcher.search(query, k))
        times.append(perf_counter() - start)
    spent = process_time() - begun
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
    found = [[(int(hit.docid), hit.score) for hit in one] for one in hits]
    answer = {"build": built, "open": opened, "spent": spent, "times": times,
              "resident": resident, "found": found}  # fmt: skip
    (folder / "found.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
