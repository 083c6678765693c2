"""What belongs where in a household: the facts the game generator draws from.

Which object types fit into which receptacle types, what can be done with an object, and what the
four kinds of room contain and how often. These are facts about the ALFRED and ALFWorld data sets
(MIT licence: ALFRED (c) 2019 its authors; ALFWorld (c) 2020 Mohit Shridhar and others), counted
over a sample of 108 of their games and written here in a form of our own.
"""

from dataclasses import dataclass

_TABLE_TOP = (
    "AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle CellPhone "
    "Cloth CreditCard Cup DishSponge Egg Fork Glassbottle HandTowel Kettle KeyChain Knife Ladle "
    "Laptop Lettuce Mug Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl "
    "SaltShaker SoapBar SoapBottle Spatula Spoon SprayBottle Statue TennisRacket TissueBox "
    "ToiletPaper Tomato Vase Watch WateringCan WineBottle"
)
_SEAT = (
    "BasketBall Book Box CellPhone Cloth CreditCard KeyChain Laptop Newspaper Pillow RemoteControl"
)
_WORK_TOP = (
    "AlarmClock BasketBall Book Bowl Box CD Candle CellPhone Cloth CreditCard Cup Glassbottle "
    "KeyChain Laptop Mug Newspaper Pen Pencil Plate RemoteControl SprayBottle Statue TennisRacket "
    "TissueBox ToiletPaper Vase Watch WateringCan WineBottle"
)

_FITS = {
    "ArmChair": _SEAT,
    "BathtubBasin": "Cloth DishSponge HandTowel SoapBar",
    "Bed": "BaseballBat BasketBall Book CellPhone Laptop Newspaper Pillow TennisRacket",
    "Cabinet": (
        "Book Bowl Box CD Candle Cloth Cup DishSponge Glassbottle HandTowel Kettle Ladle Mug "
        "Newspaper Pan PepperShaker Plate Plunger Pot SaltShaker SoapBar SoapBottle SprayBottle "
        "TissueBox ToiletPaper Vase WateringCan WineBottle"
    ),
    "CoffeeMachine": "Mug",
    "CoffeeTable": _TABLE_TOP,
    "CounterTop": _TABLE_TOP,
    "Desk": f"{_WORK_TOP} SoapBottle",
    "DiningTable": _TABLE_TOP,
    "Drawer": (
        "Book ButterKnife CD Candle CellPhone Cloth CreditCard DishSponge Fork HandTowel KeyChain "
        "Knife Ladle Newspaper Pen Pencil PepperShaker RemoteControl SaltShaker SoapBar "
        "SoapBottle Spatula Spoon SprayBottle TissueBox ToiletPaper Watch WateringCan"
    ),
    "Dresser": _WORK_TOP,
    "Fridge": (
        "Apple Bowl Bread Cup Egg Glassbottle Lettuce Mug Pan Plate Pot Potato Tomato WineBottle"
    ),
    "GarbageCan": (
        "Apple Bread CD Cloth DishSponge Egg HandTowel Lettuce Newspaper Pen Pencil Potato "
        "SoapBar SoapBottle SprayBottle TissueBox ToiletPaper Tomato WineBottle"
    ),
    "HandTowelHolder": "HandTowel",
    "LaundryHamper": "Cloth",
    "Microwave": "Apple Bowl Bread Cup Egg Glassbottle Mug Plate Potato Tomato",
    "Ottoman": _SEAT,
    "Safe": "CD CellPhone CreditCard KeyChain Statue Vase Watch",
    "Shelf": (
        "AlarmClock Book Bowl Box CD Candle CellPhone Cloth CreditCard Cup DishSponge Glassbottle "
        "HandTowel Kettle KeyChain Mug Newspaper Pen Pencil PepperShaker Plate Pot RemoteControl "
        "SaltShaker SoapBar SoapBottle SprayBottle Statue TissueBox ToiletPaper Vase Watch "
        "WateringCan WineBottle"
    ),
    "SideTable": _TABLE_TOP,
    "SinkBasin": (
        "Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Glassbottle HandTowel Kettle Knife "
        "Ladle Lettuce Mug Pan Plate Pot Potato SoapBar Spatula Spoon Tomato"
    ),
    "Sofa": _SEAT,
    "StoveBurner": "Kettle Pan Pot",
    "TVStand": "TissueBox",
    "Toaster": "",
    "Toilet": (
        "Candle Cloth DishSponge HandTowel Newspaper SoapBar SoapBottle SprayBottle TissueBox "
        "ToiletPaper"
    ),
    "ToiletPaperHanger": "ToiletPaper",
    "TowelHolder": "Towel",
}

#: receptacle type -> object types that may be put there
FITS = {receptacle: frozenset(objects.split()) for receptacle, objects in _FITS.items()}

# Where things lay in those 108 games: how often in a receptacle of which type.
_LIES = {
    "AlarmClock": "Desk 24 Shelf 15 Dresser 10 SideTable 6",
    "Apple": (
        "Fridge 29 CounterTop 26 GarbageCan 19 SinkBasin 14 DiningTable 11 Microwave 10 SideTable 1"
    ),
    "Book": "Bed 30 CounterTop 6 Desk 5 Drawer 5 Dresser 3 ArmChair 3 Shelf 2 CoffeeTable 1",
    "Bowl": (
        "Cabinet 43 Fridge 29 CounterTop 26 Desk 20 DiningTable 13 Shelf 8 SinkBasin 5 Dresser "
        "1 Microwave 1"
    ),
    "Box": "Sofa 5 DiningTable 4 CoffeeTable 2 Shelf 2 Dresser 2",
    "Bread": "CounterTop 63 DiningTable 20 Fridge 15 SideTable 2",
    "ButterKnife": "CounterTop 66 DiningTable 20 SinkBasin 8 Drawer 6",
    "CD": "Drawer 15 Desk 10 Dresser 8 Shelf 3 GarbageCan 2 SideTable 1",
    "Candle": (
        "CounterTop 8 Cabinet 6 SideTable 4 Toilet 4 Drawer 3 Shelf 2 DiningTable 1 CoffeeTable "
        "1 Dresser 1"
    ),
    "CellPhone": (
        "Drawer 30 CounterTop 30 Bed 13 Desk 10 Safe 9 Dresser 7 Shelf 7 SideTable 6 "
        "DiningTable 3 ArmChair 2 Cabinet 1"
    ),
    "Cloth": "Cabinet 12 BathtubBasin 8 CounterTop 2 Drawer 1 Shelf 1",
    "CreditCard": (
        "Drawer 29 CounterTop 26 Shelf 17 SideTable 14 Desk 13 Dresser 6 ArmChair 4 Sofa 3 "
        "CoffeeTable 3 Ottoman 2 DiningTable 1"
    ),
    "Cup": (
        "Fridge 27 CounterTop 24 Cabinet 20 SinkBasin 17 Microwave 14 DiningTable 12 Shelf 3 "
        "SideTable 2"
    ),
    "DeskLamp": "Desk 15 Shelf 9 SideTable 7 Dresser 5 CoffeeTable 1",
    "DishSponge": (
        "Cabinet 33 CounterTop 27 Drawer 26 SinkBasin 10 DiningTable 8 GarbageCan 6 Shelf 6 "
        "BathtubBasin 1"
    ),
    "Egg": "CounterTop 35 Fridge 27 SinkBasin 18 GarbageCan 11 Microwave 10 DiningTable 8",
    "Fork": "CounterTop 38 Drawer 38 DiningTable 23 SinkBasin 9 SideTable 4",
    "Glassbottle": (
        "Cabinet 31 CounterTop 26 GarbageCan 8 SinkBasin 6 Fridge 4 DiningTable 2 Shelf 1"
    ),
    "HandTowel": "HandTowelHolder 16 CounterTop 1",
    "Kettle": "StoveBurner 21 CounterTop 10 Cabinet 9 DiningTable 2",
    "KeyChain": (
        "Desk 17 Drawer 15 Shelf 10 SideTable 8 Dresser 6 Sofa 4 CoffeeTable 4 Safe 4 "
        "DiningTable 2 TVStand 2 ArmChair 1 Ottoman 1"
    ),
    "Knife": "CounterTop 75 DiningTable 19 Drawer 15 SinkBasin 4",
    "Ladle": "CounterTop 9 Cabinet 3 DiningTable 2 SinkBasin 1 Drawer 1",
    "Laptop": "Bed 37 Sofa 6 DiningTable 5 Desk 4 CoffeeTable 3 Dresser 2 ArmChair 2 Ottoman 1",
    "Lettuce": "CounterTop 44 Fridge 38 DiningTable 13 SinkBasin 5 GarbageCan 2",
    "Mug": (
        "CounterTop 36 Desk 27 Cabinet 26 Fridge 20 CoffeeMachine 19 Shelf 13 DiningTable 13 "
        "Microwave 10 SinkBasin 6 SideTable 4 Dresser 3"
    ),
    "Newspaper": "CoffeeTable 5 Dresser 2 SideTable 2 Sofa 1 Shelf 1 DiningTable 1",
    "Pan": "StoveBurner 74 CounterTop 35 Fridge 4 Cabinet 3 DiningTable 1",
    "PaperTowelRoll": "CounterTop 13 Shelf 12 GarbageCan 4 DiningTable 3 Toilet 1",
    "Pen": (
        "Drawer 15 Shelf 14 Desk 11 Dresser 8 SideTable 5 CounterTop 5 DiningTable 4 GarbageCan 2"
    ),
    "Pencil": (
        "Desk 19 Drawer 10 Shelf 10 SideTable 6 Dresser 6 DiningTable 4 GarbageCan 1 CounterTop 1"
    ),
    "PepperShaker": "Cabinet 45 CounterTop 31 Drawer 23 Shelf 11 DiningTable 11 SideTable 2",
    "Pillow": "Bed 44 Sofa 9 ArmChair 3",
    "Plate": "Cabinet 47 CounterTop 27 DiningTable 16 Fridge 12 Shelf 5 CoffeeTable 2 SinkBasin 2",
    "Pot": "StoveBurner 74 CounterTop 15 Cabinet 5 DiningTable 4 Fridge 3",
    "Potato": "Fridge 40 CounterTop 35 SinkBasin 12 GarbageCan 10 DiningTable 8 Microwave 6",
    "RemoteControl": (
        "CoffeeTable 5 Dresser 4 Sofa 4 DiningTable 3 Desk 2 SideTable 2 Drawer 1 ArmChair 1"
    ),
    "SaltShaker": "Cabinet 35 CounterTop 31 Drawer 27 DiningTable 8 Shelf 4 SideTable 2",
    "SoapBar": "CounterTop 9 Toilet 5 SinkBasin 5 Cabinet 2 Shelf 2 BathtubBasin 1 Drawer 1",
    "SoapBottle": (
        "Cabinet 47 CounterTop 42 DiningTable 18 GarbageCan 14 Shelf 6 Toilet 3 SideTable 3 "
        "Drawer 2 Dresser 2"
    ),
    "Spatula": "CounterTop 54 Drawer 23 DiningTable 19 SinkBasin 16",
    "Spoon": "CounterTop 46 Drawer 23 DiningTable 20 SinkBasin 20",
    "SprayBottle": "CounterTop 18 Cabinet 7 GarbageCan 5 Shelf 5 Toilet 4 DiningTable 2 Dresser 1",
    "Statue": "CounterTop 26 Shelf 14 DiningTable 9 SideTable 7 CoffeeTable 5 Dresser 4 Desk 1",
    "TeddyBear": "Bed 6",
    "TissueBox": (
        "Drawer 10 Shelf 5 CounterTop 4 DiningTable 3 SideTable 3 Desk 2 Dresser 1 CoffeeTable "
        "1 GarbageCan 1"
    ),
    "ToiletPaper": (
        "Toilet 9 CounterTop 5 GarbageCan 5 Shelf 2 Cabinet 2 ToiletPaperHanger 2 Drawer 1"
    ),
    "Tomato": "Fridge 37 CounterTop 36 DiningTable 14 GarbageCan 10 SinkBasin 7",
    "Towel": "TowelHolder 14",
    "Vase": "Shelf 31 Cabinet 21 CounterTop 11 SideTable 2 Dresser 2 DiningTable 1 TVStand 1",
    "Watch": "Drawer 6 Dresser 4 CoffeeTable 4 SideTable 3 DiningTable 3 Safe 2 Shelf 1",
    "WateringCan": "CoffeeTable 1",
    "WineBottle": "CounterTop 16 Cabinet 9 DiningTable 8 GarbageCan 5 Fridge 2 Shelf 1",
}

#: object type -> receptacle type -> how often one lay there
LIES = {
    thing: dict(zip(words[::2], map(int, words[1::2]), strict=True))
    for thing, words in ((thing, counts.split()) for thing, counts in _LIES.items())
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLOSABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})
#: closable types of which, in real rooms, about one in four is an open compartment
SOMETIMES_OPEN = frozenset({"Cabinet", "Drawer"})
CLEANABLE = _words(
    "Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Kettle Knife Ladle Lettuce Mug Pan "
    "Plate Pot Potato SoapBar Spatula Spoon Tomato"
)
HEATABLE = _words("Apple Bread Cup Egg Mug Plate Potato Tomato")
COOLABLE = _words("Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Pot Potato Tomato WineBottle")
SLICEABLE = _words("Apple Bread Egg Lettuce Potato Tomato")
HOLLOW = _words("Bowl Box Cup Mug Pan Plate Pot")
LAMPS = frozenset({"DeskLamp", "FloorLamp"})

#: task type -> (receptacle type that does it, objects it can be done to)
STATIONS = {
    "pick_clean_then_place_in_recep": ("SinkBasin", CLEANABLE),
    "pick_heat_then_place_in_recep": ("Microwave", HEATABLE),
    "pick_cool_then_place_in_recep": ("Fridge", COOLABLE),
}

#: receptacle ids that name the piece of furniture they are part of
PART_OF = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}


@dataclass(frozen=True, slots=True)
class Often:
    """A type found in `share` of the rooms of a kind, then `mean` times (at most `most`)."""

    type: str
    share: float
    mean: float
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomKind:
    """What one kind of room holds. `scenes`: the scene numbers it has in ALFRED."""

    name: str
    scenes: range
    core: tuple[str, ...]
    receptacles: tuple[Often, ...]
    objects: tuple[Often, ...]
    scenery: tuple[Often, ...]
    floor: tuple[Often, ...] = ()
    lamp: str | None = None


def _read(table: str) -> tuple[Often, ...]:
    rows = (row.split() for row in table.split(";") if row.strip())
    return tuple(
        Often(name, float(share), float(mean), int(most)) for name, share, mean, most in rows
    )


KITCHEN = RoomKind(
    name="kitchen",
    scenes=range(1, 31),
    core=("SinkBasin", "Fridge", "Microwave"),
    receptacles=_read(
        "Cabinet 1 12 27; CoffeeMachine 1 1 1; CounterTop 1 2.5 4; DiningTable .36 1.5 3; "
        "Drawer .97 5.4 20; Fridge 1 1 1; GarbageCan 1 1 1; Microwave 1 1 1; Safe .03 1 1; "
        "Shelf .41 3 3; SideTable .09 1 1; SinkBasin 1 1 1; StoveBurner 1 4 6; Toaster 1 1 1"
    ),
    objects=_read(
        "Apple 1 1.9 3; Book .09 1.2 2; Bowl 1 2.1 3; Bread 1 1.7 3; ButterKnife .97 1.8 4; "
        "CellPhone .43 2.2 3; CreditCard .4 2 3; Cup 1 2.1 4; DishSponge 1 2 3; Egg 1 1.9 4; "
        "Fork 1 2 4; Glassbottle .59 2.3 3; Kettle .4 1.8 3; Knife 1 2 3; Ladle .21 1.5 3; "
        "Lettuce 1 1.8 3; Mug 1 2.1 4; Pan 1 1.3 3; PaperTowelRoll .55 1 1; Pen .09 1.8 3; "
        "Pencil .05 2 3; PepperShaker 1 2.1 3; Plate 1 1.9 4; Pot 1 1.3 3; Potato 1 1.9 3; "
        "SaltShaker 1 1.8 3; SoapBottle 1 2 3; Spatula 1 2 3; Spoon 1 1.9 3; SprayBottle .14 2 "
        "3; Statue .4 1.5 3; Tomato 1 1.8 4; Vase .4 2.3 3; WineBottle .33 2.2 3"
    ),
    scenery=_read(
        "Chair .93 1.5 2; HousePlant .55 1 2; LightSwitch 1 1 1; StoveKnob 1 4.1 6; Window .95 "
        "1.5 3"
    ),
)
LIVING_ROOM = RoomKind(
    name="living room",
    scenes=range(201, 231),
    core=("SideTable",),
    receptacles=_read(
        "ArmChair 1 1.5 2; Cabinet .18 4 4; CoffeeTable .64 1.6 2; DiningTable .55 1 1; Drawer "
        ".64 5.4 12; Dresser .45 1.2 2; GarbageCan 1 1 1; Ottoman .27 1 1; Safe .09 1 1; Shelf "
        ".45 6.2 12; SideTable .82 1.9 3; Sofa 1 1.1 2; TVStand .18 1 1"
    ),
    objects=_read(
        "Book .09 3 3; Box 1 1.5 3; Candle .18 3 3; CellPhone .09 3 3; CreditCard 1 1.7 3; "
        "KeyChain 1 2.4 3; Laptop 1 1.6 3; Newspaper .55 2 3; Pillow 1 1.1 2; Plate .27 2 2; "
        "RemoteControl 1 2 4; Statue 1 2.3 4; TissueBox .36 2.2 3; Vase .45 2.2 3; Watch .73 "
        "2.1 3; WateringCan .36 1 1"
    ),
    scenery=_read(
        "Chair .73 2.9 5; Curtains .36 1.8 3; HousePlant 1 1.2 2; LightSwitch 1 1 1; Painting 1 "
        "1.8 4; Television 1 1 1; Window .82 3 7"
    ),
    lamp="DeskLamp",
)
BEDROOM = RoomKind(
    name="bedroom",
    scenes=range(301, 331),
    core=("Desk",),
    receptacles=_read(
        "ArmChair .12 1.7 3; Bed 1 1.1 2; Cabinet .08 3 4; Desk .85 1.4 2; Drawer .96 8.2 17; "
        "Dresser .46 1.1 2; GarbageCan 1 1 1; LaundryHamper .38 1 1; Safe .5 1 1; Shelf .81 5.7 "
        "12; SideTable .46 1.4 2"
    ),
    objects=_read(
        "AlarmClock 1 2 3; Book 1 1.8 3; Bowl .69 1.3 3; Box .35 1 1; CD 1 1.8 3; CellPhone 1 "
        "2.2 3; Cloth .15 1.2 2; CreditCard 1 2 4; KeyChain 1 2 3; Laptop 1 1.6 3; Mug .77 2.1 "
        "3; Pen 1 2.1 3; Pencil 1 1.9 4; Pillow 1 1.7 3; RemoteControl .04 2 2; Statue .23 1.2 "
        "2; TeddyBear .31 1 1; TissueBox .23 1.8 3; Vase .12 2 2; Watch .15 1.5 2"
    ),
    scenery=_read(
        "Blinds .92 1.7 4; Chair .85 1.4 2; HousePlant .27 1 1; LaundryHamperLid .38 1 1; "
        "LightSwitch 1 1 1; Mirror 1 1 1; Painting .15 1.8 3; Window 1 1.7 4"
    ),
    floor=_read("BaseballBat .62 1.1 2; BasketBall .54 1 1; Boots .19 1 1; TennisRacket .23 1 1"),
    lamp="DeskLamp",
)
BATHROOM = RoomKind(
    name="bathroom",
    scenes=range(401, 431),
    core=("SinkBasin",),
    receptacles=_read(
        "BathtubBasin .46 1 1; Cabinet .62 3.6 4; CounterTop .92 1 1; Drawer .31 7 8; Dresser "
        ".08 1 1; GarbageCan 1 1 1; HandTowelHolder 1 1.5 2; Shelf .23 2 3; SinkBasin 1 1.5 2; "
        "Toilet 1 1 1; ToiletPaperHanger 1 1 1; TowelHolder 1 1.2 2"
    ),
    objects=_read(
        "Candle 1 1.8 3; Cloth 1 2 3; DishSponge .15 2 2; HandTowel 1 1.2 2; PaperTowelRoll .08 "
        "1 1; SoapBar 1 2.1 3; SoapBottle 1 1.6 3; SprayBottle 1 2 4; TissueBox .23 3.3 4; "
        "ToiletPaper 1 2.3 3; Towel 1 1.1 2"
    ),
    scenery=_read(
        "LightSwitch 1 1 1; Mirror 1 1 1; ShowerDoor .62 1 1; ShowerGlass .54 1 1; Window .46 1.2 2"
    ),
    floor=_read("Plunger 1 1 1; ScrubBrush 1 1 1"),
)

ROOM_KINDS = {kind.name: kind for kind in (KITCHEN, LIVING_ROOM, BEDROOM, BATHROOM)}
#: where a lamp stands, best place first
LAMP_PLACES = ("Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable", "DiningTable", "CounterTop")
