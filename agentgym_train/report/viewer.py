"""Episodes of runs as a page to read them in: from disk, without a network, whatever they say.

A page holds an index of all its episodes as JSON, and their texts as gzip in base64, in blocks
that a reader's browser opens when they are looked at. All text reaches the page as text nodes.
"""

import base64
import gzip
import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentgym_train.files import numbered_lines, read_lines, write_text
from agentgym_train.report.apart import source_names

LIMIT = 5000  # episodes of an embedded viewer
_TRACED = (
    3  # one in so many of a run's places is for episodes with token numbers, where it has them
)
_BLOCK = 400_000  # characters of episodes that are packed together
_GOAL, _REASON = 300, 160  # characters that the list shows; an opened episode has all of them
_ROW_FACTS = ("step", "phase", "task", "success", "score", "turns", "invalid", "stop", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An episode on disk. number: its line in episodes.jsonl, from 1. record: that line. trace:
    its token numbers (see `traces.token_records`), where they were kept."""

    number: int
    record: dict[str, Any]
    trace: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A run's episodes for a page. scales: a column of its tokens -> the magnitude that 95 % of its
    numbers do not pass, the least of them and the largest."""

    name: str
    episodes: Iterable[Stored]
    scales: dict[str, tuple[float, float, float]]


def stored_episodes(run: Path) -> Iterator[Stored]:
    """The episodes of a run's folder, or of a file of episodes, one at a time, in their order.

    Raises FileNotFoundError where there are none, ValueError for a line that is no episode.
    """
    path = run / "episodes.jsonl" if run.is_dir() else run
    if not path.exists():
        raise FileNotFoundError(f"{run} holds no episodes: give a run's folder or an episodes file")
    return _episodes(path, {(one["step"], one["episode"]): one for one in _traces(run)})


def _episodes(path: Path, traces: dict[tuple[int, int], dict[str, Any]]) -> Iterator[Stored]:
    trained: dict[int, int] = {}
    for number, record in numbered_lines(path):
        if "task" not in record or "turns" not in record:
            raise ValueError(f"{path}, line {number}: not an episode record")
        trace, step = None, record.get("step", 0)
        if record.get("phase") == "train":
            trace = traces.get((step, trained.setdefault(step, 0)))
            trained[step] += 1
        yield Stored(number=number, record=record, trace=trace)


def _traces(run: Path) -> list[dict[str, Any]]:
    return read_lines(run / "traces.jsonl") if run.is_dir() else []


def viewer_fragment(
    folders: Sequence[Path],
    *,
    names: Sequence[str] = (),
    limit: int = LIMIT,
    prefix: str = "episodes",
) -> str:
    """HTML to put inside a page: the episodes of these runs, with style and script.

    names: of the runs, one each; by default their folders'. limit: episodes in all, shared evenly
    between the runs. Of a run with more there are some with token numbers, and of the others those
    of the latest steps, held-out tasks first: the same tasks of every run. The page says how many
    are left out. prefix: of the element's id; unlike any other in the page.
    """
    chosen, left_out = [], 0
    for folder, name in zip(folders, names or source_names(folders), strict=True):
        some, more = _some(folder, max(limit // len(folders), 1))
        left_out += more
        chosen.append(Chosen(name=name, episodes=some, scales=_scales(folder)))
    return _fragment(chosen, left_out=left_out, prefix=prefix)


def write_viewer(run: Path, html: Path, *, episode: int | None = None) -> Path:
    """One self-contained page with all episodes of a run, or of an episodes file; returns `html`.

    episode: the one to open first, by its line from 1. Raises ValueError where there is none.
    """
    if episode is not None:
        pick(run, episode)
    (name,) = source_names([run])
    every = Chosen(name=name, episodes=stored_episodes(run), scales=_scales(run))
    body = _fragment([every], opened=episode, alone=True)
    style = f"<style>{_asset('viewer_page.css')}</style>"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(style + body)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_plain(run.resolve().name))}: episodes</title>\n{style}</head>\n"
        f"<body>{body}</body></html>\n"
    )
    html.parent.mkdir(parents=True, exist_ok=True)
    write_text(html, page)
    return html


def pick(run: Path, number: int) -> Stored:
    """The episode of that line, from 1. Raises ValueError where there is none."""
    last = 0
    for one in stored_episodes(run):
        if one.number == number:
            return one
        last = one.number
    raise ValueError(f"{run} has episodes 1 to {last}, not {number}")


def content_policy(page: str) -> str:
    """The strictest policy that lets a page's own inline scripts and styles run, and nothing else.

    They are found as `<script>` and `<style>` without attributes.
    """

    def hashes(tag: str) -> str:
        texts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests) or "'none'"

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand inside a <script> element: no `<`, no `&`, ASCII only."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fragment(
    chosen: Sequence[Chosen],
    *,
    left_out: int = 0,
    opened: int | None = None,
    alone: bool = False,
    prefix: str = "episodes",
) -> str:
    """opened: the line of the episode that the page opens first."""
    tables: dict[str, dict[Any, int]] = {name: {} for name in ("phase", "task", "stop", "reason")}
    rows, starts, blocks = [], [], []

    def details() -> Iterator[str]:
        for run, one in enumerate(chosen):
            for stored in one.episodes:
                rows.append(_row(run, stored, tables))
                yield _details(stored)

    for first, texts in _packs(details()):
        starts.append(first)
        packed = gzip.compress(f"[{','.join(texts)}]".encode("ascii"), mtime=0)
        blocks.append(base64.b64encode(packed).decode("ascii"))
    index = {
        "runs": [_plain(one.name) for one in chosen],
        "scales": [one.scales for one in chosen],
        **{name: list(known) for name, known in tables.items()},
        "rows": rows,
        "starts": starts,
        "left_out": left_out,
        "open": next((i for i, row in enumerate(rows) if row[1] == opened), None),
    }
    kind = " agv-alone" if alone else ""
    return (
        f'<section class="agv{kind}" id="{escape(prefix)}" aria-label="Episodes">\n'
        f"<style>{_asset('viewer.css')}</style>\n"
        f'<script type="application/json" class="agv-index">{embedded_json(index)}</script>\n'
        f'<script type="application/json" class="agv-blocks">{embedded_json(blocks)}</script>\n'
        "<noscript>Episodes are shown by a script in this page, which is switched off.</noscript>\n"
        f"</section>\n<script>{_asset('viewer.js')}</script>\n"
    )


def _row(run: int, one: Stored, tables: dict[str, dict[Any, int]]) -> list[Any]:
    """What the list and its filters need of an episode; words as their numbers in `tables`."""
    record, verdict = one.record, one.record.get("verdict") or {}
    task = record["task"]
    words = {
        "phase": record.get("phase", ""),
        "task": (task["id"], task["goal"][:_GOAL], task.get("kind", ""), task.get("split", "")),
        "stop": record.get("stop_reason", ""),
        "reason": verdict.get("reason", "")[:_REASON],
    }
    row = {
        **{name: tables[name].setdefault(word, len(tables[name])) for name, word in words.items()},
        "step": record.get("step", 0),
        "success": int(verdict["success"]) if verdict else -1,
        "score": verdict.get("score", 0),
        "turns": len(record["turns"]),
        "invalid": sum(not turn["valid"] for turn in record["turns"]),
    }
    return [run, one.number, *(row[name] for name in _ROW_FACTS), int(bool(one.trace))]


def _details(one: Stored) -> str:
    """What an opened episode shows beyond its row, as JSON in ASCII."""
    record = one.record
    task = record["task"]
    turns = [
        [
            *(turn[name] for name in ("observation", "response", "action")),
            turn.get("admissible", []),
            turn.get("facts", {}),
            int(turn["valid"]),
        ]
        for turn in record["turns"]
    ]
    detail = {
        "goal": task["goal"],
        "reason": (record.get("verdict") or {}).get("reason", ""),
        "outcome": record.get("outcome", ""),
        "about": {name: task.get(name) for name in ("answer", "expert", "facts", "hash")},
        "turns": turns,
        "trace": one.trace and {name: one.trace[name] for name in ("turns", "left_out")},
    }
    return json.dumps(detail, separators=(",", ":"))


def _packs(details: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Neighbours of about `_BLOCK` characters together, each pack with its first one's number."""
    first, texts, size = 0, [], 0
    for text in details:
        texts.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield first, texts
            first, texts, size = first + len(texts), [], 0
    if texts:
        yield first, texts


def _some(run: Path, room: int) -> tuple[list[Stored], int]:
    """At most `room` of a run's episodes, in their order, and how many are left out."""
    traced: list[tuple[Any, Stored]] = []
    others: list[tuple[Any, Stored]] = []
    places, count = room // _TRACED, 0
    for one in stored_episodes(run):
        count += 1
        heap, most = (traced, places) if one.trace else (others, room - places)
        if most:
            item = (_worth(one), one)
            (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, item)
    kept = sorted((one for _, one in (*traced, *others)), key=lambda one: one.number)
    return kept, count - len(kept)


def _worth(one: Stored) -> tuple[int, bool, bytes, int]:
    """Late steps, held-out tasks, and then by lot: by the task's name, so that all runs show the
    same tasks."""
    record = one.record
    lot = hashlib.sha256(str(record["task"]["id"]).encode("utf-8", "replace")).digest()
    return record.get("step", 0), record.get("phase") != "train", lot, one.number


def _scales(run: Path) -> dict[str, tuple[float, float, float]]:
    """Of each column of token numbers, over all of a run's: `Chosen.scales`."""
    values: dict[str, list[float]] = {}
    for trace in _traces(run):
        for turn in trace["turns"]:
            for name, column in turn.items():
                if name not in ("turn", "reward", "pieces"):
                    known = [x for x in column if x is not None]
                    values.setdefault(name, []).extend(known)
    return {
        name: (_most([abs(x) for x in column]), min(column), max(column))
        for name, column in values.items()
        if column
    }


def _most(sizes: list[float]) -> float:
    """What 95 % of them do not pass; the largest where that is nothing."""
    sizes.sort()
    return sizes[int(0.95 * (len(sizes) - 1))] or sizes[-1]


def _plain(name: str) -> str:
    """A file's name as text: bytes that are no text become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (files("agentgym_train.report") / name).read_text(encoding="utf-8")
