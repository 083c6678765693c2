"""`agentgym-train` and `python -m agentgym_train`."""

import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "torch", "transformers", "pydantic", "tomli_w", "safetensors")


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}: pip install 'agentgym-envs[train]'")
    from agentgym_train.cli import main as run

    run()


if __name__ == "__main__":
    main()
