"""An adapter whose stack is missing or of another version says what to install, at import."""

import importlib.metadata
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from agentgym_envs.integrations.needs import require

# adapter -> the distribution it needs
ADAPTERS = {
    "gem": "gem-llm",
    "openenv": "openenv",
    "skyrl_gym": "skyrl-gym",
    "tinker": "tinker-cookbook",
    "trl": "trl",
    "verifiers": "verifiers",
    "verl": "verl",
}
HOME = Path(__file__).parents[2] / "agentgym_envs" / "integrations"


def test_every_adapter_is_listed_here():
    beside = {"__init__", "needs", "openenv_package", "verifiers_package"}
    assert {path.stem for path in HOME.iterdir() if path.name != "__pycache__"} == beside | {
        *ADAPTERS
    }


@pytest.mark.parametrize(("adapter", "package"), ADAPTERS.items(), ids=ADAPTERS)
def test_a_missing_stack_is_an_error_that_names_the_fix(adapter, package):
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        pytest.skip(f"{package} is installed here")
    with pytest.raises(ImportError, match=rf'{package}.*not installed: pip install "{package}>='):
        import_module(f"agentgym_envs.integrations.{adapter}")


def test_another_version_is_an_error_that_names_the_fix(monkeypatch):
    for found in ("1.15.9", "2.0.0", "1.9"):
        monkeypatch.setattr(
            "agentgym_envs.integrations.needs.version", lambda package, found=found: found
        )
        with pytest.raises(ImportError, match=re.escape(f"trl {found} is installed: pip install")):
            require("trl", (1, 16), (2, 0))
    for found in ("1.16.0", "1.16.0rc1", "1.99"):
        monkeypatch.setattr(
            "agentgym_envs.integrations.needs.version", lambda package, found=found: found
        )
        require("trl", (1, 16), (2, 0))


def test_the_package_of_adapters_loads_none():
    code = "import sys, agentgym_envs.integrations; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name for name in done.stdout.split() if name.startswith("agentgym_envs.integrations")]
    assert loaded == ["agentgym_envs.integrations"]
