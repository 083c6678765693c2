"""Play ALFWorld with a model behind any OpenAI-compatible endpoint (vLLM, SGLang, Ollama, ...).

    pip install -e '.[openai]'
    python openai_endpoint.py --base-url http://localhost:8000/v1 --model Qwen/Qwen3-4B

First one episode, turn by turn; then twenty at once, with a transcript. A key, where the endpoint
wants one, is taken from OPENAI_API_KEY.
"""

import argparse
import asyncio
import os
from pathlib import Path

from openai import AsyncOpenAI

from agentgym_envs.drivers import ChatEpisode, Setup, openai_episode, play_openai


async def one_episode(setup: Setup, base_url: str, model: str) -> ChatEpisode:
    """In your own event loop, with a client of your own."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    async with AsyncOpenAI(base_url=base_url, api_key=key) as client:
        return await openai_episode(setup.conversation(), client, model, seed=0, max_tokens=512)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base-url", required=True, help="for example http://localhost:8000/v1")
    parser.add_argument("--model", required=True, help="its name at the endpoint")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--transcript", type=Path, default=Path("alfworld.jsonl"))
    said = parser.parse_args(words)

    setup = Setup(env_id="AgentGym/ALFWorld-v0", settings={"difficulty": "tiny", "max_turns": 20})
    played = asyncio.run(one_episode(setup, said.base_url, said.model))
    for message in played.messages:
        print(f"[{message['role']}] {message['content']}\n")
    print(f"{played.verdict.reason}; reward {played.reward:g}; {played.usage}\n")

    summary = play_openai(
        setup,
        setup.make().tasks.ids[: said.tasks],
        base_url=said.base_url,
        model=said.model,
        temperature=0.0,
        max_tokens=512,
        transcript=said.transcript,  # interrupted? the same call goes on from there
        on_episode=lambda done, wanted: print(f"\r{done}/{wanted}", end="", flush=True),
    )
    print(f"\nsuccess {summary.overall}; {summary.usage}")


if __name__ == "__main__":
    main()
