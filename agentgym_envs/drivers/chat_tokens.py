"""Chat messages as tokens, such that a conversation grows by what was sampled.

A reply is never tokenised again: the next prompt is the last prompt, the sampled tokens, and the
tokens of what the chat template writes up to the next reply.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from agentgym_envs.prompts import Message

Tokens = tuple[int, ...]
_MARK = "\u2060agentgym\u2060"  # stands for a text while a chat template is taken apart


class ChatTokens:
    """The chat template of one Hugging Face tokenizer, taken apart.

    stop: the token that ends a reply. Raises ValueError where the tokenizer has no chat template,
    or nothing says how a reply ends.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("the tokenizer has no chat template: use an instruction-tuned model")
        self.tokenizer = tokenizer
        # Some tokenizers (Llama 3's) have special tokens that they do not list as such.
        added = tokenizer.added_tokens_decoder.values()
        unlisted = [token.content for token in added if token.special]
        self._special = _any_of([*tokenizer.all_special_tokens, *unlisted])
        self.stop = self._closing_token()

    def opening(self, messages: Sequence[Message]) -> Tokens:
        """A prompt: the messages, and the opening of the reply."""
        plain = [
            {**message, "content": self.plain(message["content"])}
            if message["role"] == "user"
            else message
            for message in messages
        ]
        return self.encoded(self._templated(plain, opened=True))

    def grown(self, prompt: Sequence[int], reply: Sequence[int], text: str) -> Tokens:
        """The prompt after a reply's tokens (with its stop token or cut off) and a user's text.

        Raises ValueError where the chat template rewrites the history.
        """
        closing, opening = self.between
        if reply and reply[-1] == self.stop:
            space, end, rest = closing.partition(self.tokenizer.convert_ids_to_tokens(self.stop))
            closing = rest if end and not space.strip() else closing
        return (*prompt, *reply, *self.encoded(closing + self.plain(text) + opening))

    @cached_property
    def between(self) -> tuple[str, str]:
        """What the template writes after a reply, before and after the next message's text.

        Raises ValueError where it rewrites the history.
        """
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        shown = self._templated([*turn, {"role": "user", "content": _MARK}], opened=True)
        pieces = shown.split(_MARK)
        if len(pieces) != 3:
            raise ValueError(
                "the tokenizer's chat template rewrites the history, so a conversation cannot "
                "grow by it: set layout = 'turns'"
            )
        return pieces[1], pieces[2]

    def written(self, text: str) -> Tokens:
        """A reply that somebody else wrote, as the tokens a model would have sampled."""
        return (*self.encoded(text), self.stop)

    def said(self, reply: Sequence[int]) -> str:
        """A reply's tokens as text, without the stop token at its end."""
        tokens = reply[:-1] if reply and reply[-1] == self.stop else reply
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def plain(self, text: str) -> str:
        """Text that holds no special token: a shop's page must not end the user's message.

        A blank after the first character breaks the spelling of each.
        """
        return self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def encoded(self, text: str) -> Tokens:
        """Plain tokens of a text; nothing is added."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _closing_token(self) -> int:
        """The special token a chat template ends a reply with, or else the tokenizer's own end."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        _, _, after = self._templated(turn, opened=False).partition(_MARK)
        known = self.tokenizer.added_tokens_decoder
        for token in self.encoded(after.lstrip())[:1]:
            if token in known and known[token].special:
                return token
        if self.tokenizer.eos_token_id is None:
            raise ValueError("neither the chat template nor the tokenizer says how a reply ends")
        return self.tokenizer.eos_token_id

    def _templated(self, messages: Sequence[Message], opened: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=opened, enable_thinking=False
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ValueError(
                f"the tokenizer's chat template refuses messages of {roles}: {error}"
            ) from error


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the words, the longest first; nothing where there are none."""
    longest_first = sorted((word for word in words if word), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
