"""Items in words: titles, bullets, descriptions, and what people ask for.

One way of saying it for shops of the usual kind, a plainer one for the tiny shop. Every attribute
of an item stands in its texts as it is written in the attribute list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agentgym_envs.webshop.dice import Dice
from agentgym_envs.webshop.items import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Sentences with gaps, and how many of them are used.

    Gaps of product texts: {brand} {name} {thing} {this}, {first} and {second} attribute; of
    remarks and bullets also {trait}, an attribute. Of denials: {one} and {two}, the halves of an
    attribute that the item has not, and {form}, another form of it. Of `gone`: {values}. Of what
    people ask for: {query} {name} {thing}, the attributes as {listed} {wanted} {plain}, {options}.
    """

    titles: tuple[str, ...]
    capitals: bool  # in titles
    titled: int  # attributes in a title
    openings: tuple[str, ...]
    remarks: tuple[str, ...]
    fillers: tuple[str, ...]  # they say nothing
    spare: tuple[int, int]  # fewest and most of them
    denials: tuple[str, ...]
    gone: tuple[str, ...]
    bullets: tuple[str, ...]
    extra: tuple[str, ...]  # bullets that say nothing
    wanted: tuple[int, int]  # fewest and most attributes of an instruction
    instructions: tuple[str, ...]
    human: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What stands on the pages of a product."""

    title: str
    description: str
    bullets: tuple[str, ...]


def product_texts(dice: Dice, item: Item, wording: Wording) -> Texts:
    """Title, description and bullets; every attribute occurs in one of them."""
    titled, rest = item.attributes[: wording.titled], item.attributes[wording.titled :]
    gaps = {
        "brand": item.brand,
        "name": item.name,
        "thing": with_article(item),
        "this": f"{'these' if _plural(item.name) else 'this'} {item.name}",
        "first": titled[0],
        "second": titled[-1],
    }
    title = dice.pick(wording.titles).format_map(gaps)
    cut = dice.below(len(rest) + 1)
    sentences = [dice.pick(wording.openings).format_map(gaps)]
    sentences += [dice.pick(wording.remarks).format(trait=trait, **gaps) for trait in rest[:cut]]
    sentences += dice.few(wording.fillers, dice.between(*wording.spare))
    if item.denied:
        sentences.append(_denial(dice, item, wording))
    if item.gone:
        sentences.append(dice.pick(wording.gone).format(values=joined(item.gone, "or")))
    bullets = [
        dice.pick(wording.bullets).format(trait=trait, **gaps) for trait in (*titled, *rest[cut:])
    ]
    bullets += dice.few(wording.extra, dice.below(2))
    return Texts(
        title=_capitals(title) if wording.capitals else title.lower(),
        description=" ".join(map(_sentence, sentences)),
        bullets=tuple(map(_sentence, dice.few(bullets, len(bullets)))),
    )


def _denial(dice: Dice, item: Item, wording: Wording) -> str:
    one, _, two = item.denied.partition(" ")
    form = item.ware.forms.get(item.denied, item.denied)
    return dice.pick(wording.denials).format(one=one, two=two, form=form)


def wanted(dice: Dice, item: Item, wording: Wording) -> tuple[str, ...]:
    """The attributes an instruction asks for: the first, and some of the others."""
    count = dice.between(*wording.wanted) - 1
    return item.attributes[0], *dice.few(item.attributes[1:], count)


def synthetic(dice: Dice, item: Item, traits: Sequence[str], wording: Wording) -> str:
    """An instruction without options and price, which the shop adds."""
    sentence = dice.pick(wording.instructions)
    return sentence.format(
        query=item.ware.query,
        listed=", ".join(traits),
        wanted=joined(traits, "and"),
        plain=" ".join(traits),
    )


def spoken(
    dice: Dice, item: Item, traits: Sequence[str], chosen: Sequence[str], wording: Wording
) -> str:
    """The same as a person might say it; chosen: phrases such as "in navy"."""
    return dice.pick(wording.human).format(
        thing=with_article(item),
        name=item.name,
        wanted=joined(traits, "and"),
        options=f" {joined(chosen, 'and')}" if chosen else "",
        plain=" ".join(traits),
    )


def joined(parts: Sequence[str], word: str) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def with_article(item: Item) -> str:
    """ "a lamp", "an area rug", "some rice", "boots"."""
    if _plural(item.name):
        return item.name
    if item.ware.department == "grocery":
        return f"some {item.name}"
    return f"{'an' if item.name[0] in 'aeiou' else 'a'} {item.name}"


def _plural(name: str) -> bool:
    return name.endswith("s") and not name.endswith("ss")


def _capitals(text: str) -> str:
    small = {"with", "for", "and", "by"}
    return " ".join(word if word in small else word[:1].upper() + word[1:] for word in text.split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


_FILLERS = (
    "It ships in plain packaging.",
    "Our team answers every question within a day.",
    "Please allow a little difference between screen and item.",
    "It comes ready for use.",
    "Return it within thirty days if you change your mind.",
    "We have made things like this for many years.",
    "A small card tells you how to look after it.",
    "Checked by hand before it leaves the house.",
    "Neighbours and friends will ask where you found it.",
    "Measure twice before you order.",
    "There is more from this series in our shop.",
    "It makes an honest present.",
)

USUAL = Wording(
    titles=(
        "{brand} {first} {name} with {second}",
        "{brand} {name}, {second}, {first}",
        "{brand} {second} {name} - {first}",
        "{first} {name} by {brand}, {second}",
        "{brand} {name} with {second} and {first}",
        "{brand} {first} {second} {name}",
    ),
    capitals=True,
    titled=2,
    openings=(
        "{brand} is known for the {name}.",
        "Meet the {brand} {name}.",
        "{brand} made {this} around one idea: {first}.",
        "{brand} at its best: the {name}.",
        "With the {name} from {brand} you bring {second} into your day.",
        "You asked for {thing} without fuss, and {brand} listened.",
    ),
    remarks=(
        "Good to know: {trait}.",
        "It was chosen by many for one reason, {trait}.",
        "What you get is {trait} and nothing to worry about.",
        "We thought of {trait} from the first sketch.",
        "Made with {trait} in mind.",
        "Think {trait}, think {brand}.",
    ),
    fillers=_FILLERS,
    spare=(0, 4),
    denials=(
        "A word on {two}: the {two} of this model is not {one}, so if {one} matters, ask us.",
        "For {two} questions please write to us; {one} it is not, whatever {two} you compare.",
        "If {two} matters more than {one}, or {one} more than {two}, look at our other models.",
        "Not for those who ask how {two} the {one} is, or how {one} the {two}.",
    ),
    gone=(
        "Sold out for now: {values}. Write to us and we tell you when {values} is back.",
        "We no longer make it in {values}, however often {values} is asked for.",
        "Pictures may show {values}, but {values} we do not stock.",
        "Ask us again in spring about {values}; {values} may return.",
    ),
    bullets=(
        "{trait}: one reason to choose {this}.",
        "{brand} stands for {trait}.",
        "Life is easier with {trait}.",
        "{trait} - you will notice the difference.",
        "Designed for {trait}.",
        "Enjoy {trait} every day.",
        "Why {trait}? Because it lasts.",
    ),
    extra=(
        "In the box: one item and a short guide.",
        "Questions? Write to us.",
        "Two years of friendly service.",
        "Packed without plastic.",
    ),
    wanted=(1, 3),
    instructions=(
        "find me {listed} {query}",
        "i am looking for {query} known for {wanted}",
        "i need {query}: {listed}",
        "show me {query} that offer {wanted}",
        "i would like to buy {query}, {listed}",
        "please find {listed} {query} for me",
        "i want {query} and care about {wanted}",
        "can you get me {query} made for {wanted}",
    ),
    human=(
        "i'm looking for {thing}{options}. it should say {wanted}.",
        "could you find {thing}{options}? {wanted} would be important to me",
        "hello, i need {thing}{options} and i care about {wanted}",
        "i want to buy {thing}{options}, something with {wanted}",
        "my sister asked for {thing}{options}. she wants {wanted}",
        "show me {thing} known for {wanted}{options}",
        "do you have {thing}{options} for someone who values {wanted}?",
        "get me {thing}{options}; must be {wanted}.",
        "we just moved and need {thing}{options}, please look for {wanted}",
        "searching for {thing} that mentions {wanted}{options}",
    ),
)

BRIEF = Wording(
    titles=USUAL.titles[:4],
    capitals=True,
    titled=2,
    openings=("{brand}: {thing} for you.", "The {brand} {name}.", "Meet the {brand} {name}."),
    remarks=("Good to know: {trait}.", "Made with {trait} in mind."),
    fillers=_FILLERS[:6],
    spare=(0, 2),
    denials=USUAL.denials[:2],
    gone=USUAL.gone[:2],
    bullets=("{trait} for every day.", "{brand} stands for {trait}.", "Designed for {trait}."),
    extra=USUAL.extra[:2],
    wanted=(1, 2),
    instructions=USUAL.instructions[:4],
    human=USUAL.human[:5],
)

PLAIN = Wording(
    titles=("{brand} {first} {second} {name}",),
    capitals=False,  # so that a title and an instruction share their words
    titled=2,
    openings=("A {name} from {brand}.", "One {name}.", "The {brand} {name}, a good {name}."),
    remarks=("It is {trait}.",),
    fillers=("Sold with a card.", "Made by hand.", "Ask us more."),
    spare=(0, 2),
    denials=("No {form}, never a {form}, not any {form}.", "No {form}: a {form} is not for us."),
    gone=("Not in {values}, never in {values}.",),
    bullets=("It is {trait}.",),
    extra=("From our shop.",),
    wanted=(2, 2),
    instructions=("find a {plain} {query}", "i want a {plain} {query}", "buy a {plain} {query}"),
    human=(
        "i want a {plain} {name}{options}",
        "find a {plain} {name}{options} please",
        "my friend needs a {plain} {name}{options}",
    ),
)
