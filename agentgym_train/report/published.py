"""What the papers print, kept apart from what was measured here."""

import tomllib
from collections.abc import Collection
from functools import cache
from importlib.resources import files

from agentgym_train.report.tables import Column, Table

_ALWAYS = ("teacher", "untrained")


def published_tables(family: str, kinds: Collection[str]) -> list[Table]:
    """The printed tables of an environment ("ALFWorld") that have one of these algorithms.

    Only their rows, the teacher's and the untrained model's are given.
    """
    tables = []
    for i, printed in enumerate(_printed()):
        rows = {
            name: cells
            for name, cells in printed["rows"].items()
            if name in _ALWAYS or name.partition(",")[0] in kinds
        }
        if printed["family"] != family or not rows.keys() - set(_ALWAYS):
            continue
        about = (
            f"Metric: {printed['metric']}. Tasks: {printed['tasks']}. Model: {printed['model']}."
        )
        tables.append(
            Table(
                key=f"published-{i:02d}",
                title=f"Published: {printed['paper']}, {family}",
                columns=(Column("published"), *(Column(c, "figure") for c in printed["columns"])),
                rows=tuple((name, *(cell or None for cell in rows[name])) for name in rows),
                note=f"{about} {printed.get('note', '')}".strip(),
            )
        )
    return tables


@cache
def _printed() -> list[dict]:
    path = files("agentgym_train.report") / "published.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["table"]
