"""A stranger's package: an environment of their own, registered by import path in one call."""

from agentgym_envs import register_text_env

register_text_env("Pantry/Honey-v0", "pantry.env:PantryEnv", "pantry.env:PantryVectorEnv")
