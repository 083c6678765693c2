"""Pages as text, on goods made for it."""

from shop_sessions import goods, shopper

CUP = goods(
    "B1",
    title="A  red\ncup",
    price_tag="$4.0 to $5.5",
    options={"color": ("red", "blue"), "size": ('6"', "café")},
    bullets=("One.", "", "\n", "Two."),
)
AT_CUP = ("search[x]", "click[b1]")


def rendered(mode: str, *actions: str, instruction: str = "Buy a cup", **settings) -> str:
    session = shopper(CUP, goods("B2"), instruction=instruction, **settings)
    for action in actions:
        assert session.act(action)
    if session.done:
        session.show_reward(1.0)
    return session.render(mode)


def test_text_of_an_item():
    assert rendered("text", *AT_CUP).split(" [SEP] ") == [
        *("Instruction:", "Buy a cup", "Back to Search", "< Prev"),
        *("color", "red", "blue", "size", '6"', "café", "A  red\ncup", "Price: $4.0 to $5.5"),
        *("Rating: N.A.", "Description", "Features", "Reviews", "Buy Now"),
    ]


def test_white_space_is_a_segment_or_none():
    """An empty bullet stays as an empty segment, one with a newline in it does not."""
    head = "Instruction: [SEP] Buy a cup [SEP] Back to Search [SEP] < Prev"
    assert rendered("text", *AT_CUP, "click[features]") == f"{head} [SEP] One. [SEP]  [SEP] Two."
    assert rendered("text", *AT_CUP, "click[reviews]") == head
    assert rendered("text", instruction="") == "WebShop [SEP] Instruction: [SEP] Search"
    assert rendered("text", instruction=" ") == "WebShop [SEP] Instruction: [SEP]  [SEP] Search"


def test_chosen_options_are_marked_where_the_address_shows_their_value_in_quotes():
    text = rendered("text_rich", *AT_CUP, "click[blue]", "click[café]")
    assert text.startswith("You have clicked blue.\nInstruction:\n")
    assert "  [clicked button] blue [clicked button_]\n" in text
    assert "  [button] café [button_]\n" in text  # written as an escape there: never marked
    assert '  [button] 6" [button_]\n' in rendered("text_rich", *AT_CUP, 'click[6"]')


def test_words_in_quotes_mark_options_that_nobody_chose():
    text = rendered("text_rich", 'search["red" "blue"]', "click[b1]")
    assert text.startswith("You have clicked blue.\nYou have clicked red.\nInstruction:\n")


def test_visited_products_are_marked():
    text = rendered("text_rich", *AT_CUP, "click[< prev]")
    assert "\n\n[clicked button] B1 [clicked button_]\n" in text
    assert "\n\n[button] B2 [button_]\n" in text


def test_quoted_begins_after_the_instruction():
    assert rendered("quoted") == "'Search'"
    text = rendered("quoted", *AT_CUP)
    assert text.startswith("'Back to Search' [SEP] '< Prev' [SEP] 'color' [SEP] 'red'")
    assert rendered("quoted", *AT_CUP, "click[buy now]").startswith("Thank you for shopping")


def test_brief():
    assert rendered("brief") == "search"
    assert rendered("brief", "search[x]") == (
        "page 1 of 1\n- $4 to $5.5 A red cup: b1\n- $10 Thing B2: b2"
    )
    assert rendered("brief", "search[nothing]") == "page 1 of 0"
    assert rendered("brief", *AT_CUP, "click[blue]", "click[café]") == (
        'A red cup\n$4 to $5.5\ncolor: red; * blue\nsize: 6"; * café'
    )
    assert rendered("brief", *AT_CUP, "click[features]") == "features\nOne.\n\nTwo."
    assert rendered("brief", *AT_CUP, "click[reviews]") == "reviews"
    assert rendered("brief", *AT_CUP, "click[buy now]") == "bought"


def test_the_attributes_page():
    text = rendered("text", *AT_CUP, "click[attributes]", show_attributes=True)
    assert text.endswith("< Prev [SEP] handy [SEP] garden [SEP] things [SEP] Home › Things")


def test_the_done_page_writes_options_safely():
    cup = goods("B1", options={"size": ("<b>'s", "&")})
    session = shopper(cup)
    for action in ("search[x]", "click[b1]", "click[<b>'s]", "click[buy now]"):
        session.act(action)
    session.show_reward(0.5)
    assert '{"size": "\\u003cb\\u003e\\u0027s"} [SEP] attrs' in session.render("text")
