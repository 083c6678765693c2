"""A random Qwen3 of some ten thousand parameters with TRL's Qwen3 chat template, made in place.

It says nothing sensible. It shows in seconds, without a network or a GPU, that a setup runs.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from agentgym_envs.drivers import Setup

PAD, OPEN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"


def model_and_tokenizer(name: str | None, setup: Setup) -> tuple[Any, PreTrainedTokenizerFast]:
    """What a trainer takes: a model's name and its tokenizer, or the tiny ones."""
    if name is not None:
        return name, AutoTokenizer.from_pretrained(name)
    tokenizer = make_tokenizer(texts_of(setup))
    return make_model(tokenizer), tokenizer


def texts_of(setup: Setup, tasks: int = 8) -> list[str]:
    """How conversations in an environment begin."""
    conversation = setup.conversation()
    rows = setup.rows(tasks)
    openings = [conversation.begin(task_id=row["task_id"], seed=row["seed"]) for row in rows]
    return [message["content"] for messages in openings for message in messages]


def make_tokenizer(texts: Iterable[str], size: int = 600) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `size` tokens; any text survives it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PAD, OPEN, END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[OPEN],
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Qwen3ForCausalLM:
    """A fresh float32 model for this tokenizer."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=32768,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(END),
            pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        )
    )
