import os

import pytest
import torch

from agentgym_train import checkpoint
from agentgym_train.files import (
    append_line,
    keep_lines,
    numbered_lines,
    read_lines,
    write_folder,
    write_text,
)


def test_a_text_is_old_or_new_but_never_half(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "model"
    write_folder(path, lambda aside: (aside / "one").write_text("1"))
    write_folder(path, lambda aside: (aside / "two").write_text("2"))
    assert [file.name for file in path.iterdir()] == ["two"]
    with pytest.raises(RuntimeError):
        write_folder(path, lambda aside: (_ for _ in ()).throw(RuntimeError("no")))
    assert [file.name for file in path.iterdir()] == ["two"]


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_lines(path) == []
    for step in range(3):
        append_line(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 3, "val')
    assert [record["step"] for record in read_lines(path)] == [0, 1, 2]
    keep_lines(path, lambda record: record["step"] < 2)
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_a_last_line_without_a_line_feed_is_a_line_where_it_is_whole(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n\n{"a": "one\u2028two\u0085three"}', encoding="utf-8")
    assert list(numbered_lines(path)) == [(1, {"a": 1}), (3, {"a": "one\u2028two\u0085three"})]
    append_line(path, {"a": 3})  # after a crash the file is cleaned first; this is no line of ours
    with pytest.raises(ValueError, match="line 3"):
        read_lines(path)


def test_lines_that_nobody_wants_are_not_decoded(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\nnot json\n{"a": 2}\n', encoding="utf-8")
    assert [n for n, _ in numbered_lines(path, lambda line: "a" in line)] == [1, 3]


def stepped(seed: int, steps: int):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_training_goes_on_from_a_checkpoint_as_if_uninterrupted(tmp_path):
    model, optimizer = stepped(seed=0, steps=3)
    checkpoint.save(tmp_path, 3, model, optimizer, {"arm": 2}, keep=1)
    other, its_optimizer = stepped(seed=1, steps=0)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert checkpoint.load(found, other, its_optimizer) == (3, {"arm": 2})
    for one, its in ((model, optimizer), (other, its_optimizer)):
        one(torch.ones(1, 3)).sum().backward()
        its.step()
    assert all(a.equal(b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_only_the_newest_are_kept_and_none_holds_a_pickle(tmp_path):
    model, optimizer = stepped(seed=0, steps=1)
    assert checkpoint.latest(tmp_path) is None
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, model, optimizer, {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000002", "step-000010"]
    suffixes = {p.suffix for p in (tmp_path / "step-000010").iterdir()}
    assert suffixes == {".safetensors", ".json"}


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model, optimizer = stepped(seed=0, steps=1)
    checkpoint.save(tmp_path, 1, model, optimizer, {}, keep=1)
    other = torch.nn.Sequential(model)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    with pytest.raises(ValueError, match="is of another model"):
        checkpoint.load(found, other, optimizer)
