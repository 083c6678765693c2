"""An OpenEnv package around a registered environment: manifest, server, client, Dockerfile.

Needs no openenv to write it.
"""

import json
import pprint
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.extras import NAME, requirement
from agentgym_envs.registration import package_name, summary_of

_MANIFEST = """\
spec_version: 1
name: {name}
version: "{version}"
type: space
runtime: fastapi
app: server.app:app
port: 8000
validation:
  reward:
    range: [{lowest}, {highest}]
    oracle_tolerance: 0.0
    floor_margin: 0.1
  resources:
    cpu: 1.0
    memory_mb: 4096
    disk_mb: 8192
    episode_timeout_s: 1800.0
  capabilities:
    verifier:
      kind: reward_channel
    task_api: true
    declared_task_count:
      {split}: {tasks}
  types:
    tags: [text, multi-turn]
"""

_APP = '''\
"""{env_id}, served by OpenEnv.

    uvicorn server.app:app --port 8000
    python -m server.app --port 8000
"""

import argparse

import uvicorn

from agentgym_envs.integrations.openenv import make_app

ENV_ID = {env_id!r}
SETTINGS = {settings}
SESSIONS = {sessions}

app = make_app(ENV_ID, SETTINGS, SESSIONS)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args()
    uvicorn.run(app, host=chosen.host, port=chosen.port)


if __name__ == "__main__":
    main()
'''

_MODELS = '''\
"""What the environment is told, and what it shows."""

from agentgym_envs.integrations.openenv import TextAction, TextObservation, TextState

__all__ = ["TextAction", "TextObservation", "TextState"]
'''

_CLIENT = '''\
"""The client of {env_id}."""

from agentgym_envs.integrations.openenv import TextClient

__all__ = ["TextClient"]
'''

_INIT = '''\
"""{env_id} as an OpenEnv package."""

from agentgym_envs.integrations.openenv import TextAction, TextClient, TextObservation, TextState

__all__ = ["TextAction", "TextClient", "TextObservation", "TextState"]
'''

_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "openenv-{dashed}"
version = "{version}"
description = "{env_id} for OpenEnv"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[project.scripts]
server = "{name}.server.app:main"

[tool.setuptools]
packages = ["{name}", "{name}.server"]
package-dir = {{ "{name}" = ".", "{name}.server" = "server" }}
"""

_DOCKERFILE = """\
FROM python:3.12-slim
WORKDIR /app/env
COPY . .
RUN pip install --no-cache-dir .
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \\
    python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"
CMD ["uvicorn", "server.app:app", "--host", "0.0.0.0", "--port", "8000"]
"""

_README = """\
---
title: {name}
sdk: docker
app_port: 8000
tags:
  - openenv
---

# {env_id} for OpenEnv

{about}

```bash
openenv validate .
uvicorn server.app:app --port 8000
```

```python
from {name} import TextAction, TextClient

with TextClient(base_url="http://localhost:8000").sync() as env:
    result = env.reset(seed=0)
    result = env.step(TextAction(text="..."))
```

`server/app.py` holds the environment's settings.
"""


def export_package(
    env_id: str,
    folder: Path | str,
    settings: Mapping[str, Any] | None = None,
    *,
    sessions: int = 64,
    name: str | None = None,
    source: str | None = None,
) -> str:
    """Write the package into a new or empty folder; returns its name.

    env_id, settings: as for `gym.make`; the settings must be JSON. sessions: of its server, at the
    same time. name: None takes the environment's id. source: where pip finds agentgym-envs, see
    `extras.requirement`; its Dockerfile needs that where no index does. `openenv validate FOLDER`
    passes; it starts nothing, because the manifest declares no image to build.

    Raises FileExistsError for a folder that holds something, TypeError for settings that are not
    JSON, ValueError for fewer than 1 session and for a name that no module can have, and what
    making the environment raises.
    """
    if sessions < 1:
        raise ValueError(f"sessions should be 1 or more, got {sessions}")
    plain = json.loads(json.dumps(dict(settings or {})))
    env = make_text_env(env_id, plain)
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    needs = requirement("serve", source), _distribution(env), "openenv>=0.10,<0.11"
    words = {
        **_words(env, env_id, package_name(env_id, name)),
        "settings": pprint.pformat(plain, sort_dicts=False),
        "sessions": sessions,
        "dependencies": ", ".join(f'"{one}"' for one in needs if one != NAME),
    }
    env.close()
    for path, text in {
        "openenv.yaml": _MANIFEST,
        "pyproject.toml": _PROJECT,
        "README.md": _README,
        "__init__.py": _INIT,
        "client.py": _CLIENT,
        "models.py": _MODELS,
        "server/__init__.py": '"""The server."""\n',
        "server/app.py": _APP,
        "server/Dockerfile": _DOCKERFILE,
    }.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.format(**words), encoding="utf-8")
    return words["name"]


def _distribution(env: TextEnv) -> str:
    """What pip calls the package that the environment is from."""
    home = type(env).__module__.partition(".")[0]
    return packages_distributions().get(home, [home])[0]


def _words(env: TextEnv, env_id: str, name: str) -> dict[str, Any]:
    return {
        "env_id": env_id,
        "name": name,
        "dashed": name.replace("_", "-"),
        "version": f"{env.version}.0.0",
        "about": summary_of(env_id),
        "lowest": 0.0 - env.invalid_penalty,
        "highest": float(env.reward_scale),
        "split": json.dumps(env.tasks.task(env.tasks.ids[0]).split or "all"),
        "tasks": len(env.tasks.ids),
    }
