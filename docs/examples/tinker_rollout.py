"""A group of Search-QA episodes through tinker-cookbook's own rollout, and the data it trains on.

    pip install -e . "tinker-cookbook>=0.5,<0.6"
    python docs/examples/tinker_rollout.py

To train, hand the same builder to the cookbook:

    train.Config(dataset_builder=dataset, model_name="Qwen/Qwen3-4B-Instruct-2507", ...)

Here a tokenizer of bytes and a model that always says the same stand in for a real one.
"""

import asyncio

from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.rl.data_processing import assemble_training_data, compute_advantages
from tinker_cookbook.rl.rollouts import do_group_rollout
from tinker_cookbook.tokenizer_utils import register_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentgym_envs.integrations.tinker import AgentGymDatasetBuilder


def byte_tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )


TOKENIZER = byte_tokenizer()
register_tokenizer("bytes", lambda: TOKENIZER)


class Searcher(TokenCompleter):
    async def __call__(self, model_input, stop, *, max_tokens=None):
        text = "<think>I do not know.</think>\n<search>who</search>"
        tokens = [*TOKENIZER.encode(text, add_special_tokens=False), *stop]
        return TokensWithLogprobs(tokens, [-1.0] * len(tokens))


async def main() -> None:
    dataset = AgentGymDatasetBuilder(
        env_id="AgentGym/SearchQA-v0",
        settings={"world_preset": "nano"},
        model_name_for_tokenizer="bytes",  # "Qwen/Qwen3-4B-Instruct-2507"
        renderer_name="qwen3_instruct",
        batch_size=4,
        group_size=2,
    )
    train, _ = await dataset()
    group = await do_group_rollout(train.get_batch(0)[0], Searcher())
    for trajectory in group.trajectories_G:
        print(len(trajectory.transitions), "turns:", trajectory.transitions[-1].metrics)
    data, _ = assemble_training_data([group], compute_advantages([group]))
    print(len(data), "data of", [datum.model_input.length for datum in data], "tokens")


if __name__ == "__main__":
    asyncio.run(main())
