"""`agentgym-envs new`: what it writes works as it is, under any name."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from env_servers import running
from typer.testing import CliRunner

from agentgym_envs.cli import app
from agentgym_envs.new import Names, named, write_package

ROOT = Path(__file__).parents[2]


def python(folder: Path, *words: str) -> str:
    """What a fresh Python in a new package's folder says; the folder is all it is told of it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package under names that differ from each other and from the example's."""
    folder = tmp_path_factory.mktemp("lab") / "new-rooms"
    write_package(folder, named(folder, "Some-Lab/deep-Cave-v3"))
    return folder


def test_its_own_tests_pass(package):
    told = python(package, "-m", "pytest", "-q", "tests/test_promises.py", "tests/test_maze.py")
    assert " passed" in told and "skipped" not in told


OTHER = '''
from agentgym_envs import Scene, Task, TextEnv, TextVectorEnv, Verdict

COLOURS = {"train": ("red", "green", "blue"), "test": ("white", "black", "grey")}


class DeepCaveEnv(TextEnv):
    """The lamp says which button."""

    prompt_folder = "new_rooms:prompts"

    def __init__(self, *, split="train", **settings):
        press = {colour: f"press {colour}" for colour in COLOURS[split]}
        super().__init__(
            [Task(id=c, goal="Open it.", answer=c, expert=(press[c],)) for c in press],
            **{"max_turns": 2, **settings},
        )
        self.press = press

    def start(self, task):
        return self.shown(f"The lamp is {task.answer}.", False)

    def act(self, action):
        return self.shown("Click.", action == self.press[self.task.answer])

    def shown(self, text, won):
        return Scene(text, tuple(self.press.values()), done=won, facts={"open": won})

    @staticmethod
    def verify(episode):
        won = any(turn.facts["open"] for turn in episode.turns)
        return Verdict(won, float(won))


class DeepCaveVectorEnv(TextVectorEnv):
    env_type = DeepCaveEnv
'''


def test_its_promises_hold_for_another_environment_in_its_place(package, tmp_path):
    """Nothing in tests/test_promises.py is about the maze."""
    folder = tmp_path / "new-rooms"
    shutil.copytree(package, folder)
    folder.joinpath("new_rooms", "env.py").write_text(OTHER, encoding="utf-8")
    for left in ("new_rooms/maze.py", "new_rooms/verify.py", "tests/test_maze.py"):
        folder.joinpath(left).unlink()
    assert " passed" in python(folder, "-m", "pytest", "-q", "tests/test_promises.py")


def test_its_readme_lists_every_file_that_is_about_the_maze(package):
    readme = package.joinpath("README.md").read_text(encoding="utf-8")
    section = readme.partition("## Make it yours")[2]
    for path in package.rglob("*"):
        if path.suffix in (".py", ".toml", ".md") and "maze" in path.read_text().lower():
            where = path.relative_to(package).as_posix()
            listed = f"`{where}`" in section or f"`{where.rpartition('/')[0]}/`" in section
            assert listed, where


def test_it_is_registered_by_importing_it(package):
    code = (
        "import gymnasium as gym; env = gym.make('new_rooms:Some-Lab/deep-Cave-v3').unwrapped;"
        "print(type(env).__name__, env.reset(seed=0)[1]['task_id'])"
    )
    assert python(package, "-c", code).startswith("DeepCaveEnv train-")


def test_it_is_served_and_plays_the_same_there(package, monkeypatch):
    monkeypatch.chdir(package)
    code = """
import sys
import gymnasium as gym
from agentgym_envs.serve.client import RemoteEnv

near, far = gym.make("new_rooms:Some-Lab/deep-Cave-v3").unwrapped, RemoteEnv(sys.argv[1])
for seed in range(3):
    assert near.reset(seed=seed)[0] == far.reset(seed=seed)[0]
    over = False
    while not over:
        action = near.wander(near.np_random)
        here, there = near.step(action), far.step(action)
        assert here[:4] == there[:4]
        over = here[2] or here[3]
print("the same")
"""
    with running("new_rooms:Some-Lab/deep-Cave-v3", {}, "--port", "0") as (_, address):
        assert python(package, "-c", code, address) == "the same\n"


def test_it_is_written_as_this_package_is(package):
    for rule in (["check"], ["format", "--check"]):
        python(package, "-m", "ruff", *rule, "--config", str(ROOT / "pyproject.toml"), ".")


def test_no_name_is_left_to_fill_in(tmp_path):
    files = write_package(tmp_path / "rooms", named(tmp_path / "rooms"))
    assert sorted(files) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for path in files:
        assert "{{" not in path.read_text(encoding="utf-8"), path
        assert "{{" not in str(path) and path.suffix != ".in"


def test_every_command_of_its_readme_names_files_that_are_there(package):
    text = package.joinpath("README.md").read_text(encoding="utf-8")
    words = {word for line in text.splitlines() if line.startswith("    ") for word in line.split()}
    settings = {word for word in words if word.endswith(".toml")}
    assert settings == {"runs/student.toml", "runs/teacher.toml", "runs/grpo.toml",
                        "runs/opd.toml", "suite.toml"}  # fmt: skip
    assert all(package.joinpath(name).is_file() for name in settings)


def test_it_can_be_built(package):
    project = tomllib.loads(package.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == "new-rooms"
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["new_rooms"]
    assert package.joinpath("new_rooms", "__init__.py").is_file()


def test_list_finds_it_once_it_is_installed(package):
    project = tomllib.loads(package.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    module = project["project"]["entry-points"]["agentgym_envs.environments"]["new_rooms"]
    told = python(package, "-c", "from agentgym_envs.cli import main; main()", "list", module)
    assert "new_rooms:Some-Lab/deep-Cave-v3  A maze of rooms." in told


def test_where_pip_finds_this_package_can_be_said(tmp_path):
    def needed(source):
        folder = tmp_path / f"rooms{len(list(tmp_path.iterdir()))}"
        write_package(folder, named(folder), source)
        project = tomllib.loads(folder.joinpath("pyproject.toml").read_text(encoding="utf-8"))
        assert project["tool"]["hatch"]["metadata"]["allow-direct-references"]
        return (
            project["project"]["dependencies"],
            project["project"]["optional-dependencies"]["train"],
        )

    assert needed(None) == (["agentgym-envs"], ["agentgym-envs[train]"])
    url = "git+https://example.org/lab/agentgym.git"
    assert needed(url) == ([f"agentgym-envs @ {url}"], [f"agentgym-envs[train] @ {url}"])
    assert needed(str(ROOT))[0] == [f"agentgym-envs @ {ROOT.as_uri()}"]


def test_names_follow_from_the_folder(tmp_path):
    assert named(tmp_path / "my_maze") == Names(
        package="my_maze", distribution="my-maze", env_id="MyLab/MyMaze-v0", name="MyMaze"
    )


@pytest.mark.parametrize(
    ("folder", "env_id", "message"),
    [
        ("My Maze", None, "lower-case letters, digits and '_'"),
        ("2rooms", None, "a letter first"),
        ("class", None, "lower-case letters"),
        ("numpy", None, "a package called 'numpy' is there already"),
        ("json", None, "a package called 'json' is there already"),
        ("agentgym_train", None, "is there already"),
        ("tests", None, "is there already"),
        ("rooms", "Rooms", "an id is Namespace/Name-v0"),
        ("rooms", "My/Rooms", "an id is Namespace/Name-v0"),
        ("rooms", "my_maze:My/Rooms-v0", "an id is Namespace/Name-v0"),
        ("rooms", "My/Rooms-v00", "an id is Namespace/Name-v0"),
        ("rooms", "My/Rooms-v01", "an id is Namespace/Name-v0"),
        ("rooms", "AgentGym/Rooms-v0", "the namespace AgentGym"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, folder, env_id, message):
    with pytest.raises(ValueError, match=message):
        named(tmp_path / folder, env_id)


def test_nothing_is_written_over(tmp_path):
    folder = tmp_path / "rooms"
    folder.mkdir()
    names = named(folder)
    folder.joinpath("thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="is not empty: name a new folder"):
        write_package(folder, names)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_the_command_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", "rooms", "--id", "Lab/Rooms-v0"])
    assert done.exit_code == 0, done.output
    assert "cd rooms" in done.output and "agentgym-envs check rooms:Lab/Rooms-v0" in done.output
    assert Path("rooms", "rooms", "env.py").is_file()
