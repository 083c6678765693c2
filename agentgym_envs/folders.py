"""Folders that something is written to."""

from pathlib import Path


def demand_empty(folder: Path) -> None:
    """Raise FileExistsError where a folder is a file or holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
