import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.serve.dialects import (
    DIALECTS,
    Answer,
    Limits,
    Question,
    Refused,
    read_request,
    read_response,
    write_document,
    write_request,
    write_response,
    write_score,
)
from agentgym_envs.retrieval.types import Hit, Passage

LIMITS = Limits(queries=3, characters=10, topk=5, passages=9, queue=3)
HONEY = Hit(Passage("7", '"Honey"\nMade by bées.'), 1.5)


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def answered(hits: list[Hit]) -> Answer:
    return Answer(
        tuple(write_document(hit.passage) for hit in hits),
        tuple(write_score(hit.score) for hit in hits),
    )


def test_the_key_tells_the_dialect():
    assert read_request(body({"queries": ["a", "b"], "topk": 2}), LIMITS) == Question(
        ("a", "b"), 2, False
    )
    assert read_request(body({"query": "a", "return_scores": True}), LIMITS) == Question(
        ("a",), 3, True
    )


def test_null_is_absent_for_what_has_a_default():
    asked = {"queries": [], "topk": None, "return_scores": None}
    assert read_request(body(asked), LIMITS) == Question((), 3, False)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_an_answer_without_scores_is_bare_documents(count):
    written = write_response([answered([HONEY])] * count, scored=False)
    document = {"id": "7", "contents": '"Honey"\nMade by bées.'}
    assert json.loads(written) == {"result": [[document]] * count}


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_an_answer_with_scores_wraps_each_document(count):
    written = write_response([answered([HONEY, HONEY])] * count, scored=True)
    hit = {"document": {"id": "7", "contents": '"Honey"\nMade by bées.'}, "score": 1.5}
    assert json.loads(written) == {"result": [[hit, hit]] * count}


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe\xfd", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b'{"queries": [], "topk": ' + b"9" * 5000 + b"}", 400, "not JSON"),
        (b"[]", 422, "an object, got a list"),
        (b"null", 422, "got null"),
        (b"{}", 422, "queries is missing"),
        (b'{"query": "a", "queries": ["a"]}', 422, "both there"),
        (b'{"queries": "a"}', 422, "queries should be a list of texts, got a text"),
        (b'{"queries": ["a", 3]}', 422, "queries[1] should be a text, got a number"),
        (b'{"query": null}', 422, "query should be a text, got null"),
        (b'{"query": ["a"]}', 422, "query should be a text, got a list"),
        (b'{"query": "a", "top_k": 3}', 422, "unknown field 'top_k': did you mean 'topk'?"),
        (b'{"query": "a", "topk": 0}', 422, "topk should be from 1 to 5"),
        (b'{"query": "a", "topk": 6}', 422, "topk should be from 1 to 5"),
        (b'{"query": "a", "topk": true}', 422, "topk should be a whole number, got true or false"),
        (b'{"query": "a", "topk": 3.0}', 422, "topk should be a whole number"),
        (b'{"query": "a", "topk": NaN}', 422, "topk should be a whole number"),
        (b'{"query": "a", "return_scores": 1}', 422, "return_scores should be true or false"),
        (b'{"queries": ["a", "a", "a", "a"]}', 422, "queries has 4 entries"),
        (b'{"queries": ["a", "a"], "topk": 5}', 422, "2 queries with topk 5 ask for 10 passages"),
        (b'{"query": "12345678901"}', 422, "query has 11 characters"),
        (b'{"query": "\\ud800"}', 422, "query has half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_named(sent, status, said):
    with pytest.raises(Refused) as refused:
        read_request(sent, LIMITS)
    assert refused.value.status == status
    assert said in str(refused.value)


@given(st.lists(st.text(max_size=10), max_size=3), st.integers(1, 3))
def test_what_a_client_writes_a_server_reads(queries, k):
    asked = read_request(write_request(queries, k, "search_r1"), LIMITS)
    assert asked == Question(tuple(queries), k, True)
    for query in queries:
        assert read_request(write_request([query], k, "verl_agent"), LIMITS).queries == (query,)


passages = st.builds(Passage, st.text(max_size=5), st.text(max_size=20))
hits = st.builds(Hit, passages, st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(st.lists(hits, max_size=3), max_size=3))
def test_what_a_server_writes_a_client_reads_to_the_last_bit(found):
    written = write_response([answered(one) for one in found], scored=True)
    assert read_response(written, len(found), 3) == found


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_json_cannot_say_is_an_error(score):
    with pytest.raises(ValueError, match="gave the score"):
        write_score(score)


def test_verl_agent_has_one_query_a_request():
    with pytest.raises(ValueError, match="one query, got 2"):
        write_request(["a", "b"], 3, DIALECTS[1])


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "Expecting value"),
        (b"[]", 'no list "result"'),
        (b'{"result": 1}', 'no list "result"'),
        (b'{"result": []}', "1 queries were asked and 0 answered"),
        (b'{"result": [[], []]}', "1 queries were asked and 2 answered"),
        (b'{"result": [{}]}', "result[0] should be a list"),
        (b'{"result": [[{"id": "1", "contents": "x"}]]}', 'result[0][0] has no object "document"'),
        (
            b'{"result": [[{"document": {"id": [], "contents": "x"}, "score": 1}]]}',
            '"id" of result[0][0]',
        ),
        (b'{"result": [[{"document": {"id": "1"}, "score": 1}]]}', '"contents" of result[0][0]'),
        (b'{"result": [[{"document": {"id": "1", "contents": "x"}}]]}', '"score" of result[0][0]'),
        (
            b'{"result": [[{"document": {"id": "1", "contents": "x"}, "score": NaN}]]}',
            '"score" of result[0][0]',
        ),
        (b"[" * 100_000, "nested"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(sent, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        read_response(sent, 1, 1)


def test_more_hits_than_asked_for_are_an_error():
    written = write_response([answered([HONEY, HONEY])], scored=True)
    with pytest.raises(ValueError, match="has 2 hits where 1"):
        read_response(written, 1, 1)


def test_a_published_server_may_number_its_passages():
    sent = b'{"result": [[{"document": {"id": 3, "contents": "x", "more": 1}, "score": 2}]]}'
    assert read_response(sent, 1, 1) == [[Hit(Passage("3", "x"), 2.0)]]


def test_a_passage_without_an_id_is_known_by_its_contents():
    """As Search-R1's BM25 server sends them."""
    document = {"title": "T", "text": "x", "contents": '"T"\nx'}
    again = {"result": [[{"document": document, "score": 2}, {"document": document, "score": 1}]]}
    ((one, same),) = read_response(body(again), 1, 2)
    assert one.passage == same.passage
    assert one.passage.contents == '"T"\nx' and re.fullmatch("[0-9a-f]{16}", one.passage.id)
    document["contents"] = '"T"\ny'
    ((other, _),) = read_response(body(again), 1, 2)
    assert other.passage.id != one.passage.id


def test_limits_from_texts():
    assert Limits.of(["topk=20", "timeout=1.5"]) == Limits(topk=20, timeout=1.5)
    for pair, said in {
        "topq=20": "no limit 'topq': did you mean 'topk'",
        "topk": "limit topk is a number, got ''",
        "topk=1.5": "limit topk is a number, got '1.5'",
        "topk=0": "limit topk must be above 0",
    }.items():
        with pytest.raises(ValueError, match=said):
            Limits.of([pair])


@pytest.mark.parametrize(
    "name", ["queries", "characters", "topk", "passages", "body", "reading", "timeout"]
)
def test_a_limit_lets_something_through(name):
    with pytest.raises(ValueError, match=f"limit {name} must be above 0"):
        Limits(**{name: 0})


def test_a_queue_holds_at_least_one_request():
    with pytest.raises(ValueError, match="could never be taken"):
        Limits(queries=10, queue=9)
