"""Markup that cannot be broken into: text is escaped wherever it did not come from here."""

import html

_SHOWN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}  # as pictures
_SHOWN |= {0x7F: 0x2421}
_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # would turn the rest of a line around
_SHOWN |= dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), *_TURNS), 0xFFFD)
_VOID = ("input", "meta")


class Html(str):
    """Finished markup. Any other str is text."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Text for content and for quoted attributes.

    Control characters become their pictures (NUL is shown as U+2400), half surrogates and
    changes of the writing direction U+FFFD: any text whatever can be sent as UTF-8 and be seen.
    """
    return text if isinstance(text, Html) else Html(html.escape(text.translate(_SHOWN)))


def joined(*parts: str) -> Html:
    return Html("".join(escaped(part) for part in parts))


def tag(name: str, /, *inside: str, **attributes: str | int | float | bool | None) -> Html:
    """An element. `class_` and `aria_label` stand for class and aria-label.

    An attribute that is True stands alone; one that is None or False is left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*inside)}</{name}>")
