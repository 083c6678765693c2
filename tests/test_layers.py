"""Imports point one way, and the environments need no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Who may not import whom, at module level or anywhere.
FORBIDDEN = {
    "agentgym_envs": {"agentgym_train", "torch", "transformers"},
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
    "agentgym_envs/core.py": {"agentgym_envs.alfworld", "agentgym_envs.check"},
}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(("where", "barred"), FORBIDDEN.items(), ids=FORBIDDEN)
def test_imports_point_inward(where, barred):
    target = ROOT / where
    files = sorted(target.rglob("*.py")) if target.is_dir() else [target]
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


def test_the_environments_need_gymnasium_and_numpy_only():
    allowed = {"agentgym_envs", "gymnasium", "numpy", "typer", "rich", "textworld", "alfworld"}
    for path in sorted((ROOT / "agentgym_envs").rglob("*.py")):
        roots = {name.partition(".")[0] for name in imported(path)}
        foreign = roots - allowed - set(sys.stdlib_module_names)
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"
