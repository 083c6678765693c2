"""An agent for trainers that hand over an OpenAI-compatible address and want a reward back.

AReaL's agent workflows are called so; ART's and rLLM's rollouts differ by a line. The trainer's
proxy behind `base_url` keeps the tokens, `rows` makes the data set; repeat a row for a group.
"""

import asyncio
from typing import Any

from openai import AsyncOpenAI

from agentgym_envs.drivers import Setup, openai_episode

SHOP = Setup(env_id="AgentGym/WebShop-v0", settings={"difficulty": "tiny"})


def rows(count: int) -> list[dict[str, Any]]:
    """The data set: a task a row."""
    return SHOP.rows(count)


class Agent:
    """One episode a call. sampling: sent with each request (temperature, ...)."""

    def __init__(self, **sampling: Any) -> None:
        self.sampling = sampling

    async def run(
        self,
        data: dict[str, Any],
        *,
        base_url: str,
        api_key: str = "none",
        http_client: Any = None,
        **others: Any,  # a trainer may tell more than this needs
    ) -> float:
        """Play the task of a row; the episode's reward."""
        conversation = await asyncio.to_thread(Setup.of(data).conversation)
        # Not closed here: the connections are the trainer's, and its other episodes use them.
        client = AsyncOpenAI(base_url=base_url, api_key=api_key, http_client=http_client)
        played = await openai_episode(
            conversation,
            client,
            "default",  # the trainer serves one model, by whatever name
            task_id=data["task_id"],
            seed=data["seed"],
            **self.sampling,
        )
        return played.reward
