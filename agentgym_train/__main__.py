"""`agentgym-train` and `python -m agentgym_train`."""

import sys
from importlib.util import find_spec

from agentgym_envs.extras import install
from agentgym_envs.failures import MISSING

NEEDED = ("typer", "rich", "torch", "transformers", "pydantic", "tomli_w", "safetensors")


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"error: not installed: {', '.join(missing)}: {install('train')}", file=sys.stderr)
        sys.exit(MISSING)
    from agentgym_train.cli import main as run

    run()


if __name__ == "__main__":
    main()
