"""Settings of verl's trainer for each algorithm, as a Hydra group.

    python -m verl.trainer.main_ppo --config-dir FOLDER +agentgym=atod ...

The values are those of benchmarks/runs/alfworld as far as verl has the setting.
"""

from pathlib import Path


def overlay_folder() -> Path:
    """The folder to give to `--config-dir`."""
    return Path(__file__).parent
