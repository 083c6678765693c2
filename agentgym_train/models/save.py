"""A model's folder in Hugging Face's format, whole, so that anyone can load it."""

import copy
from pathlib import Path
from typing import Any

import torch

from agentgym_train.files import write_folder


def save_model(model: Any, tokenizer: Any, path: Path) -> None:
    """Write weights, configuration and tokenizer, atomically; adapters are merged into a copy."""

    def fill(aside: Path) -> None:
        _whole(model).save_pretrained(aside)
        tokenizer.save_pretrained(aside)

    write_folder(path, fill)


def _whole(model: Any) -> Any:
    """The model; or a copy on the CPU, where there is room for it, with its adapters merged."""
    if not hasattr(model, "merge_and_unload"):
        return model
    on_cpu = {
        id(p): torch.nn.Parameter(p.detach().to("cpu", copy=True), p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, on_cpu).cpu().merge_and_unload()
