"""An episode of ALFWorld through skyrl-gym, and the data set SkyRL trains on.

pip install -e . skyrl-gym pyarrow
python docs/examples/skyrl_gym_episode.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import skyrl_gym

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.skyrl_gym import NAME, rows, write_parquet


def main() -> None:
    setup = Setup(
        env_id="AgentGym/ALFWorld-v0",
        settings={"difficulty": "tiny", "games": {"train": 8}, "max_turns": 5},
    )
    with TemporaryDirectory() as folder:
        data = rows(setup)
        write_parquet(Path(folder) / "train.parquet", data)  # data.train_data=[...]
    env = skyrl_gym.make(NAME, env_config={}, extras=data[0])
    messages, _ = env.init(data[0]["prompt"])
    print(messages[-1]["content"])
    done = False
    while not done:  # here a model would answer `messages`
        out = env.step("<think>I see what is here.</think><action>look</action>")
        messages, done = [*messages, *out["observations"]], out["done"]
    print(out["metadata"]["stop_reason"], env.get_metrics())


if __name__ == "__main__":
    main()
