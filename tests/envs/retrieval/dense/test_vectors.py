import json

import numpy as np
import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.dense.build import build_vectors, write_vectors
from agentgym_envs.retrieval.dense.vectors import FORMS, Manifest, Vectors, write_manifest
from agentgym_envs.retrieval.types import Passage

CORPUS = Corpus.of([Passage(str(i), f'"Title {i}"\ntext {i * i}') for i in range(25)])


class Letters:
    """An encoder without a model: counts of ten letters, or it stops after so many passages."""

    def __init__(self, name: str = "letters", stop: int = 1_000) -> None:
        self.fingerprint, self.dimension = name, 10
        self.left = stop

    def encode_passages(self, texts):
        self.left -= len(texts)
        if self.left < 0:
            raise KeyboardInterrupt
        return np.array([[one.count(c) / 3 for c in "Title 0123"] for one in texts], np.float32)


EXACT = Letters().encode_passages([passage.contents for passage in CORPUS])


@pytest.mark.parametrize("form", FORMS)
def test_what_is_stored_is_read_back(tmp_path, form):
    build_vectors(CORPUS, Letters(), tmp_path / "v", forms=[form], chunk=4)
    vectors = Vectors.open(tmp_path / "v", corpus=CORPUS.fingerprint, encoder="letters")
    vectors.check()
    assert (vectors.count, vectors.dimension, vectors.best_form) == (25, 10, form)
    # bfloat16 keeps 8 bits; int8 has 127 steps up to a row's largest number
    tolerance = {"float32": 0, "bfloat16": 2.0**-9 * EXACT, "int8": EXACT.max(1)[:, None] / 253}
    assert (np.abs(vectors.rows(np.arange(25)) - EXACT) <= tolerance[form]).all()


def test_bfloat16_rounds_as_torch_does():
    torch = pytest.importorskip("torch", reason="the reference")
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(1000, 16)).astype(np.float32)
    matrix[0, :2] = (1 + 2.0**-8, 1 + 3 * 2.0**-8)  # ties: to even
    ours = Vectors.of(matrix, ["bfloat16"], corpus="c").rows(np.arange(1000))
    assert np.array_equal(ours, torch.from_numpy(matrix).bfloat16().float().numpy())


def test_a_stopped_build_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build_vectors(CORPUS, Letters(stop=10), tmp_path / "v", forms=list(FORMS), chunk=4)
    with pytest.raises(FileNotFoundError, match="no finished vectors"):
        Vectors.open(tmp_path / "v")
    with (tmp_path / "v" / "building.jsonl").open("a") as log:
        log.write('{"float32": "cut sho')  # as a crash leaves it
    said = []
    went_on = build_vectors(
        CORPUS,
        Letters(stop=17),
        tmp_path / "v",
        forms=list(FORMS),
        chunk=4,
        progress=lambda done, total: said.append((done, total)),
    )
    at_once = build_vectors(CORPUS, Letters(), tmp_path / "w", forms=list(FORMS), chunk=4)
    assert said == [(12, 25), (16, 25), (20, 25), (24, 25), (25, 25)]
    assert went_on.fingerprint == at_once.fingerprint
    for form in FORMS:
        assert np.array_equal(went_on.matrices[form], at_once.matrices[form])
    assert not (tmp_path / "v" / "building.jsonl").exists()


def test_a_finished_build_is_only_opened(tmp_path):
    build_vectors(CORPUS, Letters(), tmp_path / "v")
    again = build_vectors(CORPUS, Letters(stop=0), tmp_path / "v")
    assert np.array_equal(again.matrices["float32"], EXACT)


def test_vectors_of_something_else_are_refused(tmp_path):
    build_vectors(CORPUS, Letters(), tmp_path / "v")
    with pytest.raises(ValueError, match="another corpus"):
        Vectors.open(tmp_path / "v", corpus="other")
    with pytest.raises(ValueError, match="another encoder"):
        Vectors.open(tmp_path / "v", encoder="other")
    with pytest.raises(ValueError, match="other vectors: encoder letters, not other"):
        build_vectors(CORPUS, Letters("other"), tmp_path / "v")
    with pytest.raises(KeyboardInterrupt):
        build_vectors(CORPUS, Letters(stop=0), tmp_path / "w")
    with pytest.raises(ValueError, match="unfinished build of other vectors"):
        build_vectors(CORPUS, Letters("other"), tmp_path / "w")


def test_damage_is_found_by_a_sample_at_opening_and_to_the_last_bit_on_demand(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20_000, 10)).astype(np.float32)
    plan = Manifest(
        count=20_000, dimension=10, forms=("float32",), encoder="", corpus="c", chunk=1_000
    )
    write_vectors(tmp_path, plan, lambda first: np.split(rows[first:], (20_000 - first) // 1_000))
    path = tmp_path / "float32.bin"
    held = path.read_bytes()
    flipped = bytearray(held)
    flipped[10_600 * 40] ^= 1  # between two blocks of the sample
    path.write_bytes(flipped)
    vectors = Vectors.open(tmp_path)
    with pytest.raises(ValueError, match="rows 10000 to 11000"):
        vectors.check()
    for damaged in (b"\0" * 4 + held[4:], held[:300_000] + bytes(100_000) + held[400_000:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"float32\.bin is not what was written"):
            Vectors.open(tmp_path)
    path.write_bytes(held[:-4])
    with pytest.raises(ValueError, match="799,996 bytes and should have 800,000"):
        Vectors.open(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"float32\.bin"):
        Vectors.open(tmp_path)


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_chunk_that_was_spoilt_while_a_build_rested_is_made_again_and_no_other(tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        build_vectors(CORPUS, Letters(stop=16), tmp_path / "v", forms=list(FORMS), chunk=4)
    path = tmp_path / "v" / "int8.bin"
    held = bytearray(path.read_bytes())
    if damage == "flipped":
        held[5 * 10] ^= 1  # of chunk 1
    else:
        del held[13 * 10 :]  # chunk 3 lost its end
    path.write_bytes(held)
    again = build_vectors(CORPUS, Letters(stop=13), tmp_path / "v", forms=list(FORMS), chunk=4)
    at_once = build_vectors(CORPUS, Letters(), tmp_path / "w", forms=list(FORMS), chunk=4)
    assert again.fingerprint == at_once.fingerprint
    again.check()


def test_a_build_that_stops_before_its_log_is_removed_is_finished(tmp_path, monkeypatch):
    real = write_manifest

    def stop(*args):
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr("agentgym_envs.retrieval.dense.build.write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            build_vectors(CORPUS, Letters(), tmp_path / "v")
    assert build_vectors(CORPUS, Letters(stop=0), tmp_path / "v").count == 25
    assert not (tmp_path / "v" / "building.jsonl").exists()


@pytest.mark.parametrize("form", FORMS)
def test_residuals_bound_what_a_form_loses(form):
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(300, 16)).astype(np.float32)
    vectors = Vectors.of(matrix, [form], corpus="c")
    lost = np.linalg.norm(matrix - vectors.rows(np.arange(300)), axis=1)
    assert vectors.manifest.residuals[form] == pytest.approx(lost.max(), abs=1e-7)
    assert vectors.manifest.norm == pytest.approx(np.linalg.norm(matrix, axis=1).max())


def test_a_manifest_of_another_version_is_refused(tmp_path):
    build_vectors(CORPUS, Letters(), tmp_path / "v")
    path = tmp_path / "v" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        Vectors.open(tmp_path / "v")
    path.write_text('{"format": "bm25", "version": 2}')
    with pytest.raises(ValueError, match="does not describe vectors"):
        Vectors.open(tmp_path / "v")


@pytest.mark.parametrize("forms", [[], ["float64"], "float32"])
def test_forms_are_checked(forms):
    with pytest.raises(ValueError, match="forms is a list"):
        Vectors.of(EXACT, forms, corpus="c")


def test_a_number_that_is_none_is_refused(tmp_path):
    class Broken(Letters):
        def encode_passages(self, texts):
            return np.full((len(texts), 10), np.nan, np.float32)

    with pytest.raises(ValueError, match="rows 0 to 4: a vector holds an infinity or NaN"):
        build_vectors(CORPUS, Broken(), tmp_path / "v", chunk=4)
