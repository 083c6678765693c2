"""What the benchmarks share: which machine this is, and their sections of RESULTS.md."""

import platform
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write_section(name: str, text: str) -> None:
    """Replace the section between `<!-- name -->` and `<!-- /name -->` of RESULTS.md, or append it.

    Every other byte of the file stays.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{opening}\n{text}\n{closing}"
    whole = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    before, found, after = whole.partition(opening)
    if found:
        whole = before + section + after.partition(closing)[2]
    else:
        whole = f"{before.rstrip()}\n\n{section}\n"
    RESULTS.write_text(whole, encoding="utf-8")
