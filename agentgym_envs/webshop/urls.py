"""Addresses of the shop's pages, by which the official shop decides where a shopper is."""

import json
from functools import lru_cache

ROOT = "http://127.0.0.1:3000"

# In the order in which they are looked for, anywhere in an address.
RESULTS, ITEM, SUB_PAGE, DONE = "search_results", "item_page", "item_sub_page", "done"
_NAMES = (RESULTS, ITEM, SUB_PAGE, DONE)

Options = tuple[tuple[str, str], ...]  # (name, value) pairs, one of a name, in order of choosing


def index(session: str) -> str:
    return f"{ROOT}/{session}"


def results(session: str, query: str, number: int) -> str:
    return f"{ROOT}/{RESULTS}/{session}/{_plus(query)}/{number}"


def item(session: str, asin: str, query: str, number: int, options: Options) -> str:
    return f"{ROOT}/{ITEM}/{session}/{asin}/{_plus(query)}/{number}/{_json(options)}"


def sub_page(session: str, asin: str, query: str, number: int, name: str, options: Options) -> str:
    """`name` capitalised, as on its button."""
    place = f"{session}/{asin}/{_plus(query)}/{number}/{name}"
    return f"{ROOT}/{SUB_PAGE}/{place}/{dict(options)}"


def done(session: str, asin: str, options: Options) -> str:
    return f"{ROOT}/{DONE}/{session}/{asin}/{dict(options)}"


@lru_cache(4096)
def _json(options: Options) -> str:
    return json.dumps(dict(options))


def _plus(query: str) -> str:
    return query.replace(" ", "+")


def page_name(url: str) -> str:
    """Where the official shop believes the shopper is: the first known name found in `url`.

    The words searched for are part of it: after searching `search_results`, every page counts as a
    page of results. "" where no name occurs.
    """
    return next((name for name in _NAMES if name in url), "")
