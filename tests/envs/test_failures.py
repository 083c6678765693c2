"""An error is one line and an exit code."""

import random

import pytest
from pantry.env import PantryEnv

from agentgym_envs.failures import FAILED, MISSING, WRONG, code_of, told
from agentgym_envs.parsing import find_parser
from agentgym_envs.registration import importable


def raised(call) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (any, to look at)
        call()
    error = caught.value
    tb = error.__traceback__
    assert tb is not None and tb.tb_next is not None
    return error.with_traceback(tb.tb_next.tb_next)  # without this file's own frames


@pytest.mark.parametrize(
    ("call", "words", "code"),
    [
        (lambda: find_parser("odd"), "no parser 'odd'; built in: ", WRONG),
        (lambda: find_parser("odd:x"), "no module 'odd', which the parser 'odd:x' names", MISSING),
        (lambda: find_parser("json:x"), "the parser 'json:x': json has no 'x'", WRONG),
        (lambda: find_parser("json:"), "the parser should be 'package.module:name', got", WRONG),
        (lambda: importable("No/Such-v0"), "as in my_package:No/Such-v0", WRONG),
        (lambda: PantryEnv(max_turns=0), "max_turns must be at least 1, got 0", WRONG),
    ],
)
def test_what_we_raise_is_told_in_its_own_words(call, words, code):
    error = raised(call)
    assert words in told(error) and code_of(error) == code


def test_what_nobody_meant_to_be_read_has_its_kind_and_its_place():
    error = raised(lambda: random.Random(0).choice([]))
    assert told(error).startswith("IndexError: Cannot choose from an empty sequence (")
    assert told(error).endswith(", in choice); AGENTGYM_TRACEBACK=1 shows all")
    assert told(ValueError()) == "ValueError"
    assert told(KeyError("task")) == "task"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileExistsError("there"), WRONG),
        (FileNotFoundError("gone"), MISSING),
        (ModuleNotFoundError("gone"), MISSING),
        (RuntimeError("broke"), FAILED),
        (IndexError("bug"), FAILED),
        (FloatingPointError("nan"), FAILED),
    ],
)
def test_kinds_of_errors_have_codes(error, code):
    assert code_of(error) == code


@pytest.mark.parametrize("method", ["start", "act", "verify"])
def test_a_wrong_value_while_an_environment_plays_is_no_mistake_in_the_command(method, monkeypatch):
    def broken(*_):
        raise KeyError("jar")

    monkeypatch.setattr(PantryEnv, method, broken)
    env = PantryEnv(max_turns=1)
    with pytest.raises(KeyError) as caught:
        (env.reset(seed=0), env.step("open red"))
    assert code_of(caught.value) == FAILED
    assert told(caught.value).startswith("KeyError: jar (tests/envs/test_failures.py:")
