"""Any causal language model, by name or folder, ready to train; or the tiny one, made in place."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from agentgym_train.models.head import Head
from agentgym_train.models.tiny import TinySettings, make_model, train_tokenizer

# Not float16: its gradients fall out of its range, and nothing here scales them.
DTypeName = Literal["float32", "bfloat16"]
_AGREES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Train small matrices beside frozen weights. rank 0: train the weights themselves."""

    rank: int = 0
    alpha: int = 32  # the update is scaled by alpha / rank
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"  # module names


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model, and how to hold it. name: a Hugging Face id, a folder, or "tiny".

    dtype: what the model computes in. What trains is kept in float32 beside it all the same (see
    `agentgym_train.optimizer`).
    """

    name: str
    dtype: DTypeName = "float32"
    attention: str = "sdpa"  # transformers' name: "sdpa", "eager", "flash_attention_2", ...
    gradient_checkpointing: bool = False  # less memory, about a third more time
    lora: LoraSettings = field(default_factory=LoraSettings)
    device: str = "auto"  # "cpu", "cuda", "cuda:1", ...; auto: cuda where there is one
    tiny: TinySettings = field(default_factory=TinySettings)  # read only for "tiny"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f'device is "auto", "cpu", "cuda" or "cuda:N", got {self.device!r}')


def load_model(
    settings: ModelSettings, texts: Iterable[str] | None = None
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load or make the model and its tokenizer.

    texts: what the tiny model's vocabulary is learnt from, unless `tiny.tokenizer` names one.
    The model's own dropout is switched off, so that log-probs before and during an update agree.
    Code that comes with a model is never run.

    Raises FileNotFoundError where files are missing, ValueError where our output head does not
    reproduce the model's own log-probs.
    """
    device = _device(settings.device)
    if settings.name == "tiny":
        model, tokenizer = _make_tiny(settings, texts)
    else:
        model, tokenizer = _from_files(settings)
    model = model.to(device)
    check_head(model)
    if settings.lora.rank:
        model = _with_lora(model, settings.lora)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if settings.lora.rank:
            model.enable_input_require_grads()
    return model, tokenizer


@torch.no_grad()
def check_head(model: Any) -> None:
    """Does our output head give the model's own log-probs? Raises ValueError where it does not."""
    head = Head.of(model)
    dice = torch.Generator().manual_seed(0)
    most = min(1000, head.output.out_features)
    ids = torch.randint(0, most, (2, 7), generator=dice).to(head.output.weight.device)
    model.eval()
    own = model(input_ids=ids).logits.float().log_softmax(-1)[:, :-1]
    own = own.gather(2, ids[:, 1:, None]).flatten()
    hidden = head.trunk(input_ids=ids).last_hidden_state[:, :-1].flatten(0, 1)
    ours, _ = head.logprob(hidden, ids[:, 1:].flatten(), temperature=1.0)
    worst = float((ours - own).abs().max())
    if not worst < _AGREES[head.output.weight.dtype]:
        raise ValueError(
            f"{type(model).__name__} turns hidden states into scores in a way that "
            f"agentgym_train.models.head does not know: log-probs are off by {worst:.2g}"
        )


def _make_tiny(
    settings: ModelSettings, texts: Iterable[str] | None
) -> tuple[Any, PreTrainedTokenizerFast]:
    folder = settings.tiny.tokenizer
    if folder is not None:
        tokenizer = _loaded(lambda: PreTrainedTokenizerFast.from_pretrained(folder), folder)
    elif texts is not None:
        tokenizer = train_tokenizer(texts, settings.tiny.vocabulary, settings.tiny.units)
    else:
        raise ValueError(
            'the model "tiny" learns its vocabulary from texts: give `load_model` some, or name a '
            "folder with a saved tokenizer in `tiny.tokenizer`"
        )
    model = make_model(settings.tiny, tokenizer)
    for parameter in model.parameters():  # buffers stay: rotary angles need float32
        parameter.data = parameter.data.to(getattr(torch, settings.dtype))
    model.set_attn_implementation(settings.attention)
    return model, tokenizer


def _from_files(settings: ModelSettings) -> tuple[Any, PreTrainedTokenizerBase]:
    name = settings.name
    config = _loaded(lambda: AutoConfig.from_pretrained(name), name)
    _without_dropout(config)
    tokenizer = _loaded(lambda: AutoTokenizer.from_pretrained(name), name)
    model = _loaded(
        lambda: AutoModelForCausalLM.from_pretrained(
            name,
            config=config,
            dtype=getattr(torch, settings.dtype),
            attn_implementation=settings.attention,
        ),
        name,
    )
    return model, tokenizer


def _loaded(load: Any, name: str) -> Any:
    """Run a loader; where files are missing, say which model and what to do."""
    try:
        if _is_path(name) and not Path(name).exists():
            raise OSError("not there")
        if Path(name).is_dir() and not any(Path(name).glob("*config.json")):
            raise OSError("there is no config.json in it")
        return load()
    except OSError as error:
        if Path(name).exists():
            remedy = "the folder must hold config.json, the weights and the tokenizer's files"
        elif _is_path(name):
            remedy = f"no such folder from {Path.cwd()}; `agentgym-train warmup` and `run` make one"
        else:
            remedy = f"give a folder that exists, or fetch it first: `hf download {name}`"
        raise FileNotFoundError(f"model {name!r} cannot be loaded: {remedy} ({error})") from error


def _is_path(name: str) -> bool:
    """Is it no id of a hub, which is "name" or "owner/name"?"""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/model")


def _without_dropout(config: Any) -> None:
    for part in {id(c): c for c in (config, config.get_text_config(decoder=True))}.values():
        for name, value in vars(part).items():
            if name.endswith(("dropout", "pdrop")) and isinstance(value, float):
                setattr(part, name, 0.0)


def _with_lora(model: Any, lora: LoraSettings) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets,
        lora_dropout=0.0,  # log-probs before and during an update must agree
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _device(name: str) -> torch.device:
    count = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        seen = f"only {count} of them" if count else "no GPU"
        raise ValueError(f'device = "{name}", but torch sees {seen}: set another, or "auto"')
    return device
