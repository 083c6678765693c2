"""Virtual environments for the stacks that the adapters are tested with (see stacks.toml).

    python tests/stacks.py              # all of them: make what is missing, run every test
    python tests/stacks.py trl gem      # these
    python tests/stacks.py --make trl   # make, run nothing

Each lies in .stacks/NAME and holds this checkout, the stack at its tested version, and pytest.
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACKS = tomllib.loads(ROOT.joinpath("tests/stacks.toml").read_text(encoding="utf-8"))
TESTING = ["pytest>=8.3", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.115"]


def make(name: str) -> Path:
    """The stack's Python, after installing what is not there yet."""
    home = ROOT / ".stacks" / name
    python = home / "bin" / "python"
    wanted = [*STACKS[name]["packages"], *TESTING]
    ready = home / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8").splitlines() != wanted:
        print(f"== {name}: installing {', '.join(STACKS[name]['packages'])}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted, "-e", str(ROOT)], check=True)
        ready.write_text("\n".join(wanted), encoding="utf-8")
    return python


def test(name: str) -> bool:
    """Whether the stack's tests pass in its own environment."""
    python = make(name)
    print(f"== {name}: {' '.join(STACKS[name]['tests'])}", flush=True)
    command = [
        str(python),
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "--stack",
        name,
        *STACKS[name]["tests"],
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=sorted(STACKS), help="default: all")
    parser.add_argument("--make", action="store_true", help="make them and run nothing")
    wanted = parser.parse_args()
    for name in wanted.names:
        if name not in STACKS:
            parser.error(f"no stack {name!r}; known: {', '.join(sorted(STACKS))}")
    if wanted.make:
        for name in wanted.names:
            make(name)
        return
    failed = [name for name in wanted.names if not test(name)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
