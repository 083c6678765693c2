"""Words and terms: hand-checked against Lucene 9, a law or two, and recorded real texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.bm25 import analysis
from agentgym_envs.retrieval.bm25.analysis import STOP_WORDS, analyze, words
from agentgym_envs.retrieval.bm25.word_break import unicode_words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" - ... __ ' # *", []),
        ("o'neil can't e.g. x:y", ["o'neil", "can't", "e.g", "x:y"]),
        ("1,000.5 3'4 1;2 5:30", ["1,000.5", "3'4", "1;2", "5", "30"]),
        ("a,b a;b a.1 1.a", ["a", "b", "a", "b", "a", "1", "1", "a"]),
        ("snake_case _x_ a_1,2", ["snake_case", "_x_", "a_1,2"]),
        ("wi-fi b&w 16x24in", ["wi", "fi", "b", "w", "16x24in"]),
        ("rock'n'roll 'quoted'", ["rock'n'roll", "quoted"]),
        ("a''b a..b a.'b", ["a", "b", "a", "b", "a", "b"]),
    ],
)
def test_words_in_ascii(text, wanted):
    assert words(text) == wanted
    assert unicode_words(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Johnny’s 7.09” naïve", ["Johnny’s", "7.09", "naïve"]),
        ("日本語 ひら カタカナ 한국어", ["日", "本", "語", "ひ", "ら", "カタカナ", "한국어"]),
        ("カ_a aカ", ["カ_a", "a", "カ"]),
        ("ภาษาไทย ok", ["ภาษาไทย", "ok"]),
        ("e\u0301a \u0301b x\u00ady", ["e\u0301a", "b", "x\u00ady"]),
        ("✔ ❤️ 🔥🔥 ★ ● ❶", ["✔", "❤️", "🔥", "🔥", "★"]),
        ("👍🏽 👩‍👧 🇩🇪🇫🇷 🇩", ["👍🏽", "👩‍👧", "🇩🇪", "🇫🇷"]),
        ("1️⃣ #️⃣ *⃣ ©a", ["1️⃣", "#️⃣", "*⃣", "©", "a"]),
        ("❤\ufe0e ‍❤", ["❤", "‍❤"]),
        ("א' א\"ב a:א'", ["א'", 'א"ב', "a:א"]),
        ("1٫5 ٣٤ １２", ["1٫5", "٣٤", "１２"]),
        ("l·l a‧b a：b", ["l·l", "a‧b", "a：b"]),
    ],
)
def test_words_in_any_script(text, wanted):
    assert words(text) == wanted


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_word_is_cut_at_255(letter):
    assert words(letter * 600) == [letter * 255, letter * 255, letter * 90]
    assert words("b " * 200 + letter * 255) == ["b"] * 200 + [letter * 255]


def test_letters_beyond_the_first_plane_fill_a_word_twice_as_fast():
    assert [len(word) for word in words("𝒜" * 200)] == [127, 73]
    assert [len(word) for word in words("a" + "𝒜" * 200)] == [128, 73]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The and of", []),
        ("Women's WOMEN’S o'neil's s's", ["women", "women", "o'neil", "s"]),
        ("running runs RAN us using", ["run", "run", "ran", "us", "us"]),
        ("technology and the probably", ["technolog", "probabl"]),
        ("ΟΔΟΣ İX", ["οδοσ", "ix"]),
        ("a's", []),
    ],
)
def test_terms(text, wanted):
    assert analyze(text) == wanted


def test_33_stop_words_make_no_term():
    assert len(STOP_WORDS) == 33
    assert analyze(" ".join(STOP_WORDS)) == []


ascii_texts = st.text(st.sampled_from("abyS019_'.:,; -\""), max_size=40)


@given(ascii_texts)
def test_the_ascii_way_equals_the_general_way(text):
    assert words(text) == unicode_words(text)


@given(st.text(max_size=60))
def test_any_text_has_words_in_order_and_terms_without_blanks(text):
    at = 0
    for word in words(text):
        at = text.index(word, at) + len(word)
        assert word and len(word) <= 255
    assert all(term for term in analyze(text))


def test_forgetting_terms_changes_nothing(monkeypatch):
    monkeypatch.setattr(analysis, "_REMEMBERED", 2)
    analysis._TERMS.clear()
    assert analyze("plums figs the plums nuts figs") == ["plum", "fig", "plum", "nut", "fig"]
    assert len(analysis._TERMS) <= 2


def test_real_texts_have_the_terms_lucene_gave_them(real_data):
    files = sorted(real_data.glob("*/recordings/tokens.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    if not lines:
        pytest.skip(f"no recorded terms in {real_data}")
    for line in lines:
        row = json.loads(line)
        assert analyze(row["text"]) == row["tokens"], row["text"]
