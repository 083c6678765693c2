"""Text to unit vectors, as E5 and its kin do it, through transformers."""

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from agentgym_envs.retrieval.needs import needed

POOLINGS = ("mean", "cls")
DTYPES = ("float32", "bfloat16", "float16")
BGE_INSTRUCTION = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What makes an encoder's vectors what they are, besides its weights.

    `for_model` fills in what the family of a model is used to; what is given always wins.
    """

    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: str = "mean"  # of the last layer, over tokens that are no padding; or "cls"
    query_length: int = 256  # tokens, the special ones included
    passage_length: int = 512

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"no pooling {self.pooling!r}: there are {', '.join(POOLINGS)}")
        if min(self.query_length, self.passage_length) < 1:
            raise ValueError("query_length and passage_length are numbers of tokens from 1")

    @staticmethod
    def for_model(
        model: str,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        pooling: str | None = None,
        query_length: int = 256,
        passage_length: int = 512,
    ) -> "Encoding":
        """The encoding of a model by its name: E5's prefixes, BGE's instruction and first token.

        A name speaks of E5 where "e5" stands by itself in it (e5-base-v2, multilingual-e5-small).
        """
        words = re.split(r"[^a-z0-9]+", model_name(model).lower())
        family = next((word for word in ("e5", "bge") if word in words), "")
        queries = {"e5": "query: ", "bge": BGE_INSTRUCTION}.get(family, "")
        passages = "passage: " if family == "e5" else ""
        return Encoding(
            query_prefix=queries if query_prefix is None else query_prefix,
            passage_prefix=passages if passage_prefix is None else passage_prefix,
            pooling=pooling or ("cls" if family == "bge" else "mean"),
            query_length=query_length,
            passage_length=passage_length,
        )


def model_name(model: str) -> str:
    """The last part of a hub name or path; of a hub snapshot, the repository's."""
    path = Path(model)
    return path.parts[-3] if path.parent.name == "snapshots" else path.name


class Encoder:
    """A transformers model that turns texts into unit vectors. Safe to share between threads."""

    def __init__(
        self,
        model: str | PathLike[str],
        encoding: Encoding | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 64,
    ) -> None:
        """model: a folder or a name of the Hugging Face hub; encoding: None for what its name says.

        Raises ValueError for an unknown dtype, ModuleNotFoundError naming what to install, and
        OSError (from transformers) where there is no such model.
        """
        if dtype not in DTYPES:
            raise ValueError(f"no dtype {dtype!r} of an encoder: there are {', '.join(DTYPES)}")
        if batch_size < 1:
            raise ValueError(f"batch_size should be at least 1, got {batch_size}")
        torch = needed("torch")
        transformers = needed("transformers")
        self.encoding = encoding or Encoding.for_model(str(model))
        self.batch_size = batch_size
        self.device, self.dtype = device, dtype
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        # As stored first: the fingerprint does not depend on the dtype it computes in.
        weights = transformers.AutoModel.from_pretrained(model, dtype="auto")
        self._fingerprint = _fingerprint(weights, self._tokenizer, self.encoding)
        self._model = weights.to(device=device, dtype=getattr(torch, dtype)).eval()
        self._lock = threading.Lock()  # a tokenizer cannot be shared while it truncates

    @property
    def dimension(self) -> int:
        """How long a vector is."""
        return int(self._model.config.hidden_size)

    @property
    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of weights, tokenizer and encoding; not of device and dtype."""
        return self._fingerprint

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """One unit vector a query.  B texts -> [B, dimension] float32"""
        encoding = self.encoding
        return self._encode([encoding.query_prefix + one for one in texts], encoding.query_length)

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        """One unit vector a passage.  B texts -> [B, dimension] float32"""
        encoding = self.encoding
        return self._encode(
            [encoding.passage_prefix + one for one in texts], encoding.passage_length
        )

    def _encode(self, texts: list[str], length: int) -> np.ndarray:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        with self._lock:
            tokens = self._tokenizer(texts, truncation=True, max_length=length)
            ids = tokens["input_ids"]
            # Texts of like length go together, so that little is padding.
            order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
            for first in range(0, len(order), self.batch_size):
                chosen = order[first : first + self.batch_size]
                batch = self._tokenizer.pad(
                    {name: [values[i] for i in chosen] for name, values in tokens.items()},
                    return_tensors="pt",
                )
                vectors[chosen] = self._pooled(batch.to(self.device))
        return vectors

    def _pooled(self, batch: Any) -> np.ndarray:
        """Unit vectors of a padded batch of B texts of at most T tokens.  -> [B, dimension]"""
        import torch

        with torch.inference_mode():
            hidden = self._model(**batch).last_hidden_state.float()  # [B, T, dimension]
            if self.encoding.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()


def _fingerprint(model: Any, tokenizer: Any, encoding: Encoding) -> str:
    import torch

    sha = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        sha.update(f"{name} {tuple(weight.shape)} {weight.dtype} ".encode())
        sha.update(weight.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    sha.update(repr(sorted(tokenizer.get_vocab().items())).encode())
    sha.update(repr(sorted(asdict(encoding).items())).encode())
    return sha.hexdigest()
