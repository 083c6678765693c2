"""Imports point one way, and the environments need no torch to be imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Who may not import whom, at module level or anywhere.
FORBIDDEN = {
    "agentgym_envs": {"agentgym_train"},
    "agentgym_envs/alfworld": {"torch", "agentgym_envs.webshop", "agentgym_envs.searchqa"},
    "agentgym_envs/webshop": {"torch", "agentgym_envs.alfworld", "agentgym_envs.searchqa"},
    "agentgym_envs/searchqa": {"torch", "agentgym_envs.alfworld", "agentgym_envs.webshop"},
    "agentgym_envs/retrieval": {
        f"agentgym_envs.{name}" for name in ("alfworld", "webshop", "searchqa", "core")
    },
    "agentgym_train/algorithms": {
        f"agentgym_train.{name}"
        for name in ("models", "rollout", "settings", "train", "layout", "update", "runlog")
    },
    "agentgym_train/models": {
        f"agentgym_train.{name}" for name in ("rollout", "settings", "train", "layout", "update")
    },
    "agentgym_train/signals.py": {"agentgym_train.batch", "agentgym_train.parts"},
    "agentgym_train/segments.py": {"agentgym_train.batch", "agentgym_envs"},
    "agentgym_envs/types.py": {"agentgym_envs"},
    "agentgym_envs/core.py": {
        f"agentgym_envs.{name}" for name in ("alfworld", "webshop", "searchqa", "check")
    },
}


def imported(path: Path, *, at_import: bool = False) -> set[str]:
    """Every module a file names in an import; with at_import those that importing it loads."""
    found: set[str] = set()
    left: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif not (at_import and _is_lazy(node)):
            left += ast.iter_child_nodes(node)
    return found


def _is_lazy(node: ast.AST) -> bool:
    """Functions run later; a type checker's imports never run."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


@pytest.mark.parametrize(("where", "barred"), FORBIDDEN.items(), ids=FORBIDDEN)
def test_imports_point_inward(where, barred):
    target = ROOT / where
    files = sorted(target.rglob("*.py")) if target.is_dir() else [target]
    files = [path for path in files if path.name != "cli.py"]  # commands stand above everything
    assert files
    for path in files:
        for name in imported(path):
            hit = [b for b in barred if name == b or name.startswith(b + ".")]
            assert not hit, f"{path.relative_to(ROOT)} imports {name}"


def test_importing_the_environments_loads_nothing_heavy():
    code = "import sys, agentgym_envs; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "agentgym_envs" in loaded
    assert not loaded & {"torch", "transformers", "textworld", "alfworld", "pandas", "rich"}
    assert "agentgym_envs.alfworld.env" not in loaded


def test_importing_any_file_of_the_environments_needs_gymnasium_and_numpy_only():
    """The commands have typer and rich; the one compiled file, numba; an adapter, its stack, and
    says so where it is missing (tests/envs/test_adapters.py); else who uses it loads it."""
    allowed = {"agentgym_envs", "gymnasium", "numpy"}
    for path in sorted((ROOT / "agentgym_envs").rglob("*.py")):
        if path.parent.name == "integrations":
            continue
        more = {"cli.py": {"typer", "rich"}, "numba_search.py": {"numba"}}
        here = allowed | more.get(path.name, set())
        roots = {name.partition(".")[0] for name in imported(path, at_import=True)}
        foreign = roots - here - set(sys.stdlib_module_names)
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"
