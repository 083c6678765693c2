"""The package for verifiers, written where verifiers is not installed."""

import ast
import tomllib
from dataclasses import replace
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from agentgym_envs.cli import app
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.integrations.verifiers_package import export_package

SHOP = Setup(env_id="AgentGym/WebShop-v0", settings={"difficulty": "tiny", "data": None})


def defaults(text: str) -> dict:
    """The fields of the module's Config, as Python reads them."""
    (config,) = (
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    fields = [node for node in config.body if isinstance(node, ast.AnnAssign) and node.value]
    return {ast.unparse(node.target): ast.literal_eval(node.value) for node in fields}


def test_the_module_carries_the_setup_and_the_name_finds_it(tmp_path):
    assert export_package(SHOP, tmp_path / "new") == "agentgym-webshop-v0"
    text = (tmp_path / "new" / "agentgym_webshop_v0.py").read_text(encoding="utf-8")
    assert defaults(text) == {
        "env_id": SHOP.env_id,
        "settings": SHOP.settings,
        "prompt_style": "default",
    }
    project = tomllib.loads((tmp_path / "new" / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == "agentgym-webshop-v0"
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"only-include": ["agentgym_webshop_v0.py"]}


def test_an_environment_of_another_package_is_named_without_its_module(tmp_path):
    assert export_package(Setup(env_id="pantry:Pantry/Honey-v0"), tmp_path) == "pantry-honey-v0"
    text = (tmp_path / "pantry_honey_v0.py").read_text(encoding="utf-8")
    assert defaults(text)["env_id"] == "pantry:Pantry/Honey-v0"


def test_name_and_source_can_be_given(tmp_path):
    url = "git+https://example.org/lab/agentgym.git"
    given = ["--name", "our-shop", "--source", url]
    done = CliRunner().invoke(app, ["export", "verifiers", SHOP.env_id, str(tmp_path), *given])
    assert done.exit_code == 0 and "vf-eval our-shop" in done.output
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "our-shop" and (tmp_path / "our_shop.py").is_file()
    assert project["dependencies"][0] == f"agentgym-envs @ {url}"
    for wrong in ("our shop", "2shops", "Shop", ""):
        with pytest.raises(ValueError, match="a package's name is as my_maze or my-maze"):
            export_package(SHOP, tmp_path / "other", name=wrong)


def test_what_cannot_be_played_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="layout 'turns' has no place"):
        export_package(replace(SHOP, layout="turns"), tmp_path / "new")
    with pytest.raises(ValueError, match="no prompt style 'lost'"):
        export_package(replace(SHOP, prompt="lost"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty: name a new folder"):
        export_package(SHOP, tmp_path)


def test_the_command_says_what_to_do_next(tmp_path):
    command = ["export", "verifiers", SHOP.env_id, str(tmp_path / "new"), "--set", "max_turns=4"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "vf-eval agentgym-webshop-v0" in done.output
    text = (tmp_path / "new" / "agentgym_webshop_v0.py").read_text(encoding="utf-8")
    assert defaults(text)["settings"] == {"max_turns": 4}


@pytest.mark.skipif(find_spec("verifiers") is not None, reason="verifiers is installed here")
def test_the_adapter_without_verifiers_says_what_to_install():
    with pytest.raises(ImportError, match=r'pip install "verifiers>=0\.4,<0\.5"'):
        import agentgym_envs.integrations.verifiers  # noqa: F401
