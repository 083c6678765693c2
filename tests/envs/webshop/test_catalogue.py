"""The catalogue: what it tells of its products, however it was made."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentgym_envs.webshop.catalogue import Catalogue, open_catalogue


@pytest.fixture(scope="module")
def small(make_row, make_options) -> Catalogue:
    rows = [
        make_row("B3", category="fashion", query="shoes", name="Red canvas shoes"),
        make_row("B1", category="garden", customization_options=make_options(Color=["red"])),
        make_row("B2", category="fashion", query="shoes", name="Blue canvas shoes"),
    ]
    return Catalogue.build(rows, {"B1": {"attributes": ["soft"]}}, {})


def test_products_in_load_order(small):
    assert list(small.asins) == ["B3", "B1", "B2"]
    assert small.asins[1:] == ["B1", "B2"]
    assert [small.row(asin) for asin in small.asins] == [0, 1, 2]
    assert [small.product(asin).asin for asin in small.asins] == ["B3", "B1", "B2"]
    assert small.product("B1").attributes == ("soft",)
    assert small.product("B1") is small.product("B1")


@pytest.mark.parametrize("asin", ["B4", "b1", "", "B", "B1 ", "B" * 40, "é", "\ud800"])
def test_an_unknown_product(small, asin):
    assert asin not in small
    with pytest.raises(KeyError, match="no product"):
        small.product(asin)


def test_listings(small):
    assert small.by_category("fashion") == ("B3", "B2")
    assert small.by_query("mugs") == ("B1",)
    assert small.by_category("Fashion") == small.by_query("") == ()


def test_search_breaks_ties_by_asin(small):
    assert small.search("canvas shoes") == ("B2", "B3")
    assert small.search("canvas shoes", 1) == ("B2",)
    assert small.search("RED") == ("B3", "B1")
    assert small.search("the of and") == small.search("") == ()


def test_an_unknown_kind_of_goal(small):
    with pytest.raises(ValueError, match="synthetic, human"):
        small.instructions("robot")


def test_the_fingerprint_follows_the_content(make_row):
    def fingerprint(*rows, human=(), nouns=None):
        said = {"instruction": "a mug", "instruction_attributes": ["soft"]}
        humans = {"B1": [said | {"instruction_options": list(human)}]} if human else {}
        return Catalogue.build(rows, {}, humans, nouns=nouns).fingerprint

    plain = make_row("B1")
    different = {
        fingerprint(plain),
        fingerprint(plain, make_row("B2")),
        fingerprint(make_row("B2"), plain),
        fingerprint(make_row("B1", name="Other mug")),
        fingerprint(plain, human=["red"]),
        fingerprint(plain, nouns={"Plain mug B1": ["mug"]}),
        fingerprint(plain, nouns={}),
    }
    assert len(different) == 7
    assert fingerprint(plain) == fingerprint(plain | {"brand": "not used"})


def test_stored_nouns(make_row):
    nouns = {"Plain mug B1": ["mug", "mug"], "": [], "Ünï 🔥": ["ünï"]}
    table = Catalogue.build([make_row("B1")], {}, {}, nouns=nouns).nouns
    assert table is not None
    assert dict(table) == {title: tuple(listed) for title, listed in nouns.items()}
    assert "Plain mug B2" not in table
    assert Catalogue.build([make_row("B1")], {}, {}).nouns is None
    with pytest.raises(ValueError, match="noun table"):
        Catalogue.build([make_row("B1")], {}, {}, nouns={"Plain mug B1": "mug"})


def test_a_noun_table_beside_the_official_files(shop_data, shop_folders, tmp_path):
    for name, folder in shop_folders.items():
        recorded = shop_data / "recordings" / f"nouns-{name}.json"
        copy = tmp_path / name
        copy.mkdir()
        for path in folder.iterdir():
            (copy / path.name).symlink_to(path)
        (copy / "nouns.json").symlink_to(recorded)
        catalogue = Catalogue.load(copy)
        assert catalogue.nouns is not None
        expected = json.loads(recorded.read_text(encoding="utf-8"))
        assert dict(catalogue.nouns) == {title: tuple(nouns) for title, nouns in expected.items()}
        assert all(catalogue.product(asin).title in catalogue.nouns for asin in catalogue.asins)


def test_a_built_catalogue_pickles_whole(small):
    copy = pickle.loads(pickle.dumps(small))
    assert copy.fingerprint == small.fingerprint
    assert [copy.product(asin) for asin in copy.asins] == [small.product(a) for a in small.asins]


def test_an_opened_catalogue_pickles_as_its_path_and_is_shared(small, tmp_path):
    path = tmp_path / "shop.store"
    small.save(path)
    opened = open_catalogue(path)
    assert open_catalogue(str(path)) is opened
    assert len(pickle.dumps(opened)) < 500
    assert pickle.loads(pickle.dumps(opened)) is opened


def test_a_pickle_notices_that_its_file_has_changed(small, tmp_path, make_row):
    path = tmp_path / "shop.store"
    small.save(path)
    pickled = pickle.dumps(Catalogue.load(path))
    Catalogue.build([make_row("B9")], {}, {}).save(path)
    with pytest.raises(ValueError, match="has changed"):
        pickle.loads(pickled)


def test_threads_share_one(shop_folders):
    """The index is built once and answers are those of a single thread."""
    for folder in shop_folders.values():
        alone, shared = Catalogue.load(folder), Catalogue.load(folder)
        titles = [alone.product(asin).title for asin in alone.asins[:60]]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(shared.search, titles))
            products = list(threads.map(shared.product, shared.asins))
        assert found == [alone.search(title) for title in titles]
        assert products == [alone.product(asin) for asin in alone.asins]


def test_real_catalogues_hold_what_their_files_say(shop_folders, catalogue_of):
    """Every product that is kept, listed under its own category and query."""
    for name in shop_folders:
        catalogue = catalogue_of(name)
        listed = {"by_category": set(), "by_query": set()}
        for asin in catalogue.asins:
            product = catalogue.product(asin)
            assert asin in catalogue and product.asin == asin
            assert len(product.prices) in (1, 2) and product.price_tag.startswith("$")
            listed["by_category"].add(product.category)
            listed["by_query"].add(product.query)
        for method, names in listed.items():
            rows = [asin for each in names for asin in getattr(catalogue, method)(each)]
            assert sorted(rows) == sorted(catalogue.asins)
