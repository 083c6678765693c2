"""A model's folder in Hugging Face's format, whole, so that anyone can load it."""

import copy
from pathlib import Path
from typing import Any

from agentgym_train.files import write_folder


def save_model(model: Any, tokenizer: Any, path: Path) -> None:
    """Write weights, configuration and tokenizer, atomically; adapters are merged into a copy."""

    def fill(aside: Path) -> None:
        _whole(model).save_pretrained(aside)
        tokenizer.save_pretrained(aside)

    write_folder(path, fill)


def _whole(model: Any) -> Any:
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
