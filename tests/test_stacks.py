"""What the README says of other stacks is what the tests of each run with."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STACKS = tomllib.loads((ROOT / "tests" / "stacks.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A row of the compatibility matrix: | name | `package` version | what you get |
ROWS = dict(re.findall(r"^\| [^|]+ \| `([\w-]+)` ([\d.]+) \|", README, flags=re.M))


@pytest.mark.parametrize("name", STACKS)
def test_the_matrix_names_the_version_that_is_tested(name):
    package, version = STACKS[name]["packages"][0].split("==")
    assert ROWS.get(package) == version


def test_the_matrix_has_nothing_that_is_not_tested():
    tested = {stack["packages"][0].partition("==")[0] for stack in STACKS.values()}
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    assert set(ROWS) - tested == {"openai"}
    assert ROWS["openai"] == pinned["openai"]


def test_every_test_of_a_stack_is_there_and_belongs_to_one():
    named = [test for stack in STACKS.values() for test in stack["tests"]]
    assert all((ROOT / test).is_file() for test in named)
    assert len(named) == len(set(named))
