"""A tokenizer, a tiny model, and models that only pretend, for verl's agent loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from integrations.parity import Played
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from verl.workers.rollout.replica import TokenOutput

END = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_model(folder: Path) -> PreTrainedTokenizerFast:
    """A random Qwen3 of two layers with a token for each byte, and Qwen's way to mark messages."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token=END,
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=16384,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return fast


class Scripted:
    """Replies to exactly the prompts it knows; its log-probs are the reply's place, negated."""

    def __init__(self, tokenizer: Any, answer: Callable[[str], str]) -> None:
        self.tokenizer, self.answer = tokenizer, answer
        self.asked: list[dict] = []

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict):
        self.asked.append({"request": request_id, "prompt": len(prompt_ids), **sampling_params})
        if "prompt_logprobs" in sampling_params:
            told = [[-float(i)] for i in range(len(prompt_ids))]
            return TokenOutput(token_ids=[0], extra_fields={"prompt_logprobs": told})
        response = self.answer(self.tokenizer.decode(prompt_ids)) + END
        reply = self.tokenizer.encode(response, add_special_tokens=False)
        reply = reply[: sampling_params["max_tokens"]]
        logprobs = [-float(i) for i in range(len(reply))]
        step = {"min_global_steps": len(self.asked), "max_global_steps": len(self.asked)}
        return TokenOutput(
            token_ids=reply, log_probs=logprobs, stop_reason="completed", extra_fields=step
        )


def answering(tokenizer: Any, plays: list[Played]) -> Callable[[str], str]:
    """What these episodes say, by the text of the whole prompt as the chat template writes it."""
    known = {
        tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True): response
        for one in plays
        for prompt, response in zip(one.prompts, one.responses, strict=True)
    }
    return known.__getitem__


class Generating:
    """A real model behind verl's client protocol; token in, token out."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = tokenizer
        self.prompts: list[list[int]] = []
        self.replies: list[list[int]] = []

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict):
        self.prompts.append(prompt_ids)
        torch.manual_seed(len(self.prompts))
        with torch.no_grad():
            out = self.model.generate(
                torch.tensor([prompt_ids]),
                max_new_tokens=min(12, sampling_params["max_tokens"]),
                do_sample=True,
                output_logits=True,
                return_dict_in_generate=True,
            )
        reply = out.sequences[0, len(prompt_ids) :].tolist()
        logprobs = [
            float(logits[0].log_softmax(-1)[token])
            for logits, token in zip(out.logits, reply, strict=True)
        ]
        self.replies.append(reply)
        return TokenOutput(token_ids=reply, log_probs=logprobs, stop_reason="completed")
