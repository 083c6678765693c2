"""What the viewer puts into a page, and what a terminal is shown."""

import base64
import gzip
import io
import json
import re
import tracemalloc

import pytest
from rich.console import Console
from train.report.episodes_on_disk import EVIL, episode, folder_of, trace_of

from agentgym_train.report.viewer import (
    content_policy,
    embedded_json,
    pick,
    stored_episodes,
    viewer_fragment,
    write_viewer,
)
from agentgym_train.report.viewer_text import harmless, print_episode


def data_of(page: str) -> tuple[dict, list[dict]]:
    """The index and the unpacked episodes of a page with one viewer."""
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    index, blocks = (json.loads(text) for text in found)
    packs = [json.loads(gzip.decompress(base64.b64decode(block))) for block in blocks]
    assert index["starts"] == [sum(map(len, packs[:i])) for i in range(len(packs))]
    return index, [one for some in packs for one in some]


def test_a_page_holds_every_episode_whole(tmp_path):
    records = [episode(i, turns=300, solved=i % 2 == 0) for i in range(30)]
    run = folder_of(tmp_path / "run", records)
    index, details = data_of(write_viewer(run, tmp_path / "out" / "a.html").read_text())
    assert len(index["starts"]) > 1  # more than one block
    assert [row[1] for row in index["rows"]] == list(range(1, 31))
    for record, row, detail in zip(records, index["rows"], details, strict=True):
        shown = [[t[n] for n in ("observation", "response", "action")] for t in record["turns"]]
        assert [turn[:3] for turn in detail["turns"]] == shown
        assert index["task"][row[4]][0] == record["task"]["id"]
        assert row[5] == record["verdict"]["success"]
        assert row[8] == sum(not turn["valid"] for turn in record["turns"])


def test_traces_find_their_training_episodes(tmp_path):
    train = [episode(i, phase="train", step=step) for i, step in enumerate((1, 1, 2, 2))]
    mixed = [train[0], episode(9, step=1), *train[1:]]
    traces = [trace_of(train[1], 1, gap=float), trace_of(train[2], 0, gap=float)]
    stored = [*stored_episodes(folder_of(tmp_path / "run", mixed, traces))]
    assert [one.trace and one.trace["task"] for one in stored] == [
        None,
        None,
        train[1]["task"]["id"],
        train[2]["task"]["id"],
        None,
    ]


def test_a_limit_keeps_traced_and_late_episodes_and_says_so(tmp_path):
    records = [episode(i, phase="train", step=i) for i in range(10)]
    first = folder_of(tmp_path / "a" / "run", records, [trace_of(records[2], gap=float)])
    second = folder_of(tmp_path / "b" / "run", records[:2])
    index, details = data_of(viewer_fragment([first, second], limit=8))
    assert [row[:2] for row in index["rows"]] == [[0, 3], [0, 8], [0, 9], [0, 10], [1, 1], [1, 2]]
    assert index["left_out"] == 6
    assert index["runs"] == ["a/run", "b/run"]
    assert details[0]["trace"]["turns"][0]["gap"][:2] == [0.0, 1.0]
    named, _ = data_of(viewer_fragment([first, second], names=["x", "y"], limit=8))
    assert named["runs"] == ["x", "y"]


def test_a_page_shows_the_same_tasks_of_every_run(tmp_path):
    """By lot, of the last evaluation, however much else the runs have kept."""
    held_out = [episode(i, step=4) for i in range(40)]
    runs = []
    for name, train in (("a", 0), ("b", 30)):
        trained = [episode(100 + i, phase="train", step=4) for i in range(train)]
        traces = [trace_of({**one, "step": 4}, i, gap=float) for i, one in enumerate(trained)]
        early = [episode(i, step=0) for i in range(40)]
        records = [*early, *trained, *held_out]
        runs.append(folder_of(tmp_path / name, records, traces))
    index, _ = data_of(viewer_fragment(runs, limit=24))
    shown = [[index["task"][row[4]][0] for row in index["rows"] if row[0] == run] for run in (0, 1)]
    tasks = [{task for task in some if int(task.split()[0][5:]) < 100} for some in shown]
    assert tasks[0] == tasks[1] and len(tasks[0]) == 8
    assert tasks[0] != {f"task-{i} " for i in range(32, 40)}  # not just the last of the file
    assert len(shown[1]) == 12  # a third with token numbers


def test_a_long_file_is_never_held_whole(tmp_path):
    run = folder_of(tmp_path / "run", [episode(i, turns=40) for i in range(600)])
    size = (run / "episodes.jsonl").stat().st_size
    tracemalloc.start()
    viewer_fragment([run], limit=12)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 4


def test_colours_mean_the_same_in_all_episodes_of_a_run(tmp_path):
    """The magnitude that 95 of 100 numbers do not pass, and both ends."""
    records = [episode(i, phase="train", step=i) for i in range(2)]
    traces = [trace_of(records[0], gap=lambda i: -1.0), trace_of(records[1], gap=lambda i: 9.0)]
    traces[0]["turns"] = [{**traces[0]["turns"][0], "gap": [None, *[-1.0] * 99]}]
    traces[1]["turns"] = [{**traces[1]["turns"][0], "gap": [9.0]}]
    run = folder_of(tmp_path / "run", records, traces)
    index, _ = data_of(viewer_fragment([run]))
    assert index["scales"] == [{"gap": [1.0, -1.0, 9.0]}]


def test_line_separators_inside_texts_are_no_line_ends(tmp_path):
    """Files of other writers, in UTF-8 and without a last line feed."""
    text = "one\u2028two\u0085three"
    lines = [json.dumps(episode(i, text=text), ensure_ascii=False) for i in range(2)]
    path = tmp_path / "theirs.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    _, details = data_of(write_viewer(path, tmp_path / "page.html").read_text())
    assert [one["turns"][0][1].endswith(text) for one in details] == [True, True]


def test_hostile_text_stays_data(tmp_path):
    run = folder_of(
        tmp_path / EVIL.replace("/", "")[:40].replace("\0", ""), [episode(0, text=EVIL)]
    )
    page = write_viewer(run, tmp_path / "page.html").read_text()
    assert page.count("<script") == page.count("</script>") == 3
    assert "owned" not in page.replace("\\u003e", "")[page.index("agv-blocks") :]
    for markup in ("<img", "<!--", 'onerror="'):
        assert markup not in page
    assert data_of(page)[1][0]["turns"][0][1].endswith(EVIL)
    assert json.loads(embedded_json(EVIL)) == EVIL
    assert not set(embedded_json(EVIL)) & set("<>&\u2028")


def test_the_policy_names_what_the_page_holds_and_no_more(tmp_path):
    run = folder_of(tmp_path / "run", [episode(0)])
    page = write_viewer(run, tmp_path / "page.html").read_text()
    written = re.search(r'Policy" content="([^"]*)"', page)
    assert written is not None
    assert written[1] == content_policy(page)
    assert written[1].count("sha256-") == 3
    assert "unsafe" not in written[1]
    assert "http" not in page.replace("Content-Security-Policy", "").replace("http-equiv", "")


def test_the_same_run_gives_the_same_page(tmp_path):
    run = folder_of(tmp_path / "run", [episode(i) for i in range(3)])
    pages = [write_viewer(run, tmp_path / f"{i}.html").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


def test_mistakes_are_told(tmp_path):
    run = folder_of(tmp_path / "run", [episode(0), episode(1)])
    with pytest.raises(ValueError, match="episodes 1 to 2, not 3"):
        write_viewer(run, tmp_path / "a.html", episode=3)
    with pytest.raises(FileNotFoundError, match="holds no episodes"):
        stored_episodes(tmp_path / "nowhere")
    (run / "episodes.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="line 1: not an episode"):
        [*stored_episodes(run)]


def test_a_file_of_episodes_without_verdicts_can_be_read(tmp_path):
    bare = {k: v for k, v in episode(0).items() if k not in ("step", "phase", "verdict")}
    run = folder_of(tmp_path / "run", [bare])
    index, _ = data_of(viewer_fragment([run / "episodes.jsonl"]))
    assert index["rows"][0][5] == -1


def test_a_terminal_gets_the_episode_and_obeys_nothing(tmp_path):
    run = folder_of(tmp_path / "run", [episode(4, text="[red]" + EVIL)])
    screen = io.StringIO()
    print_episode(pick(run, 1), Console(file=screen, width=200, force_terminal=False))
    told = screen.getvalue()
    assert "\x1b" not in told and "\x00" not in told and "\u202e" not in told
    assert told.encode("utf-8")
    for part in ("goal number 4", "turn 1 (invalid)", "go to place 1", "failed", "[red]"):
        assert part in told
    assert harmless("a" * 5000).endswith("… 1000 more characters")
