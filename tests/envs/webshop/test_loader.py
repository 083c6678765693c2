"""Official files: found by name, read in pieces, cleaned by the official rules."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_envs.webshop import json_stream
from agentgym_envs.webshop.catalogue import Catalogue
from agentgym_envs.webshop.cleaning import clean, clean_price, index_text
from agentgym_envs.webshop.json_stream import JsonFile
from agentgym_envs.webshop.loader import find_files

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_shop(folder: Path, rows: list, *, size: str = "_1000") -> Path:
    folder.mkdir(exist_ok=True)
    write(folder / f"items_shuffle{size}.json", rows)
    write(folder / f"items_ins_v2{size}.json", {})
    write(folder / "items_human_ins.json", {})
    return folder


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@settings(max_examples=50)
@given(rows=st.lists(values, max_size=6), ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_an_array_read_in_pieces_is_the_array(rows, ascii, indent, chunk, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "rows.json"
    text = json.dumps(rows, ensure_ascii=ascii, indent=indent)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert list(JsonFile(path).rows()) == rows


@pytest.mark.parametrize("chunk", [1, 4096])
@settings(max_examples=50)
@given(table=st.dictionaries(st.text(), values, max_size=6))
def test_an_object_read_in_pieces_is_the_object(table, chunk, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("json") / "table.json", table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert dict(JsonFile(path).items()) == table


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"expected '\['"),
        ("{}", r"expected '\['"),
        ("[1, 2", "after element 2, found the end"),
        ("[1 2]", "after element 1, found '2'"),
        ('[{"a": 1}, {"a": nil}]', "element 2 is malformed"),
        ('["never closed]', "element 1 is malformed: Unterminated string"),
        ("[1] 2", "text after the end"),
        ("[1,]", "element 2 is malformed"),
    ],
)
def test_malformed_json_is_an_error_naming_the_element(text, complaint, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"rows.json: .*{complaint}"):
        list(JsonFile(path).rows())


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(ValueError, match="not UTF-8"):
        list(JsonFile(path).rows())


@pytest.mark.parametrize("size", ["", "_1000", "_100000"])
def test_files_of_any_size_are_found(size, tmp_path, make_row):
    files = find_files(write_shop(tmp_path, [make_row("B1")], size=size))
    assert (files.size, files.nouns) == (size, None)
    assert files.attributes.name == f"items_ins_v2{size}.json"


def test_a_missing_file_is_named(tmp_path, make_row):
    with pytest.raises(FileNotFoundError, match=r"does not exist"):
        Catalogue.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no items_shuffle"):
        Catalogue.load(tmp_path)
    write_shop(tmp_path, [make_row("B1")])
    (tmp_path / "items_human_ins.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"items_human_ins.json is missing"):
        Catalogue.load(tmp_path)
    (tmp_path / "items_ins_v2_1000.json").rename(tmp_path / "items_ins_v2.json")
    with pytest.raises(FileNotFoundError, match=r"items_ins_v2_1000.json is missing"):
        Catalogue.load(tmp_path)


def test_two_sizes_in_one_folder_need_the_path_of_one(tmp_path, make_row):
    write_shop(tmp_path, [make_row("B1")])
    write_shop(tmp_path, [make_row("B1"), make_row("B2")], size="")
    with pytest.raises(ValueError, match=r"several product files .*give the path of one"):
        Catalogue.load(tmp_path)
    assert len(Catalogue.load(tmp_path / "items_shuffle.json")) == 2
    assert len(Catalogue.load(tmp_path / "items_shuffle_1000.json")) == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": None}, "'name' should be text"),
        ({"pricing": "free"}, "'pricing' is no price"),
        ({"pricing": "$"}, "'pricing' is no price"),
        ({"pricing": "$1.2.3"}, "'pricing' is no price"),
        ({"images": "x"}, "'images' should be a list"),
        ({"small_description": [None]}, "'small_description' should hold texts"),
        ({"customization_options": ["red"]}, "'customization_options' should be an object"),
        ({"customization_options": {"color": [{"image": None}]}}, "option 'color'"),
    ],
)
def test_a_malformed_row_is_named(changes, complaint, tmp_path, make_row):
    write_shop(tmp_path, [make_row("B1"), make_row("B2", **changes)])
    with pytest.raises(
        ValueError, match=rf"items_shuffle_1000.json: row 2 \(asin 'B2'\): {complaint}"
    ):
        Catalogue.load(tmp_path)


def test_a_missing_field_is_named(make_row):
    row = make_row("B1")
    del row["query"]
    with pytest.raises(ValueError, match=r"row 1 \(asin 'B1'\): no 'query'"):
        Catalogue.build([row], {}, {})


@pytest.mark.parametrize("row", [{}, [], {"asin": 3}, {"asin": ""}, {"asin": "a\nb"}])
def test_a_row_without_an_id_is_named(row):
    with pytest.raises(ValueError, match="row 1: "):
        Catalogue.build([row], {}, {})


@pytest.mark.parametrize(
    ("attributes", "human", "complaint"),
    [
        ({"B1": ["soft"]}, {}, "attribute entry should be an object"),
        ({"B1": {"attributes": "soft"}}, {}, "'attributes' should be a list"),
        ({"B1": {"attributes": [], "instruction": "find"}}, {}, "'instruction_attributes'"),
        ({}, {"B1": None}, "human instructions should be a list"),
        ({}, {"B1": [{"instruction": "find"}]}, "human instruction 1"),
    ],
)
def test_malformed_tables_are_named(attributes, human, complaint, make_row):
    with pytest.raises(ValueError, match=rf"\(asin 'B1'\): .*{complaint}"):
        Catalogue.build([make_row("B1")], attributes, human)


def test_rows_that_the_official_loader_skips(make_row):
    kept = ["B2", "ten_chars_", "B1"]
    rows = [*map(make_row, kept), make_row("nan"), make_row("eleven_char"), make_row("B2")]
    assert list(Catalogue.build(rows, {}, {}).asins) == kept


def test_nothing_kept_is_an_error(make_row):
    with pytest.raises(ValueError, match="no product"):
        Catalogue.build([make_row("nan")], {}, {})


@pytest.mark.parametrize(
    ("text", "prices", "tag"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        ("$877.80", (877.8,), "$877.8"),
        ("$1,299.00", (1299.0,), "$1299.0"),
        ("$15.50 - $99.99", (15.5, 99.99), "$15.5 to $99.99"),
        ("$5.00 - $9.00 $12.00", (5.0, 9.0), "$5.0 to $9.0"),
        ("from 3 to $7", (7.0,), "$7.0"),
    ],
)
def test_prices(text, prices, tag):
    assert clean_price(text) == (prices, tag)


def test_cleaning_by_hand(make_row):
    product = clean(
        make_row(
            "B1",
            name=" Mug ",
            query=" Tea MUGS ",
            small_description="one text",
            customization_options={
                "Color": [{"value": " Black/White "}, {"value": "red"}, {"value": "RED"}],
                "Size": None,
                "Fit": [],
            },
        ),
        None,
    )
    assert product.title == " Mug "
    assert product.query == "tea mugs"
    assert product.bullets == ("one text",)
    assert product.options == {"color": ("black | white", "red", "red"), "fit": ()}
    assert product.attributes == ("DUMMY_ATTR",)
    assert index_text(product) == " mug  a mug. one text color: black | white, red, red, and fit: "


def test_a_later_option_of_the_same_name_replaces_the_earlier_one(make_row, make_options):
    options = make_options(Color=["red"], size=["s"], color=["blue"])
    product = clean(make_row("B1", customization_options=options), {"attributes": ["soft"]})
    assert list(product.options.items()) == [("color", ("blue",)), ("size", ("s",))]
    assert product.attributes == ("soft",)
