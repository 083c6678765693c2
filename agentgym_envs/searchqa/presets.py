"""How large and how hard generated worlds are."""

from collections.abc import Mapping
from dataclasses import dataclass

DISTRACTORS = ("strangers", "namesakes", "near names", "stale claims", "lists")

_SHARES = {
    "single": 12,
    "bridge_2": 24,
    "bridge_3": 14,
    "bridge_4": 6,
    "comparison": 10,
    "bridge_comparison": 10,
    "shared": 6,
    "shared_bridge": 6,
    "kinship": 6,
    "intersection": 6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One size of world.

    sizes: type -> number of entities, each with a page. lists: pages that only name entities.
    relations: those there are; empty: all. terse: names of one word and one sentence form, for
    models trained from scratch. distractors: any of

    - strangers: facts of the same type about entities without a page
    - namesakes: two people of one name, told apart by the profession in the title
    - near names: people and cities called like another but for one syllable
    - stale claims: a wrong value that the same sentence calls wrong
    - lists: pages that name many entities of one type

    questions: split -> at most so many. shares: kind of question -> weight. test_share: one
    question in so many belongs to the test split.
    """

    name: str
    sizes: Mapping[str, int]
    lists: int = 0
    relations: tuple[str, ...] = ()
    terse: bool = False
    distractors: tuple[str, ...] = DISTRACTORS
    questions: Mapping[str, int]
    shares: Mapping[str, int]
    test_share: int = 6


def _sized(name: str, documents: int, train: int, test: int) -> Preset:
    parts = {
        "person": 380,
        "city": 80,
        "country": 12,
        "film": 134,
        "book": 120,
        "album": 80,
        "band": 50,
        "company": 60,
        "university": 40,
        "river": 24,
    }
    sizes = {type: documents * part // 1000 for type, part in parts.items()}
    return Preset(
        name=name,
        sizes=sizes,
        lists=documents - sum(sizes.values()),
        questions={"train": train, "test": test},
        shares=_SHARES,
    )


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="nano",
            sizes={"person": 84, "film": 68, "city": 36, "country": 12},
            relations=("director", "teacher", "birthplace", "country"),
            terse=True,
            distractors=(),
            questions={"train": 1000, "test": 1000},  # all there are
            shares={"single": 40, "bridge_2": 60},
        ),
        _sized("small", 5_000, 4_000, 500),
        _sized("medium", 50_000, 20_000, 2_000),
        _sized("large", 1_000_000, 20_000, 2_000),
    )
}


def find_preset(name: str) -> Preset:
    """A preset by name. Raises KeyError listing those there are."""
    if name not in PRESETS:
        raise KeyError(f"no preset {name!r} of generated worlds; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
