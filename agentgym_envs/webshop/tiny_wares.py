"""The wares of the tiny shop: single words throughout, few of them, for models of few parameters.

A kind's word occurs in the texts of that kind only, so searching for it finds the kind and nothing
else. No attribute is part of another word in use. Features come with another form that a search
takes for the same word and the judge does not: a coat without a stripe is not striped.
"""

from agentgym_envs.webshop.wares import Scale, Ware, words

_COLOR = Scale(
    name="color",
    spoken="in {v}",
    values=words("red, blue, green, black, white, pink, brown, purple"),
)
_SIZE = Scale(name="size", spoken="in {v}", values=words("small, medium, large, huge"))
_FLAVOR = Scale(
    name="flavor",
    spoken="with {v} flavor",
    values=words("lemon, berry, honey, ginger, apple, vanilla, mint"),
)
_PACK = Scale(name="pack", spoken="as a {v}", values=words("single, pair, dozen, case"))

# aisle -> kinds; features; materials; scales
_AISLES = {
    "wear": (
        "shirt coat dress skirt scarf jacket sweater hat glove sock belt boot sandal vest robe",
        "striped/stripe quilted/quilt hooded/hood knitted/knit",
        "cotton wool linen silk",
        (_COLOR, _SIZE),
    ),
    "home": (
        "lamp rug pillow blanket curtain mirror chair table shelf basket vase candle clock stool "
        "bench",
        "painted/paint carved/carve folding/fold waxed/wax",
        "wooden bamboo metal glass",
        (_COLOR, _SIZE),
    ),
    "kitchen": (
        "pan pot bowl plate mug kettle knife spoon tray jar bottle teapot",
        "polished/polish glazed/glaze stacking/stack stamped/stamp",
        "steel copper ceramic iron",
        (_COLOR, _PACK),
    ),
    "food": (
        "bread cookie cracker cereal jam tea coffee soup sauce pasta rice candy juice",
        "roasted/roast salted/salt smoked/smoke toasted/toast",
        "vegan kosher raw local",
        (_FLAVOR, _PACK),
    ),
    "desk": (
        "radio camera speaker charger cable keyboard printer headset monitor tablet",
        "curved/curve shielded/shield mounted/mount padded/pad",
        "digital solar compact silent",
        (_COLOR, _SIZE),
    ),
    "yard": (
        "shovel hose rake hammer drill ladder bucket saw tent wagon",
        "hardened/harden welded/weld braided/braid bolted/bolt",
        "steel rubber plastic iron",
        (_COLOR, _SIZE),
    ),
    "bath": (
        "soap lotion shampoo brush comb perfume lipstick razor towel sponge",
        "scented/scent whipped/whip pressed/press tinted/tint",
        "herbal mineral vegan organic",
        (_COLOR, _PACK),
    ),
    "play": (
        "leash puzzle doll kite ball racket notebook pen stapler folder drum",
        "printed/print painted/paint waxed/wax folding/fold",
        "wooden foam plastic rubber",
        (_COLOR, _PACK),
    ),
}


def _forms(features: str) -> dict[str, str]:
    """ "striped/stripe hooded/hood" -> feature -> its other form."""
    pairs = (feature.partition("/") for feature in features.split())
    return {feature: form for feature, _, form in pairs}


#: every kind of the tiny shop
TINY_WARES = tuple(
    Ware(
        names=(kind,),
        query=kind,
        department=aisle,
        path=f"{aisle} › {kind}",
        features=tuple(_forms(features)),
        materials=tuple(materials.split()),
        uses=(),
        scales=scales,
        price=(15, 45),
        forms=_forms(features),
    )
    for aisle, (kinds, features, materials, scales) in _AISLES.items()
    for kind in kinds.split()
)

TINY_BRANDS = words("Bela, Dovo, Fenix, Gama, Kita, Luno, Miro, Nola, Pavo, Rika, Sumo, Tiva")

#: words that begin a product id; a number follows
CODES = words(
    "FOX, OWL, ELK, BEE, ANT, CAT, DOG, HEN, RAM, COD, EEL, JAY, YAK, EMU, APE, PUG, SEAL, BEAR, "
    "WOLF, LION, DEER, HARE, LYNX, MOLE, NEWT, SWAN, CROW, DOVE, DUCK, GULL, HAWK, KIWI, LARK, "
    "WREN, TOAD, FROG, CRAB, CLAM, MOTH, WASP, GOAT, LAMB, MULE, PONY, COLT, BULL, BISON, OTTER, "
    "PANDA, KOALA, ZEBRA, MOOSE, RAVEN, ROBIN, FINCH, EAGLE, STORK, CRANE, HERON, SHARK, WHALE, "
    "TROUT, GECKO, RHINO"
)
