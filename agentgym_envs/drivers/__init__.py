"""Play episodes with any model: as chat messages, as tokens, or through an OpenAI endpoint.

`Setup` says what is played and how it speaks. `Conversation` is one episode as messages and
`TokenConversation` the same as tokens; neither does any input or output, so that both serve
lockstep batches, threads and asyncio alike. `openai_episode` and `play_openai` ask an endpoint.
"""

from agentgym_envs.drivers.chat_tokens import ChatTokens
from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.openai import ChatEpisode, openai_episode, play_openai
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.drivers.token_conversation import TokenConversation, TokenEpisode, TokenRow

__all__ = [
    "ChatEpisode",
    "ChatTokens",
    "Conversation",
    "Setup",
    "TokenConversation",
    "TokenEpisode",
    "TokenRow",
    "openai_episode",
    "play_openai",
]
