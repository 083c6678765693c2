import errno
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.types import Passage

PASSAGES = [Passage("0", '"Honey"\nMade by bees.'), Passage("1", '"Überfluß"\nViel — sehr viel.')]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(passage: Passage) -> dict:
    return {"id": passage.id, "contents": passage.contents}


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "corpus.jsonl", [row(passage) for passage in PASSAGES])


def test_a_file_gives_the_passages_it_holds(path):
    corpus = Corpus.open(path)
    assert len(corpus) == 2
    assert list(corpus) == PASSAGES
    assert corpus.passage(1).title == "Überfluß"
    assert corpus.passages(["1", "0"]) == PASSAGES[::-1]


def test_title_and_text_make_contents(tmp_path):
    path = write(tmp_path / "c.jsonl", [{"id": 7, "title": "Honey", "text": "Made by bees."}])
    assert Corpus.open(path).passage(0) == Passage("7", '"Honey"\nMade by bees.')


@given(
    st.lists(
        st.builds(Passage, st.text(max_size=5), st.text(max_size=20)),
        min_size=1,
        max_size=8,
        unique_by=lambda passage: passage.id,
    )
)
def test_on_disk_and_in_memory_are_one_corpus(tmp_path_factory, passages):
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    on_disk, held = Corpus.open(write(path, [row(one) for one in passages])), Corpus.of(passages)
    assert list(on_disk) == list(held) == passages
    assert on_disk.fingerprint == held.fingerprint
    for corpus in (on_disk, held):
        assert [corpus.number_of(one.id) for one in passages] == list(range(len(passages)))


def test_fingerprints_tell_apart_what_is_cut_differently():
    assert (
        Corpus.of([Passage("a", "bc")]).fingerprint != Corpus.of([Passage("ab", "c")]).fingerprint
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "1"', "not JSON"),
        ("[1, 2]", "object is expected, got list"),
        ('{"contents": "x"}', '"id" should be'),
        ('{"id": true, "contents": "x"}', '"id" should be'),
        ('{"id": "1", "text": "x"}', 'no "contents"'),
        ('{"id": "1", "contents": 3}', 'no "contents"'),
        ('{"id": "1", "title": 1, "text": "x"}', "should be texts"),
        ('{"id": "1", "contents": "\\ud800"}', "surrogates not allowed"),
        ('{"id": "0", "contents": "x"}', "is also the id of line 1"),
    ],
)
def test_a_malformed_line_is_named(path, line, said):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line]) + "\n")
    with pytest.raises(ValueError, match="line 2: .*") as error:
        Corpus.open(path)
    assert said in str(error.value)
    assert not path.with_name("corpus.jsonl.offsets").exists()


def test_empty_lines_may_only_end_a_file(path):
    text = path.read_text()
    path.write_text(text + "\n\n")
    assert list(Corpus.open(path)) == PASSAGES
    path.write_text("\n" + text)
    with pytest.raises(ValueError, match="line 1: empty"):
        Corpus.open(path)


def test_a_file_without_passages_is_refused(tmp_path):
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no passage"):
        Corpus.open(tmp_path / "c.jsonl")
    with pytest.raises(FileNotFoundError, match="no corpus file"):
        Corpus.open(tmp_path / "none.jsonl")


def test_the_second_opening_reads_nothing_anew(path):
    Corpus.open(path)
    said = []
    Corpus.open(path, progress=lambda done, total: said.append(done))
    assert said == []


def test_a_changed_file_is_read_anew(path):
    Corpus.open(path)
    before = path.stat()
    path.write_text(path.read_text().replace("bees", "wasp"))  # of the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert "wasp" in Corpus.open(path).passage(0).contents
    assert Corpus.open(path).fingerprint != Corpus.of(PASSAGES).fingerprint


def test_a_touched_file_keeps_its_offsets(path):
    Corpus.open(path)
    os.utime(path, ns=(1, 1))
    said = []
    corpus = Corpus.open(path, progress=lambda done, total: said.append((done, total)))
    assert list(corpus) == PASSAGES
    assert said == [(path.stat().st_size, path.stat().st_size)]
    Corpus.open(path, progress=lambda done, total: pytest.fail("hashed again"))


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"rubbish", b"[1]\n", b'{"version": 2}\n'])
def test_a_damaged_offsets_file_is_made_again(path, damage):
    Corpus.open(path)
    path.with_name("corpus.jsonl.offsets").write_bytes(damage)
    assert list(Corpus.open(path)) == PASSAGES


def test_a_flipped_bit_in_the_offsets_is_noticed(path):
    """Wherever it is: in what the header says of the corpus, too."""
    fingerprint = Corpus.open(path).fingerprint
    beside = path.with_name("corpus.jsonl.offsets")
    held = beside.read_bytes()
    for at in (len(held) - 9, held.index(fingerprint.encode()), held.index(b'"count": 2') + 9):
        flipped = bytearray(held)
        flipped[at] ^= 1
        beside.write_bytes(flipped)
        corpus = Corpus.open(path)
        assert list(corpus) == PASSAGES and corpus.fingerprint == fingerprint


def test_the_offsets_file_is_for_whom_others_are(path):
    before = os.umask(0o027)
    try:
        Corpus.open(path)
    finally:
        os.umask(before)
    assert path.with_name("corpus.jsonl.offsets").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_a_cache_is_asked_for_before_anything_is_read(
    path, monkeypatch, number
):
    real = Path.open

    def refused(self, *mode, **more):
        if self.suffix == ".draft":
            raise OSError(number, os.strerror(number))
        return real(self, *mode, **more)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError, match=f"{os.strerror(number)}.*as `cache`"):
        Corpus.open(path, progress=lambda done, total: pytest.fail("read"))


def test_what_cannot_be_written_whole_leaves_nothing_behind(path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agentgym_envs.retrieval.corpus_file._write", full)
    with pytest.raises(OSError, match="No space left"):
        Corpus.open(path)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_changed_while_open_is_not_read_wrongly(path):
    corpus = Corpus.open(path)
    with path.open("r+b") as file:
        file.write(b"#")
    with pytest.raises(ValueError, match="changed while it was open"):
        corpus.passage(0)


def test_offsets_go_where_they_are_told(path, tmp_path):
    cache = tmp_path / "cache"
    assert list(Corpus.open(path, cache=cache)) == PASSAGES
    assert len(list(cache.iterdir())) == 1
    assert not path.with_name("corpus.jsonl.offsets").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_asks_for_a_cache(path):
    path.parent.chmod(0o555)
    with pytest.raises(PermissionError, match="as `cache`"):
        Corpus.open(path)
    path.parent.chmod(0o755)


def test_a_corpus_pickles_as_its_path(tmp_path):
    many = [Passage(f"p{i}", f'"T{i}"\n' + "word " * 100) for i in range(100)]
    corpus = Corpus.open(write(tmp_path / "c.jsonl", [row(one) for one in many]))
    pickled = pickle.dumps(corpus)
    assert len(pickled) < 1000
    assert list(pickle.loads(pickled)) == many
    write(tmp_path / "c.jsonl", [row(one) for one in PASSAGES])
    with pytest.raises(ValueError, match="no longer the corpus"):
        pickle.loads(pickled)
    held = Corpus.of(many)
    assert pickle.loads(pickle.dumps(held)).fingerprint == held.fingerprint == corpus.fingerprint


def test_threads_share_a_corpus(tmp_path):
    many = [Passage(f"p{i}", f'"T{i}"\n' + "word " * i) for i in range(200)]
    corpus = Corpus.open(write(tmp_path / "c.jsonl", [row(one) for one in many]))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(corpus.passage, range(200))) == many
        assert list(pool.map(lambda one: corpus.number_of(one.id), many)) == list(range(200))


@pytest.mark.parametrize("held", [True, False])
def test_what_is_not_there_is_an_error(path, held):
    corpus = Corpus.of(PASSAGES) if held else Corpus.open(path)
    for number in (-1, 2):
        with pytest.raises(IndexError, match="the corpus has 2"):
            corpus.passage(number)
    for id in ("2", "01", "²", "x", ""):
        with pytest.raises(KeyError, match="id"):
            corpus.number_of(id)


def test_ids_come_once_in_memory_too():
    with pytest.raises(ValueError, match="the id '0'"):
        Corpus.of([PASSAGES[0], PASSAGES[0]])


def test_the_real_sample_opens(real_data, tmp_path):
    for path in (real_data / "searchqa").glob("corpus*.jsonl"):
        corpus = Corpus.open(path, cache=tmp_path)
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        assert [(one.id, one.contents) for one in corpus] == [
            (str(row["id"]), row["contents"]) for row in rows
        ]
        assert all(corpus.number_of(str(row["id"])) == i for i, row in enumerate(rows))
