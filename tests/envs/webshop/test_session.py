"""What actions do: the official shop's rules and quirks, one by one."""

import copy
import gc
import random
import tracemalloc

import pytest
from shop_sessions import Stall, goods, shopper

from agentgym_envs.webshop.shop import Purchase, Session

CUP = goods("B1", options={"color": ("red", "blue"), "size": ("small", "red")})
MANY = tuple(goods(f"P{number:02}") for number in range(13))


def test_a_purchase():
    session = shopper(CUP)
    actions = ("search[cup]", "click[B1]", "click[Blue]", "click[buy now]")
    assert all(session.act(action) for action in actions)
    assert session.done
    assert session.purchase == Purchase(asin="B1", options={"color": "blue"}, price=10.0)
    assert session.clickables == ()


def test_clickables_are_buttons_then_links_or_values_and_none_twice():
    session = shopper(CUP)
    assert session.clickables == ("search",) and session.has_search_bar
    session.act("search[cup]")
    assert session.clickables == ("back to search", "next >", "b1") and not session.has_search_bar
    session.act("click[b1]")
    assert session.clickables == (
        *("back to search", "< prev", "description", "features", "reviews", "buy now"),
        *("red", "blue", "small"),
    )
    session.act("click[features]")
    assert session.clickables == ("back to search", "< prev")


def test_a_value_under_two_names_belongs_to_the_last():
    session = shopper(CUP)
    for action in ("search[cup]", "click[b1]", "click[red]"):
        session.act(action)
    assert session.page.options == (("size", "red"),)


def test_a_name_keeps_one_value_and_its_place():
    session = shopper(CUP)
    for action in ("search[cup]", "click[b1]", "click[blue]", "click[small]", "click[red]"):
        session.act(action)
    assert session.page.options == (("color", "blue"), ("size", "red"))


def test_options_survive_a_sub_page_and_not_the_way_back_to_the_results():
    session = shopper(CUP)
    for action in ("search[cup]", "click[b1]", "click[blue]", "click[reviews]", "click[< prev]"):
        session.act(action)
    assert session.page.kind == "item" and session.page.options == (("color", "blue"),)
    session.act("click[< prev]")
    assert session.page.kind == "results"
    session.act("click[b1]")
    assert session.page.options == ()


def test_pages_of_results_go_on_past_the_end():
    session = shopper(*MANY)
    session.act("search[thing]")
    assert session.clickables[2:] == tuple(f"p{number:02}" for number in range(10))
    session.act("click[next >]")
    assert session.clickables == ("back to search", "< prev", "next >", "p10", "p11", "p12")
    for _ in range(5):
        assert session.act("click[next >]")
    assert session.page.number == 7 and session.page.shown == ()
    assert "Page 7 (Total results: 13)" in session.render("text")
    session.act("click[back to search]")
    assert session.page.number == 1 and session.has_search_bar


def test_from_a_product_back_to_its_page_of_results():
    session = shopper(*MANY)
    for action in ("search[x]", "click[next >]", "click[p11]", "click[< prev]"):
        session.act(action)
    assert (session.page.kind, session.page.number) == ("results", 2)


def test_the_official_shop_searches_anywhere_and_after_the_end():
    session = shopper(CUP)
    assert session.act("search[a]") and session.act("search[b]")
    for action in ("click[b1]", "click[buy now]"):
        session.act(action)
    assert not session.act("click[back to search]")
    assert session.done
    assert session.act("search[c]") and not session.done
    assert session.purchase is not None  # the last one stays known


def test_strict_searches_from_the_search_bar_alone_and_ends_at_the_end():
    session = shopper(CUP, strict=True)
    assert session.act("search[a]")
    assert not session.act("search[b]") and session.page.query == "a"
    assert session.act("click[b1]")
    assert session.act("click[blue]")
    assert not session.act("click[blue]")  # chosen already: nothing changes
    assert session.act("click[buy now]")
    assert not session.act("search[c]") and session.done


def test_page_names_in_the_words_decide_where_prev_leads():
    """The official shop looks for them in the address, which holds the words searched for."""
    session = shopper(*MANY)
    for action in ("search[search_results]", "click[next >]", "click[p11]", "click[reviews]"):
        session.act(action)
    session.act("click[< prev]")  # not to the product, but one page of results down
    assert (session.page.kind, session.page.number) == ("results", 1)
    for action in ("search[item_page]", "click[p01]", "click[reviews]", "click[< prev]"):
        session.act(action)
    assert session.page.kind == "results"  # the shop believed that this was the product's page
    for action in ("search[search_results]", "click[p01]", "click[< prev]"):
        session.act(action)
    assert session.page.number == 0 and session.page.shown == ()


def test_a_value_that_is_a_button_acts_as_the_button():
    tray = goods("B2", options={"style": ("search", "buy now", "next >", "attributes")})
    session = shopper(tray)
    for action in ("search[x]", "click[b2]"):
        session.act(action)
    assert session.clickables[5:] == ("buy now", "search", "next >", "attributes")
    assert not session.act("click[search]")
    session.act("click[next >]")  # no such button here: an option after all
    assert session.page.options == (("style", "next >"),)
    session.act("click[attributes]")
    assert session.page.kind == "attributes"
    for action in ("click[< prev]", "click[buy now]"):
        session.act(action)
    assert session.purchase is not None and session.purchase.options == {"style": "next >"}


def test_asins_that_crash_the_official_shop_can_be_opened():
    for asin in ("b1small", "Features", "BUY NOW"):
        session = shopper(goods(asin))
        session.act("search[x]")
        assert session.act(f"click[{asin}]")
        assert (session.page.kind, session.page.asin) == ("item", asin)


def test_hidden_commands():
    brush, lamp = goods("B3", query="brushes", category="beauty"), goods("B4", query="floor lamps")

    def found(words: str, **settings) -> tuple[str, ...]:
        session = shopper(brush, lamp, **settings)
        session.act(f"search[{words}]")
        return session.page.found

    on = {"hidden_commands": True, "dice": random.Random(3)}
    assert found("<c> beauty", **on) == ("B3",)
    assert found("<q> floor lamps", **on) == ("B4",)
    assert sorted(found("<r>", **on)) == ["B3", "B4"]
    for nothing in ("<c>", "<a> handy", "<a>", "<q>", "<c> brushes"):
        assert found(nothing, **on) == ()
    for words in ("<c> beauty", "<r>", "<a>"):
        assert found(words) == ("B3", "B4")  # plain words


def test_random_products_are_drawn_anew_for_every_page_of_results():
    session = shopper(*MANY, hidden_commands=True, dice=random.Random(1))
    session.act("search[<r>]")
    first = session.page.found
    session.act("click[next >]")
    assert session.page.found != first and sorted(session.page.found) == sorted(first)


def test_hidden_commands_without_dice_are_refused():
    with pytest.raises(ValueError, match="dice"):
        shopper(CUP, hidden_commands=True)


def test_unknown_mode_and_unknown_score():
    session = shopper(CUP)
    with pytest.raises(ValueError, match="text_rich"):
        session.render("braille")
    for action in ("search[x]", "click[b1]", "click[buy now]"):
        session.act(action)
    with pytest.raises(RuntimeError, match="show_reward"):
        session.render("text")
    session.show_reward(0.75)
    assert session.render("text").endswith("0.75 [SEP] Reward Details [SEP] None")


def test_opened_products_are_remembered_until_the_index_page():
    session = shopper(CUP, goods("B2"))
    for action in ("search[x]", "click[b1]", "click[< prev]", "click[b1]", "search[y]"):
        session.act(action)
    assert session.page.visited == ("B1",)
    session.act("click[back to search]")
    assert session.page.visited == ()


def test_a_copied_session_goes_its_own_way():
    session = shopper(CUP)
    for action in ("search[x]", "click[b1]"):
        session.act(action)
    other = copy.deepcopy(session)
    assert other.act("click[blue]") and other.render() == session.render()
    assert other.page.options and not session.page.options
    text = session.render()
    del session
    gc.collect()  # its shelf too
    for action in ("click[< prev]", "click[b1]"):
        assert other.act(action)
    assert other.render() == text


def test_a_session_more_takes_less_than_two_kilobytes():
    stall = Stall(CUP, *MANY)

    def shopping(number: int) -> Session:
        session = Session(stall, str(number), "Buy a thing", prices=lambda asin: 1.0)
        for action in (f"search[cup number {number}]", "click[b1]", "click[blue]", "click[small]"):
            session.act(action)
        return session

    shopping(0)
    tracemalloc.start()
    kept = [shopping(number) for number in range(200)]
    size = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert size < 2000
