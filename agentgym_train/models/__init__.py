"""The model side: load a model, score sampled tokens, sample new ones.

`load` makes or loads a model, `policy` gives log-probs of sampled tokens, `sampler` gives replies.
Below them: `head` (output layer in chunks), `cache` and `slab` (what a sampler remembers), `tiny`.
"""

from agentgym_train.models.load import LoraSettings, ModelSettings, load_model
from agentgym_train.models.policy import Policy
from agentgym_train.models.sampler import Ask, LocalSampler, Reply, Sampler, Sampling
from agentgym_train.models.tiny import TinySettings, train_tokenizer

__all__ = [
    "Ask",
    "LocalSampler",
    "LoraSettings",
    "ModelSettings",
    "Policy",
    "Reply",
    "Sampler",
    "Sampling",
    "TinySettings",
    "load_model",
    "train_tokenizer",
]
