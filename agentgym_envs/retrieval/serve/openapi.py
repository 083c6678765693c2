"""`/retrieve` in the words of OpenAPI."""

from typing import Any

from agentgym_envs.retrieval.serve.dialects import DEFAULT_TOPK, Limits


def describe(limits: Limits) -> dict[str, Any]:
    """The path item of `/retrieve`."""
    query = {"type": "string", "maxLength": limits.characters}
    rest = {
        "topk": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": limits.topk,
            "default": DEFAULT_TOPK,
        },
        "return_scores": {"type": ["boolean", "null"], "default": False},
    }
    queries = {"type": "array", "items": query, "maxItems": limits.queries}
    asked = [
        {
            "title": title,
            "type": "object",
            "required": [field],
            "properties": {field: schema, **rest},
            "additionalProperties": False,
        }
        for title, field, schema in (
            ("search_r1", "queries", queries),
            ("verl_agent", "query", query),
        )
    ]
    document = {
        "type": "object",
        "required": ["id", "contents"],
        "properties": {"id": {"type": "string"}, "contents": {"type": "string"}},
    }
    scored = {
        "type": "object",
        "required": ["document", "score"],
        "properties": {"document": document, "score": {"type": "number"}},
    }
    hits = {"type": "array", "items": {"anyOf": [scored, document]}}
    answer = {
        "type": "object",
        "required": ["result"],
        "properties": {"result": {"type": "array", "items": hits}},
    }
    errors = {
        "400": "The body is not JSON.",
        "401": "The token is missing or wrong.",
        "408": "The request was not sent whole in time.",
        "413": "The body is too large.",
        "422": "A field is wrong, or too much is asked for; `detail` says which.",
        "502": "The retriever could not answer.",
        "503": "The queue is full; come back after `Retry-After` seconds.",
        "504": "No answer in time.",
    }
    return {
        "post": {
            "summary": "The best passages of each query",
            "operationId": "retrieve",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"oneOf": asked}}},
            },
            "responses": {
                "200": {
                    "description": "One list for each query, best first; wrapped with a score "
                    "where return_scores is true.",
                    "content": {"application/json": {"schema": answer}},
                },
                **{status: {"description": text} for status, text in errors.items()},
            },
        }
    }
