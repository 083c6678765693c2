"""Multi-turn text environments for language agents behind the Gymnasium API.

Importing this package registers the environments; nothing heavy is loaded until one is made.
"""

from agentgym_envs.core import TaskList, TaskSource, TextEnv
from agentgym_envs.registration import register_text_env
from agentgym_envs.spaces import Unicode
from agentgym_envs.types import Advice, Episode, Scene, Task, Turn, Verdict
from agentgym_envs.vector import TextVectorEnv

__all__ = [
    "Advice",
    "Episode",
    "Scene",
    "Task",
    "TaskList",
    "TaskSource",
    "TextEnv",
    "TextVectorEnv",
    "Turn",
    "Unicode",
    "Verdict",
    "register_text_env",
]

register_text_env(
    "AgentGym/ALFWorld-v0",
    "agentgym_envs.alfworld.env:ALFWorldEnv",
    "agentgym_envs.alfworld.env:ALFWorldVectorEnv",
)
register_text_env(
    "AgentGym/WebShop-v0",
    "agentgym_envs.webshop.env:WebShopEnv",
    "agentgym_envs.webshop.env:WebShopVectorEnv",
)
register_text_env(
    "AgentGym/SearchQA-v0",
    "agentgym_envs.searchqa.env:SearchQAEnv",
    "agentgym_envs.searchqa.env:SearchQAVectorEnv",
)
# One of these on a server: gym.make("AgentGym/Remote-v0", url="ws://127.0.0.1:8765").
register_text_env(
    "AgentGym/Remote-v0",
    "agentgym_envs.serve.client:RemoteEnv",
    "agentgym_envs.serve.client:RemoteVectorEnv",
)
