"""OpenEnv's client plays ALFWorld on a server, typed and one method a message.

pip install -e '.[serve]' "openenv>=0.10,<0.11"
python docs/examples/openenv_play.py

Another language or another stack: the same server answers OpenEnv's generic client.
"""

import subprocess
import sys

from agentgym_envs.integrations.openenv import TextAction, TextClient

SERVE = ("-m", "agentgym_envs", "serve", "AgentGym/ALFWorld-v0", "--port", "0")
SETTINGS = ("--set", "difficulty=tiny", "--set", "info_level=debug")


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, *SERVE, *SETTINGS], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().split(" at ")[1].split()[0]  # "... at ws://127.0.0.1:PORT ..."
    try:
        with TextClient(base_url=url).sync() as env:
            result = env.reset(seed=0)
            print(result.observation.text)
            while not result.done:
                action = result.observation.info["expert_action"]  # here a model would speak
                result = env.step(TextAction(text=action))
                print(f"> {action}\n{result.observation.text}")
            seen = result.observation
            print(f"reward: {result.reward}, success: {seen.success}, truncated: {seen.truncated}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
