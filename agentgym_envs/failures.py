"""What a command says and returns where something went wrong: one line, and an exit code."""

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gymnasium as gym

from agentgym_envs.core import TextEnv

# What commands end with, besides 0: settings or arguments are wrong, something is missing, what ran
# failed, it was stopped by hand.
WRONG, MISSING, FAILED, INTERRUPTED = 2, 3, 4, 130

_WRONG = (ValueError, TypeError, KeyError, FileExistsError, gym.error.Error)
_MISSING = (ImportError, OSError)
# Raised to be read, here and in what we use; any other error is somebody's bug.
_SAYS_ENOUGH = (
    *(*_WRONG, *_MISSING, RuntimeError, ArithmeticError, MemoryError),
    *(AssertionError, SyntaxError, Warning),
)
_PLAYING = {TextEnv._begin.__code__, TextEnv._play.__code__}
_TRACEBACK = "AGENTGYM_TRACEBACK"


def wants_traceback() -> bool:
    """Whether AGENTGYM_TRACEBACK asks for the whole traceback in place of a line."""
    return bool(os.environ.get(_TRACEBACK))


def told(error: BaseException) -> str:
    """An error in one line: its words and, where it came through somebody's own code or nobody
    meant it to be read, its kind and the last place there."""
    words = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    places = list(_places(error))
    own = [place for place in places if not place.ours]
    if not own and isinstance(error, _SAYS_ENOUGH) and words:
        return words
    kind = type(error).__name__
    said = f"{kind}: {words}" if words else kind
    at = (own or places)[-1:]
    return f"{said} ({at[0]}); {_TRACEBACK}=1 shows all" if at else said


def code_of(error: BaseException) -> int:
    """The exit code of a command that ends with this error. What is wrong while an environment
    plays is no mistake in the command."""
    playing = any(frame.f_code in _PLAYING for frame, _ in traceback.walk_tb(error.__traceback__))
    if isinstance(error, _WRONG):
        return FAILED if playing else WRONG
    return MISSING if isinstance(error, _MISSING) else FAILED


class _Place:
    """A line that was being run. ours: not somebody's own code, but ours or a library's."""

    def __init__(self, path: Path, line: int, function: str) -> None:
        self._path, self._line, self._function = path, line, function
        self.ours = any(path.is_relative_to(home) for home in _homes())

    def __str__(self) -> str:
        bases = [Path.cwd(), *(Path(one) for one in sys.path if one)]
        base = next((one for one in bases if self._path.is_relative_to(one)), None)
        shown = self._path.relative_to(base) if base else self._path
        return f"{shown}:{self._line}, in {self._function}"


def _places(error: BaseException) -> Iterator[_Place]:
    """Where the error came from, last the line that raised it, in files that are there."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename).absolute()
        if path.is_file():
            yield _Place(path, line, frame.f_code.co_name)


@cache
def _homes() -> set[Path]:
    here = Path(__file__).parent
    return {here, here.with_name("agentgym_train"), *map(Path, sysconfig.get_paths().values())}
