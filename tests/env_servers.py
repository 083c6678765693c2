"""Environment servers for tests: in a thread of the test's process, or in one of their own."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import sleep
from typing import Any

from agentgym_envs.endpoint import address, listening, uvicorn_server
from agentgym_envs.serve.server import Limits, make_app, uvicorn_settings


@contextmanager
def served(
    env_id: str,
    settings: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    port: int = 0,
) -> Iterator[str]:
    """The address of a server in a thread, as `serve` would run it."""
    limits = limits or Limits()
    app = make_app(env_id, settings, token=token, limits=limits)
    with listening("127.0.0.1", port) as listener:
        server = uvicorn_server(app, uvicorn_settings(limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            sleep(0.01)
        try:
            yield address("ws", "127.0.0.1", listener)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def running(
    env_id: str, settings: Mapping[str, Any], *options: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of `agentgym-envs serve`, and its address; killed at the end if it still runs."""
    command = [sys.executable, "-m", "agentgym_envs", "serve", env_id, *options]
    for name, value in settings.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().split(" at ")[1].split()[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
