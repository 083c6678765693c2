"""Tables: one source, three ways to write it, none of which text can break out of."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_train.report.stats import Interval
from agentgym_train.report.tables import Column, Table, comma_separated, markdown, shown

SMALL = Table(
    key="small",
    title="A small table",
    columns=(Column("name"), Column("rate", "percent"), Column("95 %", "interval")),
    rows=(("grpo", 0.25, Interval(0.1, 0.4)), ("opd", None, None)),
    note="In percent.",
)


def test_markdown():
    assert markdown([SMALL], "Report") == (
        "# Report\n\n## A small table\n\nIn percent.\n\n"
        "| name | rate | 95 % |\n| --- | ---: | ---: |\n"
        "| grpo | 25.0 | 10.0 to 40.0 |\n| opd | – | – |\n"
    )


def test_csv_has_full_precision_and_both_ends():
    assert comma_separated(SMALL) == ("name,rate,95 %: low,95 %: high\ngrpo,0.25,0.1,0.4\nopd,,,\n")


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("percent", 0.12345, "12.3"),
        ("points", -0.05, "−5.0"),
        ("points", 0.05, "+5.0"),
        ("p", 0.0004, "< 0.001"),
        ("p", 0.04, "0.040"),
        ("count", 12345.0, "12,345"),
        ("number", 1234567.0, "1.23 M"),
        ("number", 45600.0, "45.6 k"),
        ("number", 3.14159, "3.14"),
        ("percent", float("nan"), "–"),
    ],
)
def test_numbers_as_people_read_them(kind, value, text):
    assert shown(Column("", kind), value) == text


@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_text_adds_a_row_or_a_cell(text):
    table = Table(key="t", title="T", columns=(Column("a"), Column("b")), rows=((text, "x"),))
    rows = list(csv.reader(io.StringIO(comma_separated(table), newline="")))
    assert len(rows) == 2
    assert len(rows[1]) == 2
    assert not rows[1][0].startswith(("=", "+", "-", "@"))
    last = markdown([table], "T").splitlines()[-1]
    assert last.count("|") - last.count("\\|") == 3
    assert "<" not in last.replace("\\<", "")


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        Table(key="t", title="T", columns=(Column("a"),), rows=(("x", "y"),))
