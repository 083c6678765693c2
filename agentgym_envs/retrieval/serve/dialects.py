"""The two `/retrieve` dialects, as bytes on both sides of the wire.

    search_r1   {"queries": [text, ...], "topk": 3, "return_scores": true}
    verl_agent  {"query": text, "topk": 3, "return_scores": true}

Both are answered with {"result": [[hit, ...], ...]}, one list for each query. A hit is
{"document": {"id", "contents"}, "score"} with scores and {"id", "contents"} without. (Search-R1's
BM25 server sends {"title", "text", "contents"} documents, without an id.)
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from json.encoder import encode_basestring
from typing import Any, Literal

from agentgym_envs.retrieval.types import Hit, Passage

Dialect = Literal["search_r1", "verl_agent"]
DIALECTS: tuple[Dialect, ...] = ("search_r1", "verl_agent")
DEFAULT_TOPK = 3
# Of our server's answers: the fingerprint of the retriever that answered.
FINGERPRINT_HEADER = "X-Retriever-Fingerprint"
_FIELDS = ("queries", "query", "topk", "return_scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes. Raises ValueError for a limit that lets nothing through."""

    queries: int = 4096  # a request
    characters: int = 8192  # a query
    topk: int = 100
    passages: int = 65_536  # a request: its queries times topk
    body: int = 16 * 2**20  # bytes of a request
    reading: float = 10.0  # seconds until a request has been sent whole
    queue: int = 16_384  # queries that wait, of all requests
    timeout: float = 50.0  # seconds a request may wait: less than its client, so that it is told

    @staticmethod
    def of(pairs: Iterable[str]) -> "Limits":
        """Limits from texts, "topk=20" each. Raises ValueError naming what cannot be."""
        kinds = {field.name: field.type for field in dataclasses.fields(Limits)}
        given = {}
        for pair in pairs:
            name, _, number = pair.partition("=")
            if name not in kinds:
                raise ValueError(f"no limit {name!r}{_nearest(name, kinds)}")
            try:
                given[name] = int(number) if kinds[name] is int else float(number)
            except ValueError:
                raise ValueError(f"limit {name} is a number, got {number!r}") from None
        return Limits(**given)

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self) if field.name != "queue"):
            if not getattr(self, name) > 0:
                raise ValueError(f"limit {name} must be above 0, got {getattr(self, name)}")
        if self.queue < self.queries:
            raise ValueError(
                f"limit queue ({self.queue}) is below limit queries ({self.queries}): a request "
                "could never be taken"
            )


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood."""

    queries: tuple[str, ...]
    topk: int
    scored: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query found, ready to send: a document in JSON and a score in JSON for each hit."""

    documents: tuple[bytes, ...]
    scores: tuple[bytes, ...]


class Refused(ValueError):
    """A request that is not answered; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def write_request(queries: Sequence[str], k: int, dialect: Dialect) -> bytes:
    """The body that asks for scores. verl_agent carries one query.

    Raises ValueError for several queries in the dialect that cannot say them.
    """
    if dialect == "search_r1":
        return _dumped({"queries": list(queries), "topk": k, "return_scores": True})
    if len(queries) != 1:
        raise ValueError(f"a verl_agent request has one query, got {len(queries)}")
    return _dumped({"query": queries[0], "topk": k, "return_scores": True})


def read_request(body: bytes, limits: Limits) -> Question:
    """The question of a body, in either dialect; the key tells which.

    topk is 3 and return_scores false where they are absent or null, as in the published servers.
    Raises Refused: 400 for what is no JSON, 422 naming the field that is wrong.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Refused(422, f"the body should be an object, got {_kind(fields)}")
    for name in fields:
        if name not in _FIELDS:
            raise Refused(422, f"unknown field {name!r}{_nearest(name, _FIELDS)}")
    queries = _queries(fields)
    if len(queries) > limits.queries:
        raise Refused(
            422, f"queries has {len(queries)} entries; a request may have {limits.queries}"
        )
    for place, query in enumerate(queries):
        _check_query(f"queries[{place}]" if "queries" in fields else "query", query, limits)
    topk = _topk(fields, limits)
    if len(queries) * topk > limits.passages:
        raise Refused(
            422,
            f"{len(queries)} queries with topk {topk} ask for {len(queries) * topk} passages; a "
            f"request may ask for {limits.passages}",
        )
    return Question(queries, topk, _scored(fields))


def write_response(answers: Sequence[Answer], *, scored: bool) -> bytes:
    """The body that answers, from documents and scores that are JSON already."""
    return b'{"result":[' + b",".join([_listed(one, scored) for one in answers]) + b"]}"


def write_document(passage: Passage) -> bytes:
    """A passage in JSON, as `Answer` holds it."""
    # A fifth of what json.dumps takes, which makes an encoder each time.
    id, contents = encode_basestring(passage.id), encode_basestring(passage.contents)
    return f'{{"id":{id},"contents":{contents}}}'.encode("utf-8", "backslashreplace")


def write_score(score: float) -> bytes:
    """A score in JSON, exactly. Raises ValueError where it is not finite: JSON has no such number.

    A NumPy number is taken too.
    """
    number = float(score)
    if not math.isfinite(number):
        raise ValueError(f"a retriever gave the score {number}")
    return repr(number).encode()


def read_response(body: bytes, count: int, k: int) -> list[list[Hit]]:
    """The hits of each of `count` queries, of an answer with scores.

    Raises ValueError naming what is not as it should be; also for more than `k` hits of a query.
    """
    try:
        parsed = json.loads(body)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    result = parsed.get("result") if isinstance(parsed, dict) else None
    if not isinstance(result, list):
        raise ValueError('the answer has no list "result"')
    if len(result) != count:
        raise ValueError(f"{count} queries were asked and {len(result)} answered")
    return [_hits(hits, f"result[{i}]", k) for i, hits in enumerate(result)]


def _queries(fields: dict[str, Any]) -> tuple[str, ...]:
    if "queries" in fields and "query" in fields:
        raise Refused(422, "queries and query are both there: send one of them")
    if "query" in fields:
        return (fields["query"],)
    if "queries" not in fields:
        raise Refused(422, "queries is missing: send a list `queries`, or one text as `query`")
    if not isinstance(fields["queries"], list):
        raise Refused(422, f"queries should be a list of texts, got {_kind(fields['queries'])}")
    return tuple(fields["queries"])


def _check_query(name: str, query: Any, limits: Limits) -> None:
    if not isinstance(query, str):
        raise Refused(422, f"{name} should be a text, got {_kind(query)}")
    if len(query) > limits.characters:
        raise Refused(
            422, f"{name} has {len(query)} characters; a query may have {limits.characters}"
        )
    if not query.isascii():
        try:
            query.encode()
        except UnicodeEncodeError:
            raise Refused(422, f"{name} has half of a surrogate pair") from None


def _topk(fields: dict[str, Any], limits: Limits) -> int:
    topk = fields.get("topk")
    if topk is None:
        return min(DEFAULT_TOPK, limits.topk)
    if type(topk) is not int:
        raise Refused(422, f"topk should be a whole number, got {_kind(topk)}")
    if not 1 <= topk <= limits.topk:
        raise Refused(422, f"topk should be from 1 to {limits.topk}")
    return topk


def _scored(fields: dict[str, Any]) -> bool:
    scored = fields.get("return_scores")
    if scored is not None and not isinstance(scored, bool):
        raise Refused(422, f"return_scores should be true or false, got {_kind(scored)}")
    return bool(scored)


def _listed(answer: Answer, scored: bool) -> bytes:
    if not scored:
        return b"[" + b",".join(answer.documents) + b"]"
    hits = [
        b'{"document":%b,"score":%b}' % pair
        for pair in zip(answer.documents, answer.scores, strict=True)
    ]
    return b"[" + b",".join(hits) + b"]"


def _hits(hits: Any, where: str, k: int) -> list[Hit]:
    if not isinstance(hits, list):
        raise ValueError(f"{where} should be a list, got {_kind(hits)}")
    if len(hits) > k:
        raise ValueError(f"{where} has {len(hits)} hits where {k} were asked for")
    return [_hit(hit, f"{where}[{i}]") for i, hit in enumerate(hits)]


def _hit(hit: Any, where: str) -> Hit:
    document = hit.get("document") if isinstance(hit, dict) else None
    if not isinstance(document, dict):
        raise ValueError(f'{where} has no object "document"')
    passage, score = _passage(document, where), hit.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f'"score" of {where} should be a finite number, got {_kind(score)}')
    return Hit(passage, float(score))


def _passage(document: dict[str, Any], where: str) -> Passage:
    """A document without an id is known by its contents."""
    contents = document.get("contents")
    if not isinstance(contents, str):
        raise ValueError(f'"contents" of {where} should be a text, got {_kind(contents)}')
    id = document.get("id")
    if id is None:
        id = hashlib.sha256(contents.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise ValueError(f'"id" of {where} should be a text or a whole number, got {_kind(id)}')
    return Passage(str(id), contents)


def _dumped(value: Any) -> bytes:
    """Halves of surrogate pairs, which UTF-8 cannot say, are escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def _kind(value: Any) -> str:
    """What JSON calls it."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name[:40].lower(), known, n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
