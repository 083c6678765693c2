"""`agentgym-envs` and `python -m agentgym_envs`."""

import sys


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from agentgym_envs.cli import main as run
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich"):
            raise
        sys.exit(f"{missing.name} is not installed: pip install 'agentgym-envs[cli]'")
    run()


if __name__ == "__main__":
    main()
