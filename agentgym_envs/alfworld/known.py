"""Fingerprints of the PDDL actions and grammar rules the engine was written for.

Three sets are behind them: domain and grammar of the published game files (data release 2.1.3),
those in the alfworld package (0.4.2), and our generator's. They differ in two actions. The game
files also let a receptacle of type Sink clean. Our examineObject is the plain spelling of the only
branch that can apply: the other, officially, has a comma among its parameters and never does.

To admit another spelling of a rule, prove it the same with a differential test and add the
fingerprint that the refusal prints.
"""

# Canonical PDDL actions (`pddl.domain_actions`), by lower-case name.
ACTIONS: dict[str, frozenset[str]] = {
    "cleanobject": frozenset({"20686380696dee73", "eb444ca03b59f11e"}),
    "closeobject": frozenset({"c2262acde7d346e5"}),
    "coolobject": frozenset({"38b866999f722115"}),
    "examineobject": frozenset({"4643e5d864da2e50", "57ea34d271ee0005"}),
    "examinereceptacle": frozenset({"4cdf6811ea90f823"}),
    "gotolocation": frozenset({"3fdf7c293ec1613f"}),
    "heatobject": frozenset({"aa9850062401d6ea"}),
    "help": frozenset({"cf29b172950c005d"}),
    "inventory": frozenset({"7890f68ee4a6370a"}),
    "look": frozenset({"3d88a260306ea52a"}),
    "openobject": frozenset({"6cf10ea8719accf3"}),
    "pickupobject": frozenset({"33a6331ec6577556"}),
    "putobject": frozenset({"84bcb2a7d31a47d9"}),
    "sliceobject": frozenset({"b405ff93311065b7"}),
    "toggleobject": frozenset({"49d2b6807047e01a"}),
}

# Grammar rules (`grammar.rule_form`), by symbol.
RULES: dict[str, frozenset[str]] = {
    "CloseObject.feedback": frozenset({"5f64a4d937a94ff3"}),
    "OpenObject.feedback": frozenset({"7c9d22dbb0e1ae5d"}),
    "PickupObject.feedback": frozenset({"c49a01da16fa1de3"}),
    "cleanObject.feedback": frozenset({"2eeadbb0e9562bdc"}),
    "coolObject.feedback": frozenset({"6c30b2bdfd2fc625"}),
    "examineObject.feedback": frozenset({"103a43b7c0408991"}),
    "examineReceptacle.feedback": frozenset({"72b4c7dc2004073e"}),
    "heatObject.feedback": frozenset({"131f96d9ca7f4704"}),
    "intro": frozenset({"35b317b87ba4c2c7"}),
    "inventory.feedback": frozenset({"2b9d9039b4864bd6"}),
    "list_appliances": frozenset({"b676c98ae1991418"}),
    "list_empty": frozenset({"c8f396061973fdbb"}),
    "list_last_separator": frozenset({"66f22c7a5b9c5913"}),
    "list_objects_on_the_floor": frozenset({"c21b853f222306aa"}),
    "list_separator": frozenset({"8cedf4e173a856f0"}),
    "look-variations": frozenset({"de5b437b5a01de93"}),
    "look.feedback": frozenset({"0992bfeb045dd9b0"}),
    "overview(o)": frozenset({"1c5594bb30180d31"}),
    "overview(r)": frozenset({"801e2fb368f8a216"}),
    "sliceObject.feedback": frozenset({"ae26358dac05feef"}),
    "toggleObject.feedback": frozenset({"55250327abc6c513"}),
}

# Command template and feedback symbol (`grammar.command_form`), by lower-case action name.
COMMANDS: dict[str, frozenset[str]] = {
    "cleanobject": frozenset({"c085f3b554a3ec1c"}),
    "closeobject": frozenset({"f01a17be1e7ecb0a"}),
    "coolobject": frozenset({"b433fe1441343ca2"}),
    "examineobject": frozenset({"5a9db45e78b464cb"}),
    "examinereceptacle": frozenset({"1c99ffa91550e247"}),
    "gotolocation": frozenset({"b0bb439d34545f0a"}),
    "heatobject": frozenset({"c7f480bfe25bdc28"}),
    "inventory": frozenset({"83ac3a1ab6e5f15c"}),
    "look": frozenset({"bdb56f2a8d80c7b4"}),
    "openobject": frozenset({"9f24a628707de687"}),
    "pickupobject": frozenset({"1c8ba2cc81d294ae"}),
    "sliceobject": frozenset({"c586e9e8ddb4b0e9"}),
    "toggleobject": frozenset({"43b166ae7d888b38"}),
}
