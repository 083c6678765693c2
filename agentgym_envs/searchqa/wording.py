"""What there is to know about each type of entity, and the sentences that say and ask it.

In sentences and questions {s} is who the fact is about, {v} its value. A sentence that begins with
{s} may begin with a pronoun instead.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One thing to know about a type.

    target: the type of its value, "" for a number. forms: sentences for pages. phrases: how a
    question names the value ("the director of {s}"). asks: whole questions for it. stale: a
    sentence calling the value {v} wrong. unit: of a number, for further spellings of an answer.
    """

    name: str
    subject: str
    target: str = ""
    forms: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    stale: str = ""
    unit: str = ""


RELATIONS = (
    Relation(
        name="birthplace",
        subject="person",
        target="city",
        forms=(
            "{s} was born in {v}.",
            "{s} came into the world in {v}.",
            "The birthplace of {s} is {v}.",
        ),
        phrases=("the birthplace of {s}", "the city where {s} was born"),
        asks=("In which city was {s} born?", "Which city is the birthplace of {s}?"),
        stale="Older handbooks wrongly name {v} as the birthplace.",
    ),
    Relation(
        name="born",
        subject="person",
        forms=("{s} was born in the year {v}.", "The year of birth of {s} is {v}."),
        asks=("In which year was {s} born?", "What is the year of birth of {s}?"),
    ),
    Relation(
        name="education",
        subject="person",
        target="university",
        forms=("{s} studied at {v}.", "{s} holds a degree from {v}."),
        phrases=("the university that {s} attended", "the university where {s} studied"),
        asks=("At which university did {s} study?", "Which university did {s} attend?"),
        stale="A claim of studies at {v} was later withdrawn.",
    ),
    Relation(
        name="father",
        subject="person",
        target="person",
        forms=("The father of {s} was {v}.", "{s} was raised by the father, {v}."),
        phrases=("the father of {s}",),
        asks=("Who is the father of {s}?", "Who was the father of {s}?"),
    ),
    Relation(
        name="spouse",
        subject="person",
        target="person",
        forms=("{s} married {v}.", "The spouse of {s} is {v}.", "{s} was the spouse of {v}."),
        phrases=("the spouse of {s}", "the person {s} married"),
        asks=("Who is the spouse of {s}?", "Whom did {s} marry?"),
    ),
    Relation(
        name="teacher",
        subject="person",
        target="person",
        forms=("The teacher of {s} is {v}.",),
        phrases=("the teacher of {s}",),
        asks=("Who is the teacher of {s}?",),
    ),
    Relation(
        name="country",
        subject="city",
        target="country",
        forms=("{s} lies in {v}.", "{s} is part of {v}.", "The country of {s} is {v}."),
        phrases=("the country of {s}", "the country in which {s} lies"),
        asks=("In which country does {s} lie?", "Which country is {s} part of?"),
        stale="Some maps wrongly place it in {v}.",
    ),
    Relation(
        name="population",
        subject="city",
        forms=("{s} has {v} inhabitants.", "The population of {s} is {v}."),
        asks=("How many inhabitants does {s} have?", "What is the population of {s}?"),
        unit="inhabitants",
    ),
    Relation(
        name="president",
        subject="country",
        target="person",
        forms=("The president of {s} is {v}.", "{s} is governed by its president, {v}."),
        phrases=("the president of {s}", "the person who governs {s}"),
        asks=("Who is the president of {s}?", "Who governs {s}?"),
        stale="Reports of an election of {v} proved false.",
    ),
    Relation(
        name="director",
        subject="film",
        target="person",
        forms=("{s} was directed by {v}.", "The director of {s} is {v}."),
        phrases=("the director of {s}", "the person who directed {s}"),
        asks=("Who directed {s}?", "Who is the director of {s}?"),
        stale="A poster that gives {v} as its director is in error.",
    ),
    Relation(
        name="actors",
        subject="film",
        target="person",
        forms=("{s} stars {v}.", "The cast of {s} includes {v}."),
    ),
    Relation(
        name="released",
        subject="film",
        forms=("{s} came out in {v}.", "{s} was first shown in {v}."),
        asks=("In which year did {s} come out?", "When was {s} first shown?"),
    ),
    Relation(
        name="author",
        subject="book",
        target="person",
        forms=("{s} was written by {v}.", "The author of {s} is {v}."),
        phrases=("the author of {s}", "the person who wrote {s}"),
        asks=("Who wrote {s}?", "Who is the author of {s}?"),
        stale="Its early attribution to {v} was mistaken.",
    ),
    Relation(
        name="publisher",
        subject="book",
        target="company",
        forms=("{s} was published by {v}.", "The publisher of {s} is {v}."),
        phrases=("the publisher of {s}", "the company that published {s}"),
        asks=("Which company published {s}?", "Which company is the publisher of {s}?"),
    ),
    Relation(
        name="published",
        subject="book",
        forms=("{s} appeared in {v}.", "{s} first went on sale in {v}."),
        asks=("In which year did {s} appear?", "When did {s} first go on sale?"),
    ),
    Relation(
        name="performer",
        subject="album",
        target="band",
        forms=("{s} was recorded by {v}.", "The band that performs {s} is {v}."),
        phrases=("the band that recorded {s}", "the band that performs {s}"),
        asks=("Which band recorded {s}?", "Which band performs {s}?"),
        stale="A reissue that credits {v} instead was misprinted.",
    ),
    Relation(
        name="recorded",
        subject="album",
        forms=("{s} was issued in {v}.", "{s} reached the shops in {v}."),
        asks=("In which year was {s} issued?", "When did {s} reach the shops?"),
    ),
    Relation(
        name="origin",
        subject="band",
        target="city",
        forms=("{s} was formed in {v}.", "The home town of {s} is {v}."),
        phrases=("the home town of {s}", "the city where {s} was formed"),
        asks=("In which city was {s} formed?", "Which city is the home town of {s}?"),
        stale="The often told story that it began in {v} is untrue.",
    ),
    Relation(
        name="singer",
        subject="band",
        target="person",
        forms=("The singer of {s} is {v}.", "{s} is fronted by the voice of {v}."),
        phrases=("the singer of {s}", "the person who sings for {s}"),
        asks=("Who is the singer of {s}?", "Who sings for {s}?"),
    ),
    Relation(
        name="formed",
        subject="band",
        forms=("{s} gave its first concert in {v}.", "{s} has been playing since {v}."),
        asks=("In which year did {s} give its first concert?", "Since when has {s} been playing?"),
    ),
    Relation(
        name="founder",
        subject="company",
        target="person",
        forms=("{s} was founded by {v}.", "The founder of {s} is {v}."),
        phrases=("the founder of {s}", "the person who founded {s}"),
        asks=("Who founded {s}?", "Who is the founder of {s}?"),
        stale="A brochure that calls {v} its founder was corrected.",
    ),
    Relation(
        name="headquarters",
        subject="company",
        target="city",
        forms=("{s} has its headquarters in {v}.", "The head office of {s} is in {v}."),
        phrases=("the city where {s} has its headquarters",),
        asks=("In which city does {s} have its headquarters?",),
        stale="Talk of a move to {v} was denied.",
    ),
    Relation(
        name="founded",
        subject="company",
        forms=("{s} was set up in {v}.", "{s} opened its doors in {v}."),
        asks=("In which year was {s} set up?", "When did {s} open its doors?"),
    ),
    Relation(
        name="campus",
        subject="university",
        target="city",
        forms=("{s} has its campus in {v}.", "The campus of {s} is in {v}."),
        phrases=("the city where {s} has its campus",),
        asks=("In which city does {s} have its campus?",),
        stale="A plan to move the campus to {v} was given up.",
    ),
    Relation(
        name="opened",
        subject="university",
        forms=("{s} admitted its first students in {v}.", "Teaching at {s} began in {v}."),
        asks=("In which year did {s} admit its first students?", "When did teaching at {s} begin?"),
    ),
    Relation(
        name="mouth",
        subject="river",
        target="city",
        forms=("{s} reaches the sea at {v}.", "The mouth of {s} is at {v}."),
        phrases=("the city at the mouth of {s}", "the city where {s} reaches the sea"),
        asks=("At which city does {s} reach the sea?", "Which city lies at the mouth of {s}?"),
        stale="On early charts its mouth is wrongly drawn at {v}.",
    ),
    Relation(
        name="length",
        subject="river",
        forms=("{s} is {v} kilometres long.", "The length of {s} is {v} kilometres."),
        asks=("How many kilometres long is {s}?",),
        unit="kilometres",
    ),
)

# For models trained from scratch: page and question share their words, so that an answer is found
# by looking for what stands in the question.
TERSE_FORM = "The {relation} of {s} is {v}."
TERSE_PHRASE = "the {relation} of {s}"
TERSE_ASK = {"person": "Who is the {relation} of {s}?", "": "What is the {relation} of {s}?"}
TERSE_PAGE = "{s} is a {type}."  # of an entity about which nothing is known

PROFESSIONS = (
    "painter",
    "engineer",
    "chemist",
    "poet",
    "sculptor",
    "lawyer",
    "botanist",
    "violinist",
    "surgeon",
    "architect",
    "journalist",
    "astronomer",
    "pianist",
    "geologist",
    "historian",
    "economist",
)

LEADS = {
    "person": ("{s} is a {look} {profession}.", "{s} worked as a {look} {profession}."),
    "city": ("{s} is a {look} city.", "{s} is known as a {look} city."),
    "country": ("{s} is a {look} country.", "{s} is an independent and {look} country."),
    "film": ("{s} is a {look} film.", "{s} is a {look} feature film."),
    "book": ("{s} is a {look} book.", "{s} is a {look} novel in book form."),
    "album": ("{s} is a {look} album.", "{s} is a {look} studio album."),
    "band": ("{s} is a {look} band.", "{s} is known as a {look} band."),
    "company": ("{s} is a {look} company.", "{s} is a {look} trading company."),
    "university": ("{s} is a {look} university.", "{s} is known as a {look} university."),
    "river": ("{s} is a {look} river.", "{s} is known as a {look} river."),
}
LOOKS = (
    "well known",
    "much admired",
    "rather modest",
    "much discussed",
    "widely respected",
    "little studied",
    "rather unusual",
    "fairly typical",
)

FILLER = {
    "person": (
        "Friends recalled {s} as patient and {mood}.",
        "A {mood} portrait hangs in the town hall.",
        "The letters of {s} were edited after long delays.",
        "Colleagues praised the {mood} manner of {s}.",
        "Little is known about the early years.",
        "A street and a small {mood} prize keep the memory alive.",
    ),
    "city": (
        "A {mood} market is held every week.",
        "Visitors come to {s} for the old quarter and its {mood} squares.",
        "The trams of {s} run until late.",
        "Summers are dry and winters {mood}.",
    ),
    "country": (
        "The coast of {s} draws {mood} travellers.",
        "Its farms export grain and {mood} wool.",
        "The flag of {s} shows three stripes.",
    ),
    "film": (
        "Critics found {s} {mood} and a little long.",
        "The music was called {mood}.",
        "Much of it was shot at night with a small crew.",
        "Audiences remembered the {mood} ending.",
    ),
    "book": (
        "Reviewers called {s} {mood} and precise.",
        "The cover shows a {mood} landscape.",
        "Several chapters had been printed in magazines.",
        "School editions of {s} leave out the preface.",
    ),
    "album": (
        "The songs of {s} are short and {mood}.",
        "It was taped in a few {mood} sessions.",
        "The sleeve notes were added later.",
    ),
    "band": (
        "Their shows are described as {mood}.",
        "{s} prefers to play small halls.",
        "The sound relies on {mood} guitars.",
    ),
    "company": (
        "Its workers describe the mood at {s} as {mood}.",
        "The products are sold in {mood} packaging.",
        "A strike delayed the yearly report of {s}.",
    ),
    "university": (
        "Its library is a {mood} brick building.",
        "{s} is known for {mood} summer schools.",
        "Evening courses are open to everybody.",
    ),
    "river": (
        "Its banks are {mood} and lined with willows.",
        "Barges use the lower part of {s}.",
        "Floods in spring are {mood}.",
    ),
}
MOODS = (
    "quiet",
    "cheerful",
    "solemn",
    "lively",
    "plain",
    "elegant",
    "severe",
    "warm",
    "dreamy",
    "sober",
    "gentle",
    "bold",
)
STRANGER = (
    "{s}, another {type}, is often named in the same breath.",
    "Guides often mention another {type}, {s}, as well.",
    "One more {type} of this sort is {s}.",
)
LIST_LEAD = ("This list names some {types} in no order.", "Readers asked for these {types}.")
PLURALS = {"person": "people", "city": "cities"}  # of what there are lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A number that two entities of one type are compared by; `low`: the smaller one is asked."""

    relation: str
    ask: str
    low: bool


COMPARISONS = (
    Comparison(relation="born", ask="Who was born first, {a} or {b}?", low=True),
    Comparison(relation="born", ask="Who was born later, {a} or {b}?", low=False),
    Comparison(relation="released", ask="Which film came out first, {a} or {b}?", low=True),
    Comparison(relation="released", ask="Which film came out later, {a} or {b}?", low=False),
    Comparison(relation="published", ask="Which book appeared first, {a} or {b}?", low=True),
    Comparison(relation="founded", ask="Which company was set up first, {a} or {b}?", low=True),
    Comparison(
        relation="population", ask="Which city has more inhabitants, {a} or {b}?", low=False
    ),
    Comparison(relation="length", ask="Which river is longer, {a} or {b}?", low=False),
    Comparison(relation="opened", ask="Which university is older, {a} or {b}?", low=True),
)

# relation to a person -> a question about who was born first
BRIDGE_COMPARISONS = {
    "director": (
        "Which film has the director who was born first, {a} or {b}?",
        "Of {a} and {b}, which has the older director?",
    ),
    "author": (
        "Which book has the author who was born first, {a} or {b}?",
        "Of {a} and {b}, which has the older author?",
    ),
    "founder": ("Which company has the older founder, {a} or {b}?",),
    "singer": ("Which band has the older singer, {a} or {b}?",),
}

# relations followed from both entities -> a yes/no question whether they end at one entity
SHARED = {
    ("birthplace",): "Were {a} and {b} born in the same city?",
    ("education",): "Did {a} and {b} study at the same university?",
    ("director",): "Do {a} and {b} have the same director?",
    ("headquarters",): "Do {a} and {b} have their headquarters in the same city?",
    ("publisher",): "Do {a} and {b} have the same publisher?",
}
SHARED_BRIDGE = {
    ("birthplace", "country"): "Were {a} and {b} born in the same country?",
    ("headquarters", "country"): "Do {a} and {b} have their headquarters in the same country?",
    ("director", "birthplace"): "Were the directors of {a} and {b} born in the same city?",
    ("author", "education"): "Did the authors of {a} and {b} study at the same university?",
    ("performer", "origin"): "Were the bands that recorded {a} and {b} formed in the same city?",
}

KINSHIP = {
    ("father", "father"): ("Who is the paternal grandfather of {s}?",),
    ("spouse", "father"): ("Who is the father-in-law of {s}?",),
    ("father", "father", "father"): ("Who is the paternal great-grandfather of {s}?",),
}

INTERSECTION = ("Who acted in both {a} and {b}?", "Which member of the cast do {a} and {b} share?")
ACTOR_PHRASE = "the person who acted in both {a} and {b}"
