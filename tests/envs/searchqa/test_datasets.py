"""Question files in every published layout, what is chosen of them, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from agentgym_envs.searchqa.datasets import EVALUATED, GROUPS, SETS, question_of, read_questions
from agentgym_envs.searchqa.question import Question
from agentgym_envs.searchqa.world import generated_world, write_world


def row(number: int, **more) -> dict:
    return {"id": f"test_{number}", "question": "who is it", "golden_answers": ["Ada"], **more}


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


def search_r1_row(number: int, source: str, split: str) -> dict:
    """A row with the columns of Search-R1's training file."""
    return {
        "id": f"{split}_{number}",
        "question": "who is it?",
        "golden_answers": ["Ada", "Ada Lovelace"],
        "data_source": source,
        "prompt": [{"role": "user", "content": "Answer: who is it?"}],
        "reward_model": {"style": "rule", "ground_truth": {"target": ["Ada", "Ada Lovelace"]}},
        "extra_info": {"split": split, "index": number},
    }


def verl_agent_row(number: int, source: str) -> dict:
    """The least that verl-agent's environment reads."""
    return {
        "data_source": source,
        "env_kwargs": {
            "ground_truth": {"target": ["Ada"]},
            "question": "who is it",
            "data_source": source,
        },
        "extra_info": {"split": "test", "index": number},
    }


# -- reading


def test_a_flashrag_row_becomes_a_question(tmp_path):
    metadata = {"gold_doc_ids": ["7", "9"], "type": "bridge", "pop": 3, "context": [["long"]]}
    rows = [{**row(0, metadata=metadata), "id": "train_0"}]
    file = write(tmp_path / "hotpotqa_train.jsonl", rows)
    assert list(read_questions(file)) == [
        Question(
            id="hotpotqa/train_0",
            question="who is it",
            answers=("Ada",),
            data_source="hotpotqa",
            gold=("7", "9"),
            kind="hotpotqa",
            split="train",
            metadata={"type": "bridge", "pop": 3},  # the contexts stay in the file
        )
    ]


@pytest.mark.parametrize(
    ("name", "id", "split"),
    [
        ("nq.jsonl", "test_3", "test"),  # told by the id
        ("nq.jsonl", "dev_3", "dev"),
        ("nq_train.jsonl", "test_3", "train"),  # the file's name goes before the id
        ("nq_validation.jsonl", "3", "dev"),
        ("nq/test.jsonl", "3", "test"),
        ("nq.jsonl", "3", ""),
    ],
)
def test_the_split_of_a_row(tmp_path, name, id, split):
    file = write(tmp_path / name, [{**row(0), "id": id}])
    (question,) = read_questions(file)
    assert (question.data_source, question.split) == ("nq", split)


def test_search_r1s_parquet(tmp_path):
    rows = [search_r1_row(i, source, "train") for i, source in enumerate(["nq", "hotpotqa"])]
    found = read_questions(write_parquet(tmp_path / "train.parquet", rows))
    assert found.ids == ("nq/train_0", "hotpotqa/train_1")
    assert found["nq/train_0"].answers == ("Ada", "Ada Lovelace")
    assert found.counts == {"nq": {"train": 1}, "hotpotqa": {"train": 1}}


def test_verl_agents_parquet(tmp_path):
    found = read_questions(write_parquet(tmp_path / "x.parquet", [verl_agent_row(4, "popqa")]))
    assert found["popqa/test_4"] == Question(
        "popqa/test_4", "who is it", ("Ada",), "popqa", kind="popqa", split="test"
    )


def test_a_target_may_be_a_bare_text(tmp_path):
    file = write(tmp_path / "nq.jsonl", [row(0, golden_answers="Ada")])
    assert read_questions(file)["nq/test_0"].answers == ("Ada",)
    rows = [{**verl_agent_row(0, "nq"), "env_kwargs": {"ground_truth": {"target": "Ada"}}}]
    rows[0]["question"] = "who is it"
    assert read_questions(write_parquet(tmp_path / "x.parquet", rows))["nq/test_0"].answers == (
        "Ada",
    )


def test_rows_held_as_arrays_are_questions_too():
    frame = {"id": 0, "question": "who", "golden_answers": np.array(["Ada", "Bob"], dtype=object)}
    assert question_of(frame, "nq", "test").answers == ("Ada", "Bob")


def test_a_written_world_is_read_back(tmp_path):
    world = generated_world("nano", 0)
    found = read_questions(write_world(world, tmp_path)).chosen("test")
    assert len(found) == len(world.questions("test"))
    for read, made in zip(found, world.questions("test"), strict=True):
        assert (read.question, read.answers, read.gold) == (made.question, made.answers, made.gold)
        assert (read.queries, read.kind, read.split) == (made.queries, made.kind, made.split)
        assert read.metadata["evidence"] == made.metadata["evidence"]


def test_a_folder_is_read_in_the_published_order_and_leaves_the_corpus_alone(tmp_path):
    for name in reversed(SETS):
        write(tmp_path / f"{name}.jsonl", [row(0)])
    write(tmp_path / "nq_train.jsonl", [{**row(0), "id": "train_0"}])
    write(tmp_path / "corpus.jsonl", [{"id": "0", "contents": '"T"\ntext'}])
    found = read_questions(tmp_path)
    assert list(found.counts) == list(SETS)
    assert len(found) == len(SETS) + 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("HotpotQA.jsonl", r"HotpotQA\.jsonl holds questions.*did you mean hotpotqa\?"),
        ("natural_questions_test.jsonl", "natural_questions_test.jsonl holds questions"),
    ],
)
def test_questions_under_another_name_are_not_left_out(tmp_path, name, said):
    write(tmp_path / "nq.jsonl", [row(0)])
    other = write(tmp_path / name, [row(1)])
    with pytest.raises(ValueError, match=said):
        read_questions(tmp_path)
    assert len(read_questions([tmp_path / "nq.jsonl", other])) == 2


def test_what_holds_no_questions_is_left_alone(tmp_path):
    write(tmp_path / "nq.jsonl", [row(0)])
    write(tmp_path / "wiki-18.jsonl", [{"id": "0", "contents": '"T"\ntext'}])
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "log.jsonl").write_text("no JSON\n")
    assert read_questions(tmp_path).ids == ("nq/test_0",)


def test_flashrags_folders_and_several_files(tmp_path):
    for split in ("train", "dev"):
        write(tmp_path / "hotpotqa" / f"{split}.jsonl", [{**row(0), "id": f"{split}_0"}])
    other = write(tmp_path / "elsewhere" / "mine.jsonl", [row(0)])
    assert read_questions(tmp_path).counts == {"hotpotqa": {"dev": 1, "train": 1}}
    assert read_questions([tmp_path, other]).counts["mine"] == {"test": 1}


# -- choosing


def test_the_published_choice_is_the_first_split_that_exists(tmp_path):
    for name, splits in {"nq": EVALUATED, "hotpotqa": ("dev", "train"), "mine": ("train",)}.items():
        for split in splits:
            write(tmp_path / f"{name}_{split}.jsonl", [{**row(0), "id": f"{split}_0"}])
    found = read_questions(sorted(tmp_path.glob("*.jsonl")))
    assert {q.id for q in found.chosen("evaluate")} == {
        "nq/test_0",
        "hotpotqa/dev_0",
        "mine/train_0",
    }
    assert found.chosen("train").counts.keys() == {"nq", "hotpotqa", "mine"}
    assert found.chosen("test", ["nq"]).ids == ("nq/test_0",)
    assert len(found.chosen("all")) == len(found)
    assert set(found.chosen("evaluate", ["in_domain"]).ids) == {"nq/test_0", "hotpotqa/dev_0"}
    with pytest.raises(ValueError, match="^hotpotqa: no 'test' questions but 1 dev of hotpotqa"):
        found.chosen("test", ["nq", "hotpotqa"])
    with pytest.raises(ValueError, match="no questions of 'musique'"):
        found.chosen("test", ["musique"])
    with pytest.raises(ValueError, match="no split 'tset'"):
        found.chosen("tset")


def test_a_split_that_some_sets_lack_is_no_table_with_fewer_columns(tmp_path):
    """Three of the published sets have no test split; only `train` is of some sets by nature."""
    for name in SETS:
        split = "dev" if name in ("hotpotqa", "2wikimultihopqa", "musique") else "test"
        write(tmp_path / f"{name}.jsonl", [{**row(0), "id": f"{split}_0"}])
    write(tmp_path / "nq_train.jsonl", [{**row(0), "id": "train_0"}])
    found = read_questions(tmp_path)
    with pytest.raises(ValueError, match="hotpotqa, 2wikimultihopqa, musique: no 'test'") as error:
        found.chosen("test")
    assert "split='evaluate'" in str(error.value)
    assert "datasets=['nq', 'triviaqa', 'popqa', 'bamboogle']" in str(error.value)
    assert len(found.chosen("evaluate")) == 7
    assert found.chosen("train").ids == ("nq/train_0",)


def test_the_groups_are_the_seven_sets():
    assert sorted(GROUPS["in_domain"] + GROUPS["out_of_domain"]) == sorted(SETS)


# -- refusing


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "a list, expected an object"),
        ('{"id": "1", "golden_answers": ["x"]}', "no 'question'"),
        ('{"id": "1", "question": "  ", "golden_answers": ["x"]}', "no 'question'"),
        ('{"id": "1", "question": 3, "golden_answers": ["x"]}', "no 'question'"),
        ('{"id": "1", "question": "q", "golden_answers": []}', "names no answer"),
        ('{"id": "1", "question": "q", "golden_answers": [" "]}', "names no answer"),
        ('{"id": "1", "question": "q", "golden_answers": [1]}', "expected a list of texts"),
        ('{"id": "1", "question": "q"}', "expected a list of texts"),
        ('{"question": "q", "golden_answers": ["x"]}', "no 'id'"),
        ('{"id": "1", "question": "q", "golden_answers": ["x"], "metadata": 3}', "'metadata'"),
        ('{"id": "1", "question": "q", "golden_answers": "x", "extra_info": 3}', "'extra_info'"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, line, problem):
    file = tmp_path / "nq.jsonl"
    file.write_text(json.dumps(row(0)) + "\n\n" + line + "\n")
    with pytest.raises(ValueError, match=problem) as refused:
        read_questions(file)
    assert f"{file}, line 3: " in str(refused.value)


def test_a_repeated_id_is_refused(tmp_path):
    file = write(tmp_path / "nq.jsonl", [row(0), row(0)])
    with pytest.raises(ValueError, match="two questions are 'nq/test_0'"):
        read_questions(file)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no question file or folder"):
        read_questions(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no questions in"):
        read_questions(tmp_path)
    (tmp_path / "nq.csv").write_text("id,question")
    with pytest.raises(ValueError, match="are read from .jsonl and .parquet"):
        read_questions(tmp_path / "nq.csv")
    (tmp_path / "nq.parquet").write_text("no parquet")
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="no readable parquet"):
        read_questions(tmp_path / "nq.parquet")


# -- the real sample


def test_the_real_sample_is_read_whole(real_data):
    folder = real_data / "searchqa"
    found = read_questions(folder)
    lines = sum(
        len(file.read_text(encoding="utf-8").splitlines())
        for file in folder.glob("*.jsonl")
        if file.stem != "corpus"
    )
    assert len(found) == lines
    assert set(found.counts) == set(SETS)
    chosen = found.chosen("evaluate")
    assert set(chosen.counts) == set(SETS)
    assert all(question.split != "train" for question in chosen)
    assert set(found.chosen("train").counts) <= set(GROUPS["in_domain"])
