"""A model small enough to learn a household on two CPU cores, and a vocabulary made for it.

The model is an ordinary Qwen3 with about 0.4 M parameters. The vocabulary gives an entity such as
" mug 1" one token, and so each frequent phrase between entities ("You arrive at", ", you see a"):
a model this small learns such a world far faster than one spelt in syllables.

How text is cut into "phrases": line breaks, entities (a name and a number) and bare names (a word
seen with a number elsewhere, such as the " mug" of a goal) stand alone, so that no phrase swallows
one. What lies between them is a phrase. The entities, names, phrases and words that save most
bytes become tokens, and every byte is one, so any text survives the round trip.

Cut into "words", each word and each digit stands alone: for worlds whose names are combined anew
in every task, where a phrase would hide the words that have to be copied.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, END, *ROLES)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_ENTITY = r" ?[a-z]+ [0-9]+"
_SPACE = "\u0120"  # what ByteLevel writes for a space
_SPELT_ENTITY = re.compile(_ENTITY.replace(" ", _SPACE))
_SPELT_WORD = re.compile(rf"{_SPACE}?[A-Za-z]+")
_WORDS = r"\n+| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]"
_LONGEST = 120  # bytes in a phrase; longer ones are texts, not phrases


@dataclass(frozen=True, kw_only=True)
class TinySettings:
    """Shape of the tiny Qwen3 model. The defaults with 600 tokens make 0.41 M parameters."""

    width: int = 128  # hidden size; a multiple of `heads`
    layers: int = 2
    heads: int = 4
    inner: int = 256  # width inside the feed-forward layers
    units: Literal["phrases", "words"] = "phrases"  # what may become one token
    vocabulary: int = 600  # tokens the tokenizer may use, 256 bytes and 5 special ones included
    context: int = 4096  # tokens a conversation may have
    init_std: float = 0.02  # spread of the first weights
    seed: int = 0  # of the first weights
    tokenizer: str | None = None  # folder of a saved tokenizer; None: learn one from given texts

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"tiny.width = {self.width} must be a multiple of twice tiny.heads = {self.heads}"
            )


def make_model(settings: TinySettings, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A fresh float32 model for this tokenizer; equal settings give equal weights.

    Its own seed decides the weights: PyTorch's global generator is left as it was.
    """
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.inner,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        head_dim=settings.width // settings.heads,
        max_position_embeddings=settings.context,
        initializer_range=settings.init_std,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.get_vocab()[END],
        pad_token_id=tokenizer.get_vocab()[PAD],
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        return Qwen3ForCausalLM(config)


def train_tokenizer(
    texts: Iterable[str], size: int, units: Literal["phrases", "words"] = "phrases"
) -> PreTrainedTokenizerFast:
    """Learn a vocabulary of at most `size` tokens from texts of the kind the model will meet.

    Lossless on any text, seen before or not; equal texts and size give an equal tokenizer.
    Raises ValueError where `size` leaves no room beyond bytes and special tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    room = size - len(SPECIAL) - len(alphabet)
    if room < 0:
        least = len(SPECIAL) + len(alphabet)
        raise ValueError(f"vocabulary of {size} tokens: bytes and special tokens need {least}")
    counted = Counter(texts)
    cutter = _cutter(_entities(_names(counted)) if units == "phrases" else _WORDS)
    learnt = _units(counted, cutter, room)
    # A segmentation has the fewest tokens when every unit costs the same, whatever its length.
    pieces = [(text, -1.0) for text in (*SPECIAL, *learnt)] + [(byte, -1.5) for byte in alphabet]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = cutter
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _names(texts: Counter[str]) -> list[str]:
    """Words that stand before a number at least twice: "mug", "sinkbasin"."""
    seen: Counter[str] = Counter()
    for text, times in texts.items():
        for name in re.findall(r"\b([a-z]+) [0-9]+", text):
            seen[name] += times
    return sorted(name for name, times in seen.items() if times > 1)


def _entities(names: list[str]) -> str:
    bare = rf"| ?\b(?:{'|'.join(names)})\b" if names else ""
    return rf"\n+|{_ENTITY}{bare}"


def _cutter(alone: str) -> pre_tokenizers.PreTokenizer:
    """Cuts text so that what the expression finds stands alone."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(alone), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _units(texts: Counter[str], cutter: pre_tokenizers.PreTokenizer, room: int) -> list[str]:
    """The pieces and words, met more than once, that save most bytes.

    A word counts once for each different phrase it is in: a phrase that has a token of its own
    needs none for its words, however often it is met.
    """
    pieces: Counter[str] = Counter()
    for text, times in texts.items():
        for piece, _ in cutter.pre_tokenize_str(text):
            pieces[piece] += times
    words: Counter[str] = Counter()
    for piece in pieces:
        if not _SPELT_ENTITY.fullmatch(piece):
            words.update(set(_SPELT_WORD.findall(piece)))
    uses = words | Counter({p: n for p, n in pieces.items() if len(p) <= _LONGEST})  # the larger
    saved = {unit: n * (len(unit) - 1) for unit, n in uses.items() if n > 1 and len(unit) > 1}
    # Equals in alphabetical order, so that the order of the texts changes nothing.
    return sorted(saved, key=lambda unit: (-saved[unit], unit))[:room]
