"""When a reply has written a text that ends it."""

import numpy as np
from transformers import PreTrainedTokenizerBase


class StopText:
    """Watches replies for a text. Only tokens that can write its last character are decoded."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text
        spelt = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        # Every tokenizer spells ASCII as it is; of other characters each may be any token's.
        self._last = np.array([not text[-1].isascii() or text[-1] in (one or "") for one in spelt])

    def completed(self, tokens: np.ndarray) -> np.ndarray:
        """Whose newest token completes the text.  tokens [b, n] -> [b] bool"""
        newest = tokens[:, -1]
        done = self._last[np.minimum(newest, len(self._last) - 1)]
        tail = tokens[:, -len(self._text) - 1 :]  # each token has a character at least, mostly
        for row in np.flatnonzero(done):
            said = self._tokenizer.decode(tail[row].tolist(), skip_special_tokens=False)
            done[row] = self._text in said
        return done
