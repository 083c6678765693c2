"""`agentgym-envs retrieval`, verb by verb, and every command and example of docs/retrieval.md."""

import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agentgym_envs.retrieval.cli import app
from agentgym_envs.retrieval.open import open_retriever
from agentgym_envs.retrieval.recall import Recall, gold_recall
from agentgym_envs.retrieval.types import Hit, Passage

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "retrieval.md").read_text(encoding="utf-8")
CORPUS = "wiki-18.jsonl"
ANIMALS = ["bee", "ant", "owl", "cat", "dog", "elk", "fox", "hen", "yak", "cow"]
E5 = "intfloat/e5-base-v2"


def run(*words: str) -> str:
    """What a command that is expected to work prints."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a small corpus under the name that the guide gives it, and questions.

    Of three questions two have evidence: the first is found at rank 1, of the second's two
    passages one search brings one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENTGYM_RETRIEVE_TOKEN", raising=False)
    rows = [
        {"id": str(i), "contents": f'"The {name}"\nIt is said that the {name} is number {i}.'}
        for i, name in enumerate(ANIMALS)
    ]
    write_lines(tmp_path / CORPUS, rows)
    asked = [("bees?", ["0"]), ("What of the owl?", ["2", "5"]), ("Why?", [])]
    questions = [
        {
            "id": f"test_{i}",
            "question": question,
            "golden_answers": ["yes"],
            "metadata": {"gold_doc_ids": gold},
        }
        for i, (question, gold) in enumerate(asked)
    ]
    write_lines(tmp_path / "questions" / "nq.jsonl", questions)
    (tmp_path / "bm25.json").write_text('{"kind": "bm25", "folder": "wiki-18.bm25"}')
    return tmp_path


@pytest.fixture
def e5(place):
    """Under the encoder's name a model of random weights, and an index file by faiss of it."""
    torch = pytest.importorskip("torch", reason="encoders need torch")
    transformers = pytest.importorskip("transformers", reason="encoders need transformers")
    faiss = pytest.importorskip("faiss", reason="the index is made by faiss")
    from agentgym_envs.retrieval.corpus import Corpus
    from agentgym_envs.retrieval.dense.encoder import Encoder

    model = place / E5
    model.mkdir(parents=True)
    letters = 'abcdefghijklmnopqrstuvwxyz0123456789:."'
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (model / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(model / "vocab.txt")).save_pretrained(model)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(model)
    corpus = Corpus.open(place / CORPUS)
    vectors = Encoder(E5).encode_passages([passage.contents for passage in corpus])
    index = faiss.IndexFlatIP(16)
    index.add(vectors)
    faiss.write_index(index, str(place / "e5_Flat.index"))
    return E5


# -- verbs


def test_an_index_is_built_opened_again_and_never_built_over(place):
    assert run("index", "bm25", CORPUS, "index").startswith("10 passages in index (")
    built = (place / "index" / "manifest.json").stat().st_mtime_ns
    there = "index is there already; every byte is as it was written\n"
    assert run("index", "bm25", CORPUS, "index") == there
    settings = '{"kind": "bm25", "folder": "index"}'
    assert run("search", CORPUS, "owls", "--retriever", settings).startswith("1. The owl  (id 2,")
    for other in (["--k1", "1.2"], ["--b", "0.75"]):
        result = CliRunner().invoke(app, ["index", "bm25", CORPUS, "index", *other])
        assert isinstance(result.exception, ValueError) and "has " in str(result.exception)
    write_lines(place / "other.jsonl", [{"id": "0", "contents": '"x"\ny'}])
    result = CliRunner().invoke(app, ["index", "bm25", "other.jsonl", "index"])
    assert isinstance(result.exception, ValueError) and "corpus" in str(result.exception)
    assert (place / "index" / "manifest.json").stat().st_mtime_ns == built


def flip_a_bit(file: Path) -> None:
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 1
    file.write_bytes(held)


def test_the_command_that_built_an_index_checks_all_of_it(e5, place):
    vectors = ["index", "e5", CORPUS, "vectors", "--model", e5, "--forms", "int8"]
    for words, file in {
        ("index", "bm25", CORPUS, "index"): "index/documents.npy",
        tuple(vectors): "vectors/int8.bin",
        ("index", "faiss", CORPUS, "vectors", "ivf", "--kind", "IVF1,SQ8"): "ivf",
        ("convert", "e5-flat", "e5_Flat.index", "flat", CORPUS, "--copy"): "flat/float32.bin",
    }.items():
        assert "already" not in run(*words)
        assert run(*words).endswith("is there already; every byte is as it was written\n")
        if words[1] != "e5":  # of which the next index is made
            flip_a_bit(place / file)
            result = CliRunner().invoke(app, list(words))
            assert isinstance(result.exception, ValueError), (words, result.output)
            assert "not what was written" in str(result.exception)
    flip_a_bit(place / "vectors" / "int8.bin")
    result = CliRunner().invoke(app, vectors)
    assert "not what was written" in str(result.exception)


def test_constants_are_the_index_s_own(place):
    run("index", "bm25", CORPUS, "index", "--k1", "1.2", "--b", "0.75")
    table = {"kind": "bm25", "folder": "index", "k1": 1.2, "b": 0.75}
    assert "The owl" in run("search", CORPUS, "owl", "--retriever", json.dumps(table))


def test_a_hit_shows_rank_title_id_score_and_text(place):
    """w = ln(1 + 9.5/1.5) = 1.9924 (1 of 10 passages), twice among 5 words: w - w/(1 + 2/0.9)."""
    assert run("search", CORPUS, "the bee", "-k", "1").splitlines() == [
        "1. The bee  (id 0, score 1.3741)",
        "   It is said that the bee is number 0.",
    ]
    assert run("search", CORPUS, "zebra") == "nothing found\n"
    assert run("search", CORPUS, "number", "-k", "4").count("(id ") == 4


def test_the_offsets_file_goes_where_it_is_told(place):
    run("search", CORPUS, "owl", "--cache", "cache")
    assert not (place / f"{CORPUS}.offsets").exists()
    assert [file.suffix for file in (place / "cache").iterdir()] == [".offsets"]


def test_recall_counts_questions_set_by_set(place):
    write_lines(
        place / "questions" / "musique_train.jsonl",
        [
            {
                "id": str(i),
                "question": name,
                "golden_answers": ["x"],
                "metadata": {"gold_doc_ids": ["1"]},
            }
            for i, name in enumerate(["ant", "ants", "cow"])
        ],
    )
    told = run("recall", "questions", CORPUS, "--k", "1", "--k", "10")
    rows = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in told.splitlines() if line[0] in "│┃"]
    assert rows == [
        ["set", "questions", "any @1", "any @10", "all @1", "all @10"],
        ["nq test", "2", "1.000 (2)", "1.000 (2)", "0.500 (1)", "0.500 (1)"],
        ["musique train", "3", "0.667 (2)", "0.667 (2)", "0.667 (2)", "0.667 (2)"],
    ]
    assert told.endswith("1 of 6 questions name no gold passage and are left out\n")


def test_encodings_and_devices_reach_the_encoder(e5):
    shape = '{"query_prefix": "", "passage_prefix": ""}'
    told = run("index", "e5", CORPUS, "plain", "--model", e5, "--encoding", shape)
    assert told.startswith("10 vectors (float32) in plain (")
    table = {"kind": "e5", "model": e5, "vectors": "plain", "first": "float32"}
    table["encoding"] = json.loads(shape)
    text = '"The yak" It is said that the yak is number 8.'
    assert run("search", CORPUS, text, "--retriever", json.dumps(table)).startswith("1. The yak")
    del table["encoding"]
    result = CliRunner().invoke(app, ["search", CORPUS, "x", "--retriever", json.dumps(table)])
    assert "another encoder" in str(result.exception)


def test_an_index_that_is_converted_may_lose_or_keep_its_file(e5, place):
    index = place / "e5_Flat.index"
    assert "(int8)" in run("convert", "e5-flat", index.name, "small", CORPUS, "--forms", "int8")
    run("convert", "e5-flat", index.name, "whole", CORPUS, "--forms", "float32", "--copy")
    index.unlink()
    for folder in ("small", "whole"):
        table = {"kind": "e5", "model": e5, "vectors": folder, "first": "float32"}
        assert run("search", CORPUS, "owl", "--retriever", json.dumps(table)).startswith("1. The ")


def test_a_server_answers_a_search_and_stops_when_told(place):
    pytest.importorskip("fastapi", reason="the server needs fastapi")
    pytest.importorskip("uvicorn", reason="the server needs uvicorn")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    code += "from agentgym_envs.retrieval.cli import app; app()"
    command = [sys.executable, "-c", code, "serve", CORPUS, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=place) as server:
        try:
            told = server.stdout.readline()
            address = re.fullmatch(r"retriever at (http://127.0.0.1:\d+) \(Ctrl-C stops\)\n", told)
            assert address is not None, told
            assert run("search", address[1], "owls") == run("search", CORPUS, "owls")
            told = run("recall", "questions", CORPUS, "--retriever", address[1])
            assert told == run("recall", "questions", CORPUS)
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0


def test_the_token_comes_from_the_environment(place, monkeypatch):
    served = []
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.server.serve", lambda *a, **k: served.append(a)
    )
    monkeypatch.setenv("AGENTGYM_RETRIEVE_TOKEN", "secret")
    run("serve", CORPUS, "--host", "0.0.0.0", "--port", "80")
    run("serve", CORPUS, "--token", "other")
    assert [settings[1:] for settings in served] == [
        ("0.0.0.0", 80, "secret"),
        ("127.0.0.1", 8000, "other"),
    ]


def test_limits_reach_the_server(place, monkeypatch):
    served = []
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.server.serve", lambda *a, **k: served.append(k["limits"])
    )
    run("serve", CORPUS, "--limit", "topk=20", "--limit", "reading=2.5")
    assert (served[0].topk, served[0].reading, served[0].queries) == (20, 2.5, 4096)


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["search", "no.jsonl", "x"], FileNotFoundError, "no corpus file at no.jsonl"),
        (["search", "none.json", "x"], FileNotFoundError, "none.json"),
        (["search", CORPUS, "x", "--retriever", "bm52"], ValueError, "did you mean 'bm25'"),
        (["search", CORPUS, "x", "--retriever", '{"kind'], ValueError, "the settings: not JSON"),
        (["search", "{}", "x"], ValueError, "need `kind`"),
        (["search", '{"kind": "bm25"}', "x"], ValueError, "needs a corpus"),
        (["search", "http://x", "x", "--retriever", "bm25"], ValueError, "two retrievers"),
        (["search", CORPUS, "x", "-k", "0"], ValueError, "at least 1"),
        (["index", "bm25", CORPUS, "out", "--b", "2"], ValueError, "b from 0 to 1"),
        (["index", "faiss", CORPUS, "none", "out"], FileNotFoundError, "no finished vectors"),
        (["convert", "e5-flat", "none", "out", CORPUS], FileNotFoundError, "no index at none"),
        (["convert", "e5-flat", CORPUS, "out", CORPUS], ValueError, "not b'IxFI'"),
        (["serve", CORPUS, "--host", "0.0.0.0"], ValueError, "set a token"),
        (["serve", "no.jsonl", "--host", "0.0.0.0"], ValueError, "set a token"),  # looked at first
        (["serve", "no.jsonl", "--limit", "topq=3"], ValueError, "no limit 'topq'"),
        (["recall", "none", CORPUS], FileNotFoundError, "no question file or folder none"),
    ],
)
def test_a_mistake_is_the_library_s_own_error_and_writes_nothing(place, words, kind, said):
    before = {file.name for file in place.iterdir()} | {f"{CORPUS}.offsets"}
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, kind) and said in str(result.exception), result.exception
    assert {file.name for file in place.iterdir()} <= before


def test_recall_refuses_questions_that_mean_nothing_here(place):
    row = {"id": "test_0", "question": "x", "golden_answers": ["y"], "metadata": {}}
    write_lines(place / "questions" / "nq.jsonl", [row])
    result = CliRunner().invoke(app, ["recall", "questions", CORPUS])
    assert "no question names gold passages" in str(result.exception)
    row["metadata"] = {"gold_doc_ids": ["77"]}
    write_lines(place / "questions" / "nq.jsonl", [row])
    result = CliRunner().invoke(app, ["recall", "questions", CORPUS])
    assert "gold passage of nq/test_0" in str(result.exception)
    assert "another corpus" in str(result.exception)


@pytest.mark.parametrize("words", [["fly"], ["index"], ["search", CORPUS], ["recall", CORPUS]])
def test_a_command_that_does_not_exist_or_lacks_something_is_exit_code_2(words):
    assert CliRunner().invoke(app, words).exit_code == 2


# -- the figure of `recall`

IDS = st.lists(st.sampled_from("abcdef"), unique=True)


def hits(ids):
    return [Hit(Passage(id, ""), -float(rank)) for rank, id in enumerate(ids)]


@given(rows=st.lists(st.tuples(IDS, IDS), max_size=8), k=st.integers(1, 6))
def test_all_is_never_above_any_and_neither_falls_with_k(rows, k):
    found, gold = [hits(ids) for ids, _ in rows], [ids for _, ids in rows]
    now, more = gold_recall(found, gold, k), gold_recall(found, gold, k + 1)
    assert 0 <= now.all <= now.any <= now.questions == sum(bool(ids) for ids in gold)
    assert now.any <= more.any and now.all <= more.all


def test_recall_by_hand():
    found = [hits("abc"), hits("abc"), hits("abc"), []]
    gold = [("c", "a"), ("z",), (), ("a",)]
    assert gold_recall(found, gold, 2) == Recall(3, 1, 0)
    assert gold_recall(found, gold, 3) == Recall(3, 1, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        gold_recall(found, gold, 0)


# -- the guide


def blocks(kind: str) -> list[str]:
    found = re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found
    return found


def commands() -> list[list[str]]:
    """The guide's commands, as small as the test's corpus and machine are."""
    lines = re.findall(r"^    agentgym-envs retrieval (.*)$", GUIDE, re.MULTILINE)
    assert len(lines) >= 8
    small = {"16": "1", "IVF4096,SQ8": "IVF1,SQ8"}
    return [[small.get(word, word) for word in shlex.split(line)] for line in lines]


def test_every_command_and_example_of_the_guide_works(e5, monkeypatch):
    """In the guide's order, on a small corpus under the same names."""
    served = []
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.server.serve", lambda *a, **k: served.append(a)
    )
    answer = Hit(Passage("7", '"Over there"\ntext'), 1.0)
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.client.HTTPRetriever.fingerprint", "somebody's"
    )
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.client.HTTPRetriever.search",
        lambda self, queries, k: [[answer] for _ in queries],
    )
    from agentgym_envs.retrieval.corpus import Corpus

    corpus = Corpus.open(CORPUS)
    lucene = importlib.util.find_spec("pyserini") is not None
    for words in commands():
        if "lucene" in words and not lucene:
            result = CliRunner().invoke(app, words)
            assert "pyserini is not installed" in str(result.exception)
        else:
            told = run(*words)
            assert told or words[0] == "serve"
    assert len(served) == 1
    kinds = set()
    for text in blocks("json"):
        settings = json.loads(text)
        kinds.add(settings["kind"])
        if settings["kind"] == "lucene" and not lucene:
            with pytest.raises(FileNotFoundError, match="no Lucene index"):
                open_retriever(settings, corpus)
            continue
        [found] = open_retriever(settings, corpus).search(["owl"], 3)
        assert found
    assert kinds == {"bm25", "e5", "faiss", "hybrid", "lucene", "http"}


def test_the_guides_environments_and_runs_open(place, monkeypatch):
    from agentgym_envs.searchqa.env import SearchQAEnv

    # There is no server, whose name would be asked for.
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.client.HTTPRetriever.fingerprint", "somebody's"
    )
    run("index", "bm25", CORPUS, "wiki-18.bm25")
    for text in blocks("python"):
        names: dict = {}
        exec(text, names)  # the guide is ours
        _, info = names["env"].reset(seed=0)
        assert info["data_source"] == "nq"
    for text in blocks("toml"):
        env = SearchQAEnv(**tomllib.loads(text)["env"]["common"], split="all")
        env.reset(seed=0)
        env.step("<search>owl</search>")
        assert "The owl" in env.scene.text
