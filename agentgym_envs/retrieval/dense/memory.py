"""How much memory there is to load something into."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentgym_envs.retrieval.needs import needed


@dataclass(frozen=True, slots=True)
class Room:
    """Free memory of a device."""

    device: str
    free: int  # bytes


def room_of(device: str) -> Room:
    """What is free now: of a GPU as its driver says, else of the machine's memory."""
    torch = needed("torch")
    if torch.device(device).type == "cuda":
        return Room(device, torch.cuda.mem_get_info(device)[0])
    return Room(device, _free_memory())


def gigabytes(size: int) -> str:
    """A number of bytes as people read it, in units of 10^9."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _free_memory() -> int:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    pages: Callable[[str], int] = os.sysconf
    return pages("SC_PAGE_SIZE") * pages("SC_PHYS_PAGES")
