"""Whether a script may start processes that begin by importing it."""

import ast
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType


def demand_guard() -> None:
    """Raise RuntimeError where this is called at the top level of a script: each new process runs
    that again, and would start processes of its own.
    """
    path = getattr(sys.modules["__main__"], "__file__", None)
    line = _line_of_script()
    if path is None or line is None:  # a notebook, or a thread: nothing is run again
        return
    with suppress(OSError, SyntaxError):
        tree = ast.parse(Path(path).read_bytes())
        if not any(_guards(node, line) for node in ast.walk(tree)):
            raise RuntimeError(
                f"the processes of a pool import {Path(path).name} again, where line {line} makes "
                'the pool: put that below `if __name__ == "__main__":`'
            )


def _line_of_script() -> int | None:
    """The line at the top level of the script that led here."""
    script = vars(sys.modules["__main__"])
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is script and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None


def _guards(node: ast.AST, line: int) -> bool:
    """Whether a line is below `if __name__ == ...`."""
    if not isinstance(node, ast.If):
        return False
    named = any(isinstance(one, ast.Name) and one.id == "__name__" for one in ast.walk(node.test))
    return named and node.lineno <= line <= (node.end_lineno or line)
