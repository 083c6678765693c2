"""Runs' folders made up for the viewer: any number of episodes, with whatever texts."""

import json
from pathlib import Path
from typing import Any

EVIL = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<!--<script> ' \" & \u2028 \u202e \x00 \x1b[2J ]]> &lt;b&gt; \ud800 {{7*7}} ${7*7}"
)


def episode(i: int, *, turns: int = 2, solved: bool = False, text: str = "", **more: Any) -> dict:
    """A record; every text of it contains `text`."""
    kind = ("pick", "clean", "heat")[i % 3]
    verdict = {"success": solved, "score": float(solved), "reason": f"because {text}"}
    played = [
        {
            "observation": f"You see place {k}. {text}",
            "response": f"go to place {k} {text}",
            "action": f"go to place {k} {text}",
            "valid": not (i % 5 == 4 and k == 0),
            "admissible": ["look", f"go {text}"],
            "facts": {"won": False, f"note {text}": text},
        }
        for k in range(turns)
    ]
    task = {
        "id": f"task-{i} {text}",
        "goal": f"goal number {i} {text}",
        "answer": text,
        "expert": [text],
        "split": "unseen",
        "kind": kind + text,
        "facts": {},
        "hash": "0",
    }
    record = {"step": i // 100, "phase": "evaluation", "task": task, "turns": played}
    return {**record, "outcome": f"end {text}", "stop_reason": text, "verdict": verdict, **more}


def folder_of(path: Path, records: list[dict], traces: list[dict] | None = None) -> Path:
    """A run's folder with these episodes and traces."""
    path.mkdir(parents=True)
    for name, lines in (("episodes.jsonl", records), ("traces.jsonl", traces)):
        if lines is not None:
            (path / name).write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def trace_of(record: dict, number: int = 0, **columns: Any) -> dict:
    """Token numbers for a record's responses, a token for each word; columns: functions of the
    token's place."""
    turns = []
    for k, turn in enumerate(record["turns"]):
        pieces = [f"{word} " for word in turn["response"].split(" ")]
        told = {name: [of(i) for i in range(len(pieces))] for name, of in columns.items()}
        turns.append({"turn": k, "reward": 0.0, "pieces": pieces, **told})
    shared = {"step": record["step"], "episode": number, "task": record["task"]["id"]}
    return {**shared, "turns": turns, "left_out": 0}
