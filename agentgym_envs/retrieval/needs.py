"""Optional packages: imported where they are used, and named when they are missing."""

from importlib import import_module
from typing import Any

_INSTALL = {"faiss": "faiss-cpu"}


def needed(module: str) -> Any:
    """The module, imported. Raises ModuleNotFoundError naming the command that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        package = _INSTALL.get(module, module)
        raise ModuleNotFoundError(
            f"{package} is not installed and this retriever needs it: pip install {package}",
            name=module,
        ) from error
