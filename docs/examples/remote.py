"""An environment on a server, played as any Gymnasium environment.

pip install -e '.[serve]'
python docs/examples/remote.py

On two machines: `agentgym-envs serve AgentGym/ALFWorld-v0 --host 0.0.0.0 --token SECRET` there,
and here AGENTGYM_SERVE_TOKEN=SECRET and the server's address.
"""

import subprocess
import sys

import gymnasium as gym

import agentgym_envs  # noqa: F401 (registers AgentGym/Remote-v0)

SERVE = ("-m", "agentgym_envs", "serve", "AgentGym/ALFWorld-v0", "--port", "0")
SETTINGS = ("--set", "difficulty=tiny", "--set", "info_level=debug")


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, *SERVE, *SETTINGS], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().split(" at ")[1].split()[0]  # "... at ws://127.0.0.1:PORT ..."
    try:
        env = gym.make("AgentGym/Remote-v0", url=url)
        observation, info = env.reset(seed=0)
        print(observation)
        terminated = truncated = False
        while not (terminated or truncated):
            action = info["expert_action"]  # here a model would speak
            observation, reward, terminated, truncated, info = env.step(action)
            print(f"> {action}\n{observation}")
        print(f"reward: {reward}, success: {info['success']}, truncated: {truncated}")
        env.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
