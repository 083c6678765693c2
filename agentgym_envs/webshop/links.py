"""What the forms and links of an html page point to, and how text is made safe inside html."""

from urllib.parse import quote_plus

from agentgym_envs.webshop.pages import Page
from agentgym_envs.webshop.urls import Options

_UNQUOTED = "$!'()*,;"  # in addresses, beside what is never quoted
_ENTITIES = str.maketrans({"&": "&amp;", ">": "&gt;", "<": "&lt;", "'": "&#39;", '"': "&#34;"})


def escaped(text: str) -> str:
    """`text` so that html shows it and nothing in it is markup."""
    return text.translate(_ENTITIES)


class Links:
    """Targets of a page's forms: `/?name=value&...`, escaped."""

    def __init__(self, session_id: str, page: Page) -> None:
        self._session = ("session_id", session_id)
        self._words = [("keywords", word) for word in page.query.split(" ")]
        self._page = page

    def index(self) -> str:
        return _target(self._session)

    def results(self, number: int) -> str:
        return _target(self._session, *self._words, ("page", str(number)))

    def item(self, asin: str, options: Options) -> str:
        place = (("asin", asin), *self._words, ("page", str(self._page.number)))
        return _target(self._session, *place, ("options", str(dict(options))))

    def sub_page(self, name: str) -> str:
        page = self._page
        place = (("asin", page.asin), *self._words, ("page", str(page.number)), ("sub_page", name))
        return _target(self._session, *place, ("options", str(dict(page.options))))

    def done(self) -> str:
        page = self._page
        return _target(self._session, ("asin", page.asin), ("options", str(dict(page.options))))


def _target(*parts: tuple[str, str]) -> str:
    pairs = (f"{name}={quote_plus(value, _UNQUOTED, errors='replace')}" for name, value in parts)
    return escaped("/?" + "&".join(pairs))
