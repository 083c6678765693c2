"""The saved form: gives back everything, and refuses what is not whole."""

import json
import random
from pathlib import Path

import pytest

from agentgym_envs.webshop import records, store
from agentgym_envs.webshop.catalogue import KINDS, Catalogue


def everything(catalogue: Catalogue) -> list:
    """All that a catalogue can say, searches aside."""
    return [
        catalogue.fingerprint,
        list(catalogue.asins),
        [catalogue.product(asin) for asin in catalogue.asins],
        [list(catalogue.instructions(kind)) for kind in KINDS],
        [catalogue.by_category(catalogue.product(asin).category) for asin in catalogue.asins[:5]],
        [catalogue.by_query(catalogue.product(asin).query) for asin in catalogue.asins[:5]],
        None if catalogue.nouns is None else dict(catalogue.nouns),
        dict(catalogue.inputs),
    ]


@pytest.fixture(scope="module")
def rows(make_row, make_options):
    products = [
        make_row(f"B{n}", name=f"Mug number {n}", customization_options=make_options(Size=["s"]))
        for n in range(5)
    ]
    asked = {"attributes": ["soft"], "instruction": "Find it", "instruction_attributes": ["soft"]}
    said = {"instruction": "a mug", "instruction_attributes": ["a"], "instruction_options": []}
    return products, {"B1": asked}, {"B2": [said]}, {"Mug number 1": ["mug"]}


@pytest.fixture
def saved(rows, tmp_path) -> Path:
    path = tmp_path / "shop.store"
    Catalogue.build(*rows[:3], nouns=rows[3]).save(path)
    return path


def test_real_catalogues_come_back(shop_folders, recorded, read_lines, tmp_path):
    queries = {
        name: [line["query"] for line in read_lines(path)][:100]
        for name, path in recorded("search-*").items()
    }
    for name, folder in shop_folders.items():
        loaded = Catalogue.load(folder)
        loaded.save(tmp_path / name)
        opened = Catalogue.load(tmp_path / name)
        assert everything(opened) == everything(loaded)
        for query in queries.get(name, []):
            assert opened.search(query) == loaded.search(query)


def test_official_files_and_rows_give_the_same_catalogue(rows, tmp_path):
    names = ("items_shuffle.json", "items_ins_v2.json", "items_human_ins.json", "nouns.json")
    for name, content in zip(names, rows, strict=True):
        (tmp_path / name).write_text(json.dumps(content))
    loaded = Catalogue.load(tmp_path)
    assert everything(loaded)[:-1] == everything(Catalogue.build(*rows[:3], nouns=rows[3]))[:-1]
    assert set(loaded.inputs) == set(names)
    assert all(len(checksum) == 64 for checksum in loaded.inputs.values())


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    again = tmp_path / "again.store"
    Catalogue.load(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_many_products_go_through_a_temporary_file(saved, rows, monkeypatch):
    monkeypatch.setattr(records, "_IN_MEMORY", 100)
    spilled = Catalogue.build(*rows[:3], nouns=rows[3])
    assert everything(spilled) == everything(Catalogue.load(saved))


def test_every_damaged_byte_is_noticed(saved, tmp_path):
    """On opening, or when the damaged value is read."""
    whole = saved.read_bytes()
    dice = random.Random(0)
    places = [*range(48), *(dice.randrange(len(whole)) for _ in range(150))]
    broken = tmp_path / "broken.store"
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        broken.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|is no saved|has version"):
            everything(Catalogue.load(broken))


@pytest.mark.parametrize("kept", [0, 5, 20, 100, -1, -1000])
def test_a_truncated_file_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"damaged|is no saved"):
        Catalogue.load(saved)


def test_a_longer_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"more")
    with pytest.raises(ValueError, match=r"damaged: it has .* bytes instead of"):
        Catalogue.load(saved)


def test_another_version_is_refused(saved, monkeypatch):
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    with pytest.raises(ValueError, match=r"has version \d+, .* version \d+: make it anew with"):
        Catalogue.load(saved)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "shop.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="is no saved WebShop catalogue; give the folder"):
        Catalogue.load(path)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(store, "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        Catalogue.load(saved).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_missing_folder_is_named(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        Catalogue.load(saved).save(tmp_path / "nowhere" / "shop.store")
