"""verl's own settings, composed by Hydra as its command line does."""

from pathlib import Path

import verl
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from agentgym_train.integrations.verl import overlay_folder

FOLDER = Path(verl.__file__).parent / "trainer" / "config"


def composed(*overrides: str) -> DictConfig:
    """The settings of `python -m verl.trainer.main_ppo --config-dir OURS` with these overrides."""
    GlobalHydra.instance().clear()
    searched = f"hydra.searchpath=[file://{overlay_folder()}]"
    with initialize_config_dir(str(FOLDER), version_base=None):
        return compose("ppo_trainer", overrides=[searched, *overrides])
