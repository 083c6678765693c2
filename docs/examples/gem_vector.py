"""Three WebShop episodes at once through GEM, with GEM's wrapper that shows the whole history.

pip install -e . gem-llm
python docs/examples/gem_vector.py
"""

from functools import partial

import gem
from gem.wrappers.observation_wrapper import ObservationWrapper

import agentgym_envs.integrations.gem  # noqa: F401 (registers agentgym:WebShop-v0)


def main() -> None:
    envs = gem.make_vec(
        ["agentgym:WebShop-v0"] * 3,
        wrappers=[partial(ObservationWrapper, include_chat_template=False)],
        async_mode=True,
        settings={"difficulty": "tiny", "products": 40, "splits": "all", "max_turns": 4},
    )
    prompts, _ = envs.reset(seed=7)
    print(prompts[0])
    for _ in range(4):  # here a model would answer `prompts`
        actions = [env.unwrapped.sample_random_action() for env in envs.envs]
        prompts, rewards, terminated, truncated, infos = envs.step(actions)
    ends = [info["final_info"] for info in infos]  # each has begun its next episode
    for task, reward, won, cut in zip(ends, rewards, terminated, truncated, strict=True):
        print(task["task_id"], reward, won, cut, task["success"], task["stop_reason"])


if __name__ == "__main__":
    main()
