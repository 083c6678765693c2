"""Which settings a constructor takes is known before anything is made."""

import pytest
from pantry.env import PantryEnv

from agentgym_envs import TextEnv
from agentgym_envs.drivers import Setup
from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.fitting import arguments, demand_fit

PANTRY = "pantry:Pantry/Honey-v0"


class Plain(TextEnv):
    def __init__(self, size: int, *, split: str = "train") -> None:
        raise AssertionError("nothing is to be made")


class Handing(Plain):
    def __init__(self, colour: str = "red", **settings) -> None:
        self.words = settings.pop("words", 3)
        super().__init__(2, **settings)


def anything(**settings) -> TextEnv:
    raise AssertionError("nothing is to be made")


def test_what_is_handed_on_is_followed_along_the_bases():
    assert list(arguments(Plain) or ()) == ["size", "split"]
    assert {"colour", "words", "size", "split"} <= set(arguments(Handing) or ())
    taken = arguments(PantryEnv) or {}
    assert {*(arguments(TextEnv) or {})} <= set(taken) and taken["render_mode"].type == str | None
    assert arguments(anything) is None


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Plain, {"size": 2, "splitt": "x"}, "Lab/X-v0 takes no argument 'splitt'; did you mean 's"),
        (Plain, {"size": 2, "zzz": 1}, "takes no argument 'zzz'; it takes size, split"),
        (Plain, {"size": 2, "parser": "text"}, "which every TextEnv does: add `\\*\\*settings` to"),
        (Plain, {"split": "train"}, "Lab/X-v0 needs a value for 'size'"),
        (Handing, {"wrods": 4}, "did you mean 'words'"),
        (Handing, {"size": "two"}, "'size' is of type int, got 'two'"),
    ],
)
def test_what_does_not_fit_is_named(kind, settings, message):
    with pytest.raises(TypeError, match=message):
        demand_fit("Lab/X-v0", kind, settings)


def test_only_what_is_certainly_wrong_is_refused():
    demand_fit("Lab/X-v0", Handing, {"words": 4, "split": "test"})
    demand_fit("Lab/X-v0", anything, {"whatever": 1})


def test_it_is_asked_wherever_an_environment_is_made_by_its_id():
    with pytest.raises(TypeError, match="did you mean 'max_turns'"):
        make_text_env(PANTRY, {"max_turn": 3})
    with pytest.raises(TypeError, match="did you mean 'max_turns'"):
        Setup(env_id=PANTRY, settings={"max_turn": 3}).make()
    assert make_text_env(PANTRY, {"reward_scale": 10.0}).reward_scale == 10.0
