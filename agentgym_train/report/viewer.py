"""Episodes of runs as a page to read them in: from disk, without a network, whatever they say.

A page holds an index of all its episodes as JSON, and their texts as gzip in base64, in blocks
that a reader's browser opens when they are looked at. All text reaches the page as text nodes.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentgym_train.files import read_lines, write_text

LIMIT = 5000  # episodes of an embedded viewer
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


def stored_episodes(run: Path) -> list[Stored]:
    """The episodes of a run's folder, or of a file of episodes, in the order they were written.

    Raises FileNotFoundError where there are none, ValueError for a line that is no episode.
    """
    path = run / "episodes.jsonl" if run.is_dir() else run
    if not path.exists():
        raise FileNotFoundError(f"{run} holds no episodes: give a run's folder or an episodes file")
    kept = read_lines(path.parent / "traces.jsonl") if run.is_dir() else []
    traces = {(one["step"], one["episode"]): one for one in kept}
    found, trained = [], {}
    for number, record in enumerate(read_lines(path), start=1):
        if "task" not in record or "turns" not in record:
            raise ValueError(f"{path}, line {number}: not an episode record")
        trace, step = None, record.get("step", 0)
        if record.get("phase") == "train":
            trace = traces.get((step, trained.setdefault(step, 0)))
            trained[step] += 1
        found.append(Stored(number=number, record=record, trace=trace))
    return found


def viewer_fragment(
    folders: Sequence[Path],
    *,
    names: Sequence[str] = (),
    limit: int = LIMIT,
    prefix: str = "episodes",
) -> str:
    """HTML to put inside a page: the episodes of these runs, with style and script.

    names: of the runs, one each; by default their folders'. limit: episodes in all, shared evenly
    between the runs; of a run with more, traced ones and those of the latest steps are kept, and
    the page says how many are left out. prefix: of the element's id; unlike any other in the page.
    """
    chosen, left_out = [], 0
    for folder in folders:
        every = stored_episodes(folder)
        some = _latest(every, max(limit // len(folders), 1))
        left_out += len(every) - len(some)
        chosen.append(some)
    return _fragment(names or _names(folders), chosen, left_out=left_out, prefix=prefix)


def write_viewer(run: Path, html: Path, *, episode: int | None = None) -> Path:
    """One self-contained page with all episodes of a run, or of an episodes file; returns `html`.

    episode: the one to open first, by its line from 1. Raises ValueError where there is none.
    """
    stored = stored_episodes(run)
    if episode is not None:
        pick(stored, episode, run)
    opened = None if episode is None else episode - 1
    body = _fragment(_names([run]), [stored], opened=opened, alone=True)
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


def pick(stored: Sequence[Stored], number: int, run: Path) -> Stored:
    """The episode of that line, from 1. Raises ValueError where there is none."""
    if not 1 <= number <= len(stored):
        raise ValueError(f"{run} has episodes 1 to {len(stored)}, not {number}")
    return stored[number - 1]


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
    names: Sequence[str],
    chosen: Sequence[Sequence[Stored]],
    *,
    left_out: int = 0,
    opened: int | None = None,
    alone: bool = False,
    prefix: str = "episodes",
) -> str:
    index = _index(names, chosen) | {"left_out": left_out, "open": opened}
    details = [_details(one) for some in chosen for one in some]
    starts, blocks = [], []
    for first, texts in _packs(details):
        starts.append(first)
        packed = gzip.compress(f"[{','.join(texts)}]".encode("ascii"), mtime=0)
        blocks.append(base64.b64encode(packed).decode("ascii"))
    index["starts"] = starts
    kind = " agv-alone" if alone else ""
    return (
        f'<section class="agv{kind}" id="{escape(prefix)}" aria-label="Episodes">\n'
        f"<style>{_asset('viewer.css')}</style>\n"
        f'<script type="application/json" class="agv-index">{embedded_json(index)}</script>\n'
        f'<script type="application/json" class="agv-blocks">{embedded_json(blocks)}</script>\n'
        "<noscript>Episodes are shown by a script in this page, which is switched off.</noscript>\n"
        f"</section>\n<script>{_asset('viewer.js')}</script>\n"
    )


def _index(names: Sequence[str], chosen: Sequence[Sequence[Stored]]) -> dict[str, Any]:
    """What the list and its filters need: words once, and a row of numbers for each episode."""
    tables: dict[str, dict[Any, int]] = {name: {} for name in ("phase", "task", "stop", "reason")}

    def number(table: str, value: Any) -> int:
        known = tables[table]
        return known.setdefault(value, len(known))

    rows = []
    for run, some in enumerate(chosen):
        for one in some:
            record, verdict = one.record, one.record.get("verdict") or {}
            task = record["task"]
            row = {
                "step": record.get("step", 0),
                "phase": number("phase", record.get("phase", "")),
                "task": number(
                    "task",
                    (task["id"], task["goal"][:_GOAL], task.get("kind", ""), task.get("split", "")),
                ),
                "success": int(verdict["success"]) if verdict else -1,
                "score": verdict.get("score", 0),
                "turns": len(record["turns"]),
                "invalid": sum(not turn["valid"] for turn in record["turns"]),
                "stop": number("stop", record.get("stop_reason", "")),
                "reason": number("reason", verdict.get("reason", "")[:_REASON]),
            }
            rows.append(
                [run, one.number, *(row[name] for name in _ROW_FACTS), int(bool(one.trace))]
            )
    words = {name: list(known) for name, known in tables.items()}
    return {"runs": [_plain(name) for name in names], **words, "rows": rows}


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


def _packs(details: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Neighbours of about `_BLOCK` characters together, each pack with its first one's number."""
    first, size = 0, 0
    for i, text in enumerate(details):
        size += len(text)
        if size >= _BLOCK or i == len(details) - 1:
            yield first, list(details[first : i + 1])
            first, size = i + 1, 0


def _latest(stored: list[Stored], room: int) -> list[Stored]:
    """At most `room` of them: traced ones, then those of the latest steps; their order is kept."""
    by_worth = sorted(stored, key=lambda one: (one.trace is not None, one.record.get("step", 0)))
    kept = {one.number for one in by_worth[-room:]}
    return [one for one in stored if one.number in kept]


def _names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or the last two where that is not enough to tell them apart."""
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    return names


def _plain(name: str) -> str:
    """A file's name as text: bytes that are no text become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (files("agentgym_train.report") / name).read_text(encoding="utf-8")
