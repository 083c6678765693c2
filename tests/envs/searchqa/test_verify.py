"""Verdicts from the episode alone: what counts, what never does, and the published format score."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.parsing_search import cut, search_r1
from agentgym_envs.searchqa.verify import (
    VERIFIERS,
    final_answer,
    find_verifier,
    verify,
    well_formed,
)
from agentgym_envs.types import Episode, Task, Turn

THINK = "<think>hm</think>"
SEARCH = THINK + " <search>capital of France</search>"
ANSWER = THINK + "\n<answer>Paris</answer>"


def played(*responses: str, seen: str = "", verifier: str = "em", targets=("Paris",)) -> Episode:
    """An episode of these responses; `seen` is what each turn showed."""
    turns = [
        Turn(
            observation=seen,
            response=response,
            action=search_r1(response, ()).action,
            valid=search_r1(response, ()).valid,
        )
        for response in responses
    ]
    answer = {"targets": list(targets), "verifier": verifier}
    return Episode(task=Task(id="q", goal="?", answer=answer), turns=tuple(turns), outcome=seen)


RESPONSES = st.lists(
    st.sampled_from([SEARCH, ANSWER, "<answer>Rome</answer>", "Paris", "", THINK]), max_size=5
)


def test_the_last_answer_counts():
    paris, rome = "<answer>Paris</answer>", "<answer>Rome</answer>"
    assert final_answer(played(SEARCH, rome, paris)) == "Paris"
    assert verify(played(paris, rome)).success is False
    assert verify(played(SEARCH, ANSWER)).success is True


def test_what_a_passage_says_is_never_the_answer():
    told = "<information>Doc 1: <answer>Paris</answer></information>"
    silent = played(SEARCH, "I do not know", seen=told)
    assert final_answer(silent) is None
    assert verify(silent).success is False
    wrong = played(SEARCH, "<answer>Rome</answer>", seen=told)
    assert final_answer(wrong) == "Rome"
    for judge in VERIFIERS.values():
        assert judge(wrong) == judge(played(SEARCH, "<answer>Rome</answer>"))


def test_naming_the_answer_without_answering_is_no_answer():
    for response in ("Paris", "<search>Paris</search>", "<think>Paris</think>", "<answer>Paris"):
        assert verify(played(response)).reason == "no answer"


@pytest.mark.parametrize(
    ("verifier", "answer", "score", "success"),
    [
        ("em", "the Paris.", 1.0, True),
        ("em", "Paris, France", 0.0, False),
        ("sub_em", "Paris, France", 1.0, True),
        ("sub_em", "Rome", 0.0, False),
        ("f1", "Paris", 1.0, True),
        ("f1", "Paris France", 2 / 3, False),  # success stays an exact match
        ("f1", "Rome", 0.0, False),
        ("em", "", 0.0, False),
    ],
)
def test_the_task_names_its_verifier(verifier, answer, score, success):
    verdict = verify(played(f"<answer>{answer}</answer>", verifier=verifier))
    assert (verdict.score, verdict.success) == (pytest.approx(score), success)


@pytest.mark.parametrize(
    ("responses", "score"),
    [
        ([SEARCH, SEARCH, ANSWER], 1.0),  # right and well formed
        ([ANSWER], 1.0),
        (["<answer>Paris</answer>"], 0.8),  # right, no thought
        ([SEARCH, "let me see", ANSWER], 0.8),  # right, one turn without a block
        ([SEARCH, THINK + "<answer>Rome</answer>"], 0.2),  # wrong, well formed
        (["<answer>Rome</answer>"], 0.1),  # wrong, malformed
        ([SEARCH, SEARCH], 0.0),  # no answer
        (["Paris"], 0.0),
    ],
)
def test_the_published_format_score(responses, score):
    verdict = verify(played(*responses, verifier="format"))
    assert verdict.score == pytest.approx(score)
    assert verdict.success is (score >= 0.8)


@pytest.mark.parametrize(
    "response",
    [
        "well " + ANSWER,  # words before the thought
        THINK + " so <answer>Paris</answer>",  # words between
        THINK + THINK + "<answer>Paris</answer>",
        "<think><think>hm</think></think><answer>Paris</answer>",
        "<think>hm <search>q</search></think><answer>Paris</answer>",
        "<think>hm<answer>Paris</answer>",
        THINK + "<answer><answer>Paris</answer>",
        THINK + "<information>x</information><answer>Paris</answer>",
    ],
)
def test_malformed(response):
    assert not well_formed(played(response))


def test_what_a_stopped_generation_would_not_have_said_is_not_held_against_it():
    assert well_formed(played(SEARCH + "<information>made up</information>", ANSWER + " I am sure"))


NEXT = {
    ("start", "<think>"): "in think",
    ("informed", "<think>"): "in think",
    ("in think", "</think>"): "thought",
    ("thought", "<search>"): "in search",
    ("in search", "</search>"): "searched",
    ("searched", "<information>"): "in information",
    ("in information", "</information>"): "informed",
    ("thought", "<answer>"): "in answer",
    ("in answer", "</answer>"): "end",
}
PIECES = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>"),
            *("<information>", "</information>", "Paris", " ", "\n", THINK, THINK, SEARCH, ANSWER),
        ]
    ),
    max_size=6,
).map("".join)


def by_state_machine(episode: Episode) -> bool:
    """The published check: a state machine over the whole conversation, passages included."""
    parts = []
    for turn in episode.turns:
        searched = turn.action.startswith("<search>")
        parts += [cut(turn.response), "<information>x</information>" if searched else "no action"]
    if parts and parts[-1] == "no action":
        parts.pop()
    state = "start"
    tags = "</?(?:think|search|information|answer)>"
    for piece in re.split(f"({tags})", "".join(parts)):
        if re.fullmatch(tags, piece):
            state = NEXT.get((state, piece), "wrong")
        elif piece.strip() and not state.startswith("in "):
            state = "wrong"
    return state == "end"


@given(st.lists(st.sampled_from([SEARCH, ANSWER]) | PIECES, max_size=4))
def test_the_form_is_that_of_the_published_state_machine(responses):
    episode = played(*responses)
    assert well_formed(episode) == by_state_machine(episode)


def test_no_turns_no_form():
    assert not well_formed(played())
    assert all(judge(played()).score == 0.0 for judge in VERIFIERS.values())


@given(RESPONSES, st.sampled_from(list(VERIFIERS)), st.text(max_size=20))
def test_a_verdict_is_pure_bounded_and_blind_to_observations(responses, verifier, seen):
    episode = played(*responses, seen=seen, verifier=verifier)
    verdict = verify(episode)
    assert 0.0 <= verdict.score <= 1.0
    assert not verdict.success or verdict.score >= 0.8
    assert verify(from_record(json.loads(json.dumps(to_record(episode))))) == verdict
    assert verify(played(*responses, verifier=verifier)) == verdict


@given(RESPONSES)
def test_exact_is_the_strictest(responses):
    episode = played(*responses)
    scores = {name: judge(episode).score for name, judge in VERIFIERS.items()}
    assert scores["em"] <= scores["f1"]
    assert scores["em"] <= scores["sub_em"]
    assert all(VERIFIERS[name](episode).success == bool(scores["em"]) for name in ("f1", "format"))


def test_an_unknown_verifier_is_named():
    with pytest.raises(ValueError, match="no Search-QA verifier 'bleu'; there are: em, sub_em"):
        find_verifier("bleu")
