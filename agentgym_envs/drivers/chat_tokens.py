"""Chat messages as tokens, such that a conversation grows by what was sampled.

A reply is never tokenised again: the next prompt is the last prompt, the sampled tokens, and the
tokens of what the chat template writes up to the next reply.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from agentgym_envs.prompts import Message, PromptStyle

Tokens = tuple[int, ...]
_MARK = "\u2060agentgym\u2060"  # stands for a text while a chat template is taken apart
_OPEN_TAG = re.compile(r"<(\w+)>(?!.*</\1>).*", re.DOTALL)


class ChatTokens:
    """The chat template of one Hugging Face tokenizer, taken apart.

    stop: the token that the template ends a reply with. stops: all that are known to end one, for a
    sampler; a model's `generation_config.eos_token_id` may name more. Raises ValueError where the
    tokenizer has no chat template, or nothing says how a reply ends.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("the tokenizer has no chat template: use an instruction-tuned model")
        self.tokenizer = tokenizer
        # Some tokenizers (Llama 3's) have special tokens that they do not list as such.
        added = tokenizer.added_tokens_decoder.items()
        unlisted = {token.content: place for place, token in added if token.special}
        self._special = _any_of([*tokenizer.all_special_tokens, *unlisted])
        self._special_ids = frozenset({*tokenizer.all_special_ids, *unlisted.values()})
        self.stop = self._closing_token()
        end = tokenizer.eos_token_id
        self.stops: Tokens = (self.stop,) if end in (None, self.stop) else (self.stop, end)

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

    @cached_property
    def prefill(self) -> str:
        """What the template has written of a reply when it opens one, "" with most templates.

        It is a tag that is open then: models that always think find `<think>` written, and go on
        behind it. (A block that is closed again is the template's own, and no part of the reply.)
        """
        asked = {"role": "user", "content": "?"}
        earlier = [asked, {"role": "assistant", "content": _MARK}, asked]
        try:
            before, _, _ = self._templated(earlier, opened=False).partition(_MARK)
        except ValueError:  # it takes no history, and so shows no reply's beginning
            return ""
        opened = self._templated([asked], opened=True)
        found = _OPEN_TAG.search(opened[len(before) :]) if opened.startswith(before) else None
        return found[0] if found else ""

    def written(self, text: str) -> Tokens:
        """A reply that somebody else wrote, as the tokens a model would have sampled."""
        rest = text.removeprefix(self.prefill)
        if rest == text:
            rest = text.removeprefix(self.prefill.rstrip())
        return (*self.encoded(rest), self.stop)

    def said(self, reply: Sequence[int]) -> str:
        """A reply's tokens as text: behind `prefill`, and without the special tokens at its end."""
        end = len(reply)
        while end and reply[end - 1] in self._special_ids:
            end -= 1
        decoded = self.tokenizer.decode(list(reply[:end]), skip_special_tokens=False)
        return self.prefill + str(decoded)

    def kept(self, reply: Sequence[int], style: PromptStyle) -> int:
        """How many of a reply's tokens there are up to what ends it in this style: all, mostly."""
        if not style.stop:
            return len(reply)
        said = self.said(reply)
        cut = style.cut(said)
        return len(reply) if cut == said else self.tokens_of(reply, len(cut))

    def tokens_of(self, reply: Sequence[int], characters: int) -> int:
        """How many of a reply's tokens it takes to say the first so many characters of `said`."""
        low, high = 0, len(reply)
        while low < high:
            middle = (low + high) // 2
            if len(self.said(reply[:middle])) >= characters:
                high = middle
            else:
                low = middle + 1
        return low

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
