"""Evaluate a model on WebShop with verifiers' own `vf-eval`.

    pip install -e . "verifiers>=0.4,<0.5"
    python verifiers_eval.py http://localhost:8000/v1 MODEL

The address is any OpenAI-compatible endpoint's; its key is read from MODEL_KEY. The same by hand:

    agentgym-envs export verifiers AgentGym/WebShop-v0 webshop --set difficulty=tiny
    pip install -e webshop
    vf-eval agentgym-webshop-v0 -m MODEL -n 4 --client.base-url http://localhost:8000/v1 --no-push
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agentgym_envs.drivers.setup import Setup
from agentgym_envs.integrations.verifiers_package import export_package

WEBSHOP = Setup(env_id="AgentGym/WebShop-v0", settings={"difficulty": "tiny", "max_turns": 8})


def evaluate(base_url: str, model: str, tasks: int = 4) -> list[dict]:
    """What verifiers' traces say of each episode."""
    vf_eval = Path(sys.executable).with_name("vf-eval")
    with TemporaryDirectory() as home:
        name = export_package(WEBSHOP, f"{home}/webshop")
        command = [str(vf_eval), name, "-m", model, "-n", str(tasks), "--no-push", "--no-rich"]
        command += ["--client.base-url", base_url, "--client.api-key-var", "MODEL_KEY"]
        command += ["-o", home, "--run.dir", "run"]
        # On the path instead of installed, so that nothing is left behind.
        paths = {"PYTHONPATH": f"{home}/webshop"}
        subprocess.run(command, env={**os.environ, **paths}, stdout=subprocess.DEVNULL, check=True)
        lines = Path(home, "run", "traces.jsonl").read_text(encoding="utf-8").splitlines()
    return [trace["info"] for line in lines for trace in json.loads(line)["traces"]]


if __name__ == "__main__":
    for info in evaluate(*sys.argv[1:3]):
        print(info["task_id"], info["stop_reason"], f"score {info['score']:.2f}")
