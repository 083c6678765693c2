"""Small causal models of several families, made in place, and texts of a small household."""

import random
from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agentgym_train.models.tiny import train_tokenizer

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # a model with opinions
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2_SHAPE = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": 300}
PLAIN = ("qwen3", "llama", "gpt2", "phi", "granite", "cohere")  # all layers see the whole past
SLIDING = ("gemma2", "gemma3")
FAMILIES = (*PLAIN, *SLIDING)


def make(family: str) -> Any:
    """A float32 model of that family, in evaluation mode; equal calls give equal weights."""
    windows = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        match family:
            case "qwen3":
                model: Any = Qwen3ForCausalLM(Qwen3Config(**SHAPE, tie_word_embeddings=True))
            case "llama":
                model = LlamaForCausalLM(LlamaConfig(**SHAPE))
            case "gpt2":
                config = GPT2Config(**GPT2_SHAPE, initializer_range=0.2, eos_token_id=2)
                model = GPT2LMHeadModel(config)
            case "phi":  # its output layer has a bias
                model = PhiForCausalLM(PhiConfig(**SHAPE))
                torch.nn.init.normal_(model.lm_head.bias)
            case "granite":
                model = GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=3.0))
            case "cohere":
                model = CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.25))
            case "gemma2":
                config = Gemma2Config(**SHAPE, **windows, final_logit_softcapping=3.0)
                model = Gemma2ForCausalLM(config)
            case "gemma3":
                config = Gemma3TextConfig(**SHAPE, **windows, final_logit_softcapping=3.0)
                model = Gemma3ForCausalLM(config)
            case _:
                raise ValueError(family)
    return model.eval()


def plain_logprobs(model: Any, tokens: list[int], temperature: float = 1.0) -> torch.Tensor:
    """Log-prob of each token after the first, by one uncached forward pass on it alone."""
    ids = torch.tensor([tokens])
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float() / temperature
    return logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def household_texts(count: int = 200) -> list[str]:
    """Observations, goals and actions in the words of a text household."""
    dice = random.Random(0)
    things = ["mug", "desk", "shelf", "pencil", "book", "cabinet", "drawer", "fridge", "apple"]

    def some() -> str:
        return f"{dice.choice(things)} {dice.randint(1, 4)}"

    texts = []
    for _ in range(count):
        here, there = some(), some()
        verb, kind, place = dice.choice(["clean", "hot"]), dice.choice(things), dice.choice(things)
        texts += [
            f"You arrive at {here}. On the {here}, you see a {some()}, a {some()}, and a {some()}.",
            f"You are in the middle of a room. You see a {here}, and a {there}.\n\n"
            f"Your task is to: put a {verb} {kind} in {place}.",
            f"take {here} from {there}",
            f"go to {there}",
            "Nothing happens.",
        ]
    return texts


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(household_texts(), 400)
