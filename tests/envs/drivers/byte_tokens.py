"""A tokenizer made in place: a token for each byte and five special ones, so that the tokens of
two texts joined are the tokens of the one and then of the other."""

from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentgym_envs.drivers import ChatTokens, Setup

END, USER, ASSISTANT, SYSTEM, PAD = SPECIAL = (
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PANTRY = Setup(env_id="pantry:Pantry/Honey-v0", settings={"max_turns": 4})
TASK = "pantry/red/honey"


def byte_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """As Llama 3's is published, it lists its end token as special and not those of the roles."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[])
    tokenizer = Tokenizer(bytes_only)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )


@cache
def chat_tokens() -> ChatTokens:
    return ChatTokens(byte_tokenizer())


@cache
def special_ids() -> set[int]:
    return set(byte_tokenizer().convert_tokens_to_ids(list(SPECIAL)))
