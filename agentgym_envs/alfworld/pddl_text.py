"""The rules and the words of a generated game, in the two languages the official engine reads.

Both texts are ours. They mean what ALFWorld's do (data release 2.1.3): the same predicates,
actions, parameters and output strings, without the parts that no game reaches. So a generated game
plays in upstream ALFWorld as it plays here, which tests check.
"""

import json
from functools import cache

DOMAIN = """\
; Household world of ALFWorld: one agent, receptacles at locations, objects in receptacles.
(define (domain alfred)
  (:requirements :adl :action-costs :typing)
  (:types agent location receptacle object rtype otype)

  (:predicates
    (atLocation ?a - agent ?l - location)
    (receptacleAtLocation ?r - receptacle ?l - location)
    (objectAtLocation ?o - object ?l - location)
    (receptacleType ?r - receptacle ?t - rtype)
    (objectType ?o - object ?t - otype)
    (canContain ?rt - rtype ?ot - otype)
    (openable ?r - receptacle)
    (opened ?r - receptacle)
    (inReceptacle ?o - object ?r - receptacle)
    (isReceptacleObject ?o - object)
    (inReceptacleObject ?inner - object ?outer - object)
    (holds ?a - agent ?o - object)
    (holdsAny ?a - agent)
    (pickupable ?o - object)
    (cleanable ?o - object)
    (heatable ?o - object)
    (coolable ?o - object)
    (sliceable ?o - object)
    (toggleable ?o - object)
    (isClean ?o - object)
    (isHot ?o - object)
    (isCool ?o - object)
    (isSliced ?o - object)
    (isOn ?o - object)
    (isToggled ?o - object)
    (checked ?r - receptacle)
  )
  (:functions (total-cost) - number)

  ; Looking changes nothing a goal can see; `checked` is there because a planner drops
  ; actions without effect.
  (:action look
    :parameters (?a - agent ?l - location)
    :precondition (and (atLocation ?a ?l))
    :effect (and (checked ?l)))

  (:action inventory
    :parameters (?a - agent)
    :precondition ()
    :effect (and (checked ?a)))

  (:action help
    :parameters (?a - agent)
    :precondition ()
    :effect (and (checked ?a)))

  (:action examineReceptacle
    :parameters (?a - agent ?r - receptacle)
    :precondition (and (exists (?l - location)
                         (and (atLocation ?a ?l) (receptacleAtLocation ?r ?l))))
    :effect (and (checked ?r)))

  (:action examineObject
    :parameters (?a - agent ?o - object)
    :precondition (and (holds ?a ?o))
    :effect (and (checked ?o)))

  (:action GotoLocation
    :parameters (?a - agent ?lStart - location ?lEnd - location ?r - receptacle)
    :precondition (and (atLocation ?a ?lStart) (receptacleAtLocation ?r ?lEnd))
    :effect (and (not (atLocation ?a ?lStart)) (atLocation ?a ?lEnd)
                 (increase (total-cost) 1)))

  (:action OpenObject
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (openable ?r) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
                       (not (opened ?r)))
    :effect (and (opened ?r) (checked ?r) (increase (total-cost) 1)))

  (:action CloseObject
    :parameters (?a - agent ?l - location ?r - receptacle)
    :precondition (and (openable ?r) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
                       (opened ?r))
    :effect (and (not (opened ?r)) (increase (total-cost) 1)))

  (:action PickupObject
    :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
    :precondition (and (pickupable ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
                       (inReceptacle ?o ?r) (not (holdsAny ?a))
                       (or (not (openable ?r)) (opened ?r)))
    :effect (and (not (inReceptacle ?o ?r)) (holds ?a ?o) (holdsAny ?a)
                 (not (objectAtLocation ?o ?l)) (increase (total-cost) 1)))

  (:action PutObject
    :parameters (?a - agent ?l - location ?o - object ?r - receptacle ?ot - otype ?rt - rtype)
    :precondition (and (holds ?a ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
                       (or (not (openable ?r)) (opened ?r))
                       (objectType ?o ?ot) (receptacleType ?r ?rt) (canContain ?rt ?ot))
    :effect (and (inReceptacle ?o ?r) (objectAtLocation ?o ?l)
                 (not (holds ?a ?o)) (not (holdsAny ?a)) (increase (total-cost) 1)))

  (:action CleanObject
    :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
    :precondition (and (cleanable ?o) (receptacleType ?r SinkBasinType)
                       (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o))
    :effect (and (increase (total-cost) 5) (isClean ?o)))

  (:action HeatObject
    :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
    :precondition (and (heatable ?o) (receptacleType ?r MicrowaveType)
                       (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o))
    :effect (and (increase (total-cost) 5) (isHot ?o) (not (isCool ?o))))

  (:action CoolObject
    :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
    :precondition (and (coolable ?o) (receptacleType ?r FridgeType)
                       (atLocation ?a ?l) (receptacleAtLocation ?r ?l) (holds ?a ?o))
    :effect (and (increase (total-cost) 5) (isCool ?o) (not (isHot ?o))))

  (:action ToggleObject
    :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
    :precondition (and (toggleable ?o) (atLocation ?a ?l) (receptacleAtLocation ?r ?l)
                       (inReceptacle ?o ?r))
    :effect (and (increase (total-cost) 5)
                 (when (isOn ?o) (not (isOn ?o)))
                 (when (not (isOn ?o)) (isOn ?o))
                 (isToggled ?o)))

  (:action SliceObject
    :parameters (?a - agent ?l - location ?co - object ?ko - object)
    :precondition (and (sliceable ?co)
                       (or (objectType ?ko KnifeType) (objectType ?ko ButterKnifeType))
                       (atLocation ?a ?l) (objectAtLocation ?co ?l) (holds ?a ?ko))
    :effect (and (increase (total-cost) 5) (isSliced ?co)))
)
"""

_THINGS = "[{o.indefinite + ' ' + o.name | inreceptacle(o:object, r:receptacle)}]"
_HERE = "atlocation(a:agent, l:location) & receptacleatlocation(r:receptacle, l:location)"
_LYING = (
    "atlocation(a:agent, l:location) & objectatlocation(o:object, l:location) & "
    "receptacleatlocation(r:receptacle, l:location) & not_inreceptacle(o:object, r:receptacle)"
)
_ANYWHERE = "receptacleatlocation(r:receptacle, l:location)"
#: (marks an object must have, how it is then described), first match wins
_LOOKS = (
    ("isclean ishot issliced", "hot and clean sliced"),
    ("isclean iscool issliced", "cool and clean sliced"),
    ("isclean issliced", "clean sliced"),
    ("ishot issliced", "hot sliced"),
    ("iscool issliced", "cool sliced"),
    ("isclean ishot", "hot and clean"),
    ("isclean iscool", "cool and clean"),
    ("ishot", "hot"),
    ("isclean", "clean"),
    ("iscool", "cold"),
)
_HELP = """
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""
#: action -> (command, name of the rule that words its feedback, or the feedback itself)
_ACTIONS = {
    "GotoLocation": (f"go to [{{r.name | {_ANYWHERE.replace('l:', 'lend:')}}}]", "GotoLocation"),
    "OpenObject": ("open {r}", "OpenObject"),
    "CloseObject": ("close {r}", "CloseObject"),
    "PickupObject": ("take {o} from {r}", "PickupObject"),
    "PutObject": ("move {o} to {r}", "PutObject"),
    "CleanObject": ("clean {o} with {r}", "cleanObject"),
    "HeatObject": ("heat {o} with {r}", "heatObject"),
    "CoolObject": ("cool {o} with {r}", "coolObject"),
    "ToggleObject": ("use {o}", "toggleObject"),
    "SliceObject": ("slice {co} with {ko}", "sliceObject"),
    "examineReceptacle": ("examine {r}", "examineReceptacle"),
    "examineObject": ("examine {o}", "examineObject"),
    "inventory": ("inventory", "inventory"),
    "look": ("look", "look"),
}


def _says(text: str, when: str = "") -> dict[str, str]:
    return {"condition": when, "rhs": text} if when else {"rhs": text}


def _marked(marks: str) -> str:
    return " & ".join(f"{mark}(o:object)" for mark in marks.split())


def _feedback() -> dict[str, list[dict[str, str]]]:
    """What each action answers: alternatives in order, the first whose condition holds is said."""
    inner = "{o2.indefinite + ' ' + o2.name | inreceptacleobject(o2:object, o:object)}"
    carried = "{o.indefinite + ' ' + o.name | holds(a:agent, o:object)}"
    switched = "toggleable(o:object) & istoggled(o:object)"
    return {
        "GotoLocation": [_says("You arrive at {r.name}. #examineReceptacle.feedback#")],
        "OpenObject": [_says("You open the {r.name}. #examineReceptacle.feedback#")],
        "CloseObject": [_says("You close the {r.name}.")],
        "PickupObject": [_says("You pick up the {o.name} from the {r.name}.")],
        "PutObject": [_says("You move the {o.name} to the {r.name}.")],
        "cleanObject": [_says("You clean the {o.name} using the {r.name}.")],
        "heatObject": [_says("You heat the {o.name} using the {r.name}.")],
        "coolObject": [_says("You cool the {o.name} using the {r.name}.")],
        "toggleObject": [
            _says("You turn on the {o.name}.", switched),
            _says("You turn off the {o.name}.", "toggleable(o:object)"),
            _says("You don't see any switch on the {o.name}."),
        ],
        "sliceObject": [_says("You sliced the {co.name} with the {ko.name}.")],
        "inventory": [
            _says(f"You are carrying: [{carried}].", "holdsany(a:agent)"),
            _says("You are not carrying anything."),
        ],
        "examineReceptacle": [
            _says(
                f"The {{r.name}} is open. In it, you see {_THINGS}.",
                "openable(r:receptacle) & opened(r:receptacle)",
            ),
            _says("The {r.name} is closed.", "openable(r:receptacle)"),
            _says(f"On the {{r.name}}, you see {_THINGS}."),
        ],
        "examineObject": [
            _says(
                f"This is a normal {{o.name}}. In it, you see [{inner}].",
                "isreceptacleobject(o:object)",
            ),
            *(_says(f"This is a {look} {{o.name}}.", _marked(marks)) for marks, look in _LOOKS),
            _says("This {o.name} is on.", switched),
            _says("This {o.name} is off.", "toggleable(o:object) & not_istoggled(o:object)"),
            _says("This is a sliced {o.name}.", "sliceable(o:object) & issliced(o:object)"),
            _says("There's nothing special about {o.name}."),
        ],
        "look": [
            _says("#look-variations#. Next to it, you see #list_objects_on_the_floor#.", _HERE),
            _says(
                "You are in the middle of a room. Looking quickly around you, "
                "you see #list_appliances#."
            ),
        ],
    }


def _rules(goal: str) -> dict[str, list[dict[str, str]]]:
    feedback = {f"{name}.feedback": options for name, options in _feedback().items()}
    return feedback | {
        "intro": [_says("-= Welcome to TextWorld, ALFRED! =-\n\n#look.feedback#\n\n#task#")],
        "task": [_says(f"Your task is to: {goal}")],
        "look-variations": [_says(f"You are facing the [{{r.name | {_HERE}}}]")],
        "list_objects_on_the_floor": [
            _says(f"[{{#overview(o)# | {_LYING}}}]", _LYING),
            _says("nothing"),
        ],
        "list_appliances": [
            _says(f"[{{#overview(r)# | {_ANYWHERE}}}]", _ANYWHERE),
            _says("nothing"),
        ],
        "overview(o)": [_says("{o.indefinite} {o.name}")],
        "overview(r)": [_says("{r.indefinite} {r.name or r.id}")],
        "list_empty": [_says("nothing")],
        "list_separator": [_says(", ")],
        "list_last_separator": [_says(", and ")],
    }


@cache
def _frame() -> tuple[str, str]:
    """The grammar text before and after the goal sentence."""
    rules = json.dumps(_rules("GOAL"), indent=1)
    texts = {name: (line, f"#{rule}.feedback#") for name, (line, rule) in _ACTIONS.items()}
    actions = "\n\n".join(
        f'action {name} {{\n    template :: "{line}";\n    feedback :: "{feedback}";\n}}'
        for name, (line, feedback) in (texts | {"help": ("help", _HELP)}).items()
    )
    before, _, after = f'grammar :: """\n{rules}\n""";\n\n{actions}\n'.partition("GOAL")
    return before, after


def grammar(goal: str) -> str:
    """The grammar text of a game whose goal sentence is `goal` (with its full stop)."""
    before, after = _frame()
    return before + goal + after
