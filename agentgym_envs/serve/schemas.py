"""JSON schemas of what the wire carries: OpenEnv's `/schema`, and the requests over HTTP."""

from typing import Any

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_NUMBER_OR_NONE = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_TEXT_OR_NONE = {"anyOf": [_TEXT, {"type": "null"}]}
_SESSION = {**_TEXT, "description": "as answered by /reset or /restore in metadata"}


def _closed(title: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        **{"title": title, "type": "object", "properties": properties},
        **{"required": list(required), "additionalProperties": False},
    }


ACTION = _closed(
    "TextAction",
    {
        "text": {**_TEXT, "description": "what the policy said; any text is a turn"},
        "metadata": _OBJECT,
    },
    "text",
)
OBSERVATION = _closed(
    "TextObservation",
    {
        "done": {"type": "boolean"},
        "reward": _NUMBER_OR_NONE,
        "metadata": _OBJECT,
        "text": {**_TEXT, "description": "the new turn's text and nothing older"},
        "turn": {"type": "integer", "minimum": 0, "description": "turns played"},
        "terminated": {"type": "boolean", "description": "the environment ended the episode"},
        "truncated": {"type": "boolean", "description": "the turns ran out"},
        "success": {"type": "boolean", "description": "what the verifier says, and neither of two"},
        "info": {**_OBJECT, "description": "Gymnasium's info, whole"},
    },
    *("text", "turn", "terminated", "truncated", "success", "info"),
)
STATE = _closed(
    "TextState",
    {
        "episode_id": _TEXT_OR_NONE,
        "step_count": {"type": "integer", "minimum": 0},
        "task_id": _TEXT_OR_NONE,
        "env_id": _TEXT,
        "env_version": _TEXT,
        "observation_mode": {"enum": ["text", "dict"]},
        "max_turns": {"type": "integer", "minimum": 1},
        "max_length": {"type": "integer", "minimum": 1, "description": "characters of a text"},
    },
    *("episode_id", "step_count", "task_id", "env_id", "env_version"),
    *("observation_mode", "max_turns", "max_length"),
)
RESET = {
    **{"type": "object", "description": "further fields are options of the environment's reset"},
    "properties": {
        "seed": {"type": "integer", "minimum": 0},
        "episode_id": _TEXT,
        "task_id": _TEXT,
        "options": _OBJECT,
        "session_id": {**_SESSION, "description": "left out: a new session"},
    },
}
STEP = _closed("Step", {"action": ACTION, "session_id": _SESSION}, "action", "session_id")
RESTORE = _closed(
    "Restore",
    {"snapshot": _TEXT, "episode_id": _TEXT, "session_id": RESET["properties"]["session_id"]},
    "snapshot",
)
OF_A_SESSION = _closed("OfASession", {"session_id": _SESSION}, "session_id")
