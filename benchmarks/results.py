"""What the benchmarks share: which machine this is, and their sections of RESULTS.md."""

import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


@dataclass
class Row:
    """One line of a table: every repeat's number, what it counts and what it should be."""

    work: str
    way: str
    unit: str
    numbers: list[float] = field(default_factory=list)
    wanted: str = ""

    def line(self) -> str:
        middle = shown(statistics.median(self.numbers))
        spread = f"{shown(min(self.numbers))} - {shown(max(self.numbers))}"
        return f"| {self.work} | {self.way} | {middle} | {spread} | {self.unit} | {self.wanted} |"


def shown(number: float) -> str:
    """With as many digits as the repeats are worth."""
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.4g}"


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
