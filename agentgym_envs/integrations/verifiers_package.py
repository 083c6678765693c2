"""The package by which verifiers finds an environment: a module of its own name, installable.

Needs neither verifiers nor the environment's data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentgym_envs.drivers.setup import Setup
from agentgym_envs.extras import requirement
from agentgym_envs.registration import package_name

_MODULE = '''"""{env_id} for verifiers: `vf-eval {name}`.

Written by `agentgym-envs export verifiers`. The defaults below can be set for a run, as in
`--env.taskset.seed 1`.
"""

from typing import Any

import verifiers.v1 as vf
from agentgym_envs.integrations.verifiers import (
    AgentGymConfig,
    AgentGymEnv,
    AgentGymHarness,
    AgentGymTask,
    AgentGymTaskset,
)

__all__ = ["AgentGymEnv", "AgentGymHarness", "Tasks"]


class Config(AgentGymConfig):
    env_id: str = {env_id!r}
    settings: dict[str, Any] = {settings}
    prompt_style: str = {prompt!r}


class Tasks(AgentGymTaskset[Config], vf.Taskset[AgentGymTask, Config]):
    """The tasks of {env_id}."""
'''

_PROJECT = """[project]
name = "{name}"
version = "0.1.0"
description = "{env_id} for verifiers"
requires-python = ">=3.11"
dependencies = ["{requirement}", "verifiers>=0.4,<0.5"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.metadata]
allow-direct-references = true

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""

_README = """# {env_id} for verifiers

```bash
pip install -e .
vf-eval {name} -m MODEL -n 20 --client.base-url http://localhost:8000/v1 --no-push
```

`{module}.py` holds the settings. pip looks for `{requirement}`: install agentgym-envs first, or
export with `--source` where an index does not have it.
"""


def export_package(
    setup: Setup, folder: str | Path, *, name: str | None = None, source: str | None = None
) -> str:
    """Write a package that makes `setup` known to verifiers; returns its name for `vf-eval`.

    name: None takes the environment's id: "AgentGym/WebShop-v0" is `agentgym-webshop-v0`. source:
    where pip finds agentgym-envs, see `extras.requirement`.

    Raises ValueError for a layout or prompt style that cannot be played and for a name that no
    module can have, and FileExistsError where the folder holds something already.
    """
    if setup.layout != "chat":
        raise ValueError(f"verifiers keeps the whole chat: layout {setup.layout!r} has no place")
    _ = setup.style  # raises where the environment or the style is not there
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    module = package_name(setup.env_id, name)
    words = {
        "env_id": setup.env_id,
        "module": module,
        "name": module.replace("_", "-"),
        "prompt": setup.prompt,
        "settings": _written(setup.settings),
        "requirement": requirement(source=source),
    }
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{module}.py": _MODULE, "pyproject.toml": _PROJECT, "README.md": _README}
    for name, text in texts.items():
        folder.joinpath(name).write_text(text.format(**words), encoding="utf-8")
    return words["name"]


def _written(settings: Mapping[str, Any]) -> str:
    """As the default of a field, one setting a line."""
    lines = (f"        {name!r}: {value!r},\n" for name, value in settings.items())
    return "{\n" + "".join(lines) + "    }" if settings else "{}"
