"""The conformance kit names what a stranger's environment does wrong, in their words and once.

The environments here are files of their own, since the kit plays in other processes, too.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentgym_envs.check import Check, CheckFailed, check_text_env
from agentgym_envs.prompts import load_style
from agentgym_envs.types import Advice

ROOT = Path(__file__).parents[2]
PANTRY = "pantry:Pantry/Honey-v0"
_numbers = itertools.count()  # no two modules of one name
PAGE = ROOT / "docs" / "your-own-environment.md"


def block(language: str) -> str:
    """The code of that language on the page about environments of one's own."""
    (text,) = PAGE.read_text(encoding="utf-8").split(f"```{language}\n")[1:]
    return text.partition("```")[0]


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """Writes the page's environment as a module, some of its lines changed; gives its id."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(*changes: tuple[str, str]) -> str:
        name = f"lock_{next(_numbers)}"
        text = block("python").replace("my_lock", name).replace("MyLab/Lock", f"MyLab/{name}")
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        tmp_path.joinpath(f"{name}.py").write_text(text, encoding="utf-8")
        return f"{name}:MyLab/{name}-v0"

    return written


def problems(env_id: str, **settings) -> dict[str, str]:
    """Broken promises by the first words of their names, and what is said of each."""
    told: list[Check] = []
    with pytest.raises(CheckFailed):
        check_text_env(env_id, on_check=told.append, **settings)
    return {" ".join(one.name.split()[:3]): one.problem for one in told if one.problem}


def test_the_environment_on_the_page_keeps_every_promise_as_it_stands(tmp_path):
    tmp_path.joinpath("my_lock.py").write_text(block("python"), encoding="utf-8")
    words = ["-m", "agentgym_envs", "check", "my_lock:MyLab/Lock-v0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keeps all 19 promises; 2 skipped" in done.stdout


def test_the_prompt_style_on_the_page_can_be_read(tmp_path):
    path = tmp_path / "style.toml"
    path.write_text(block("toml"), encoding="utf-8")
    style = load_style(str(path))
    shown = style.opening_messages("Open it.", "The lamp is red.", ("press red",))
    assert "The lamp is red.\nActions: 'press red'" in shown[-1]["content"]
    assert (
        style.written(Advice("press red", "red")) == "<think>red</think><action>press red</action>"
    )


def test_a_strangers_environment_keeps_every_promise():
    checks = check_text_env(PANTRY)
    assert len(checks) == 21
    assert not any(check.problem or check.skipped for check in checks)


def test_the_dict_variant_keeps_them_too():
    check_text_env(PANTRY, observation_mode="dict")


def test_a_game_of_free_text_keeps_them_too(lock):
    """Nothing is admissible, any text is valid, and another one than a button's ends it."""
    presses = "[f'press {colour}' for colour in COLOURS]"
    env_id = lock(
        ("self.drawn = 0 ", "self.drawn, self.lost = 0, False "),
        (
            "        self.drawn +=",
            f"        self.lost = action not in {presses}\n        self.drawn +=",
        ),
        ('tuple(f"press {c}" for c in COLOURS), done', "(), done or self.lost"),
    )
    assert [one.skipped.partition(":")[0] for one in check_text_env(env_id) if one.skipped] == [
        "no expert",
        "no prompt styles",
    ]


def test_the_kit_names_a_broken_promise(monkeypatch):
    from pantry.env import PantryEnv

    monkeypatch.setattr(PantryEnv, "advise", lambda self: None)
    ((name, problem),) = problems(PANTRY).items()
    assert name == "the expert solves" and problem.startswith("the expert solves only 0.000")


@pytest.mark.parametrize("dice", ["random.random()", "numpy.random.rand()"])
def test_global_dice_are_named(lock, dice):
    """Also where they change nothing that is seen in the episodes that are compared."""
    module = dice.rpartition(".")[0]
    env_id = lock(
        ("from agentgym_envs", f"import {module}\nfrom agentgym_envs"),
        ("        self.drawn = 0 ", f"        {dice}\n        self.drawn = 0 "),
    )
    said = f"the global generator of {module} was used: draw from self.np_random"
    assert problems(env_id) == {"the same seed": said, "instances do not": said}


def test_what_is_left_over_from_the_episode_before_is_named(lock):
    """As where `start` keeps what is there already."""
    found = problems(lock(("self.drawn = 0 ", "self.drawn = getattr(self, 'drawn', 0) % 2 ")))
    assert "something is left over from the episode before: set it in `start`" in found.pop(
        "an episode is"
    )


def test_a_constructor_that_does_not_hand_on_is_told_how_once(lock):
    plain = lock(("*, max_turns=4, **settings", ""), ("max_turns=max_turns, **settings", ""))
    assert problems(plain) == {
        "its constructor takes": (
            "it does not take max_turns, parser, observation_mode, reward_scale, invalid_penalty, "
            "info_level, render_mode: add `**settings` to its constructor and hand them to "
            "super().__init__"
        )
    }
    kept = lock(("max_turns=max_turns, **settings", "max_turns=max_turns"))
    assert problems(kept)["its constructor takes"].endswith("does not reach super().__init__")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "        return self.shown()\n\n    def act",
            "\n    def act",
            "start should return a Scene",
        ),
        ("def act(", "def acts(", "LockEnv needs `def act(self, action) -> Scene`"),
        ("Verdict(drawn == 2, drawn / 2, f", "bool(drawn == 2 and f", "should return a Verdict"),
        ("    @staticmethod\n", "", "verify should be a @staticmethod"),
        ("self.drawn += action", "self.drwan += action", "AttributeError: 'LockEnv' object has"),
    ],
)
def test_what_all_promises_stand_on_is_said_once(lock, old, new, said):
    ((name, problem),) = problems(lock((old, new))).items()
    assert name == "an episode starts," and said in problem


def test_where_an_environment_cannot_be_made_its_own_error_is_raised(lock):
    made = lock(("        super().__init__(TASKS", "        1 / 0\n        super().__init__(TASKS"))
    with pytest.raises(ZeroDivisionError):
        check_text_env(made)
    missing = lock(
        ("        self.drawn = 0 ", "        open('no/such/file')\n        self.drawn = 0 ")
    )
    with pytest.raises(FileNotFoundError):
        check_text_env(missing)
    with pytest.raises(TypeError, match="takes no argument 'splitt'; it takes max_turns, "):
        check_text_env(lock(), splitt="train")
