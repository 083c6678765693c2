"""`agentgym-envs` and `python -m agentgym_envs`."""

import sys

from agentgym_envs.extras import install
from agentgym_envs.failures import MISSING


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from agentgym_envs.cli import main as run
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich"):
            raise
        print(f"error: {missing.name} is not installed: {install('cli')}", file=sys.stderr)
        sys.exit(MISSING)
    run()


if __name__ == "__main__":
    main()
