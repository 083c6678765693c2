"""The exported OpenEnv package, as far as it can be looked at without openenv."""

import ast
import tomllib

import pytest
from typer.testing import CliRunner

from agentgym_envs.cli import app
from agentgym_envs.integrations.openenv_package import export_package, package_name

PANTRY = "pantry:Pantry/Honey-v0"


def test_it_has_what_openenv_looks_for_and_every_file_is_whole(tmp_path):
    name = export_package(PANTRY, tmp_path / "package", {"max_turns": 3}, sessions=5)
    assert name == package_name(PANTRY) == "pantry_honey_v0"
    files = {
        path.relative_to(tmp_path / "package").as_posix(): path.read_text(encoding="utf-8")
        for path in (tmp_path / "package").rglob("*")
        if path.is_file()
    }
    assert {"openenv.yaml", "server/app.py", "server/Dockerfile", "client.py"} <= set(files)
    for path, text in files.items():
        if path.endswith(".py"):
            ast.parse(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["scripts"] == {"server": "pantry_honey_v0.server.app:main"}
    assert project["dependencies"] == ["agentgym-envs[serve]", "pantry", "openenv>=0.10,<0.11"]
    chosen = f"ENV_ID = {PANTRY!r}\nSETTINGS = {{'max_turns': 3}}\nSESSIONS = 5\n"
    assert chosen in files["server/app.py"]


def test_name_and_source_can_be_given(tmp_path):
    url = "git+https://example.org/lab/agentgym.git"
    assert export_package(PANTRY, tmp_path, name="our-pantry", source=url) == "our_pantry"
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "openenv-our-pantry"
    assert project["dependencies"][0] == f"agentgym-envs[serve] @ {url}"


def test_it_goes_into_a_new_folder_only(tmp_path):
    tmp_path.joinpath("mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="name a new folder"):
        export_package(PANTRY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("settings", "sessions", "error"),
    [
        ({"max_turns": object()}, 1, TypeError),
        ({"max_truns": 3}, 1, TypeError),
        ({}, 0, ValueError),
    ],
)
def test_what_cannot_be_served_is_not_written(tmp_path, settings, sessions, error):
    with pytest.raises(error):
        export_package(PANTRY, tmp_path / "package", settings, sessions=sessions)
    assert not (tmp_path / "package").exists()


def test_the_command_writes_it(tmp_path):
    folder = tmp_path / "package"
    line = ["export", "openenv", "AgentGym/ALFWorld-v0", str(folder)]
    ran = CliRunner().invoke(app, [*line, "--set", "difficulty=tiny", "--sessions", "2"])
    assert ran.exit_code == 0, ran.output
    assert ran.output.startswith("agentgym_alfworld_v0 in ")
    assert "SESSIONS = 2" in folder.joinpath("server/app.py").read_text()
