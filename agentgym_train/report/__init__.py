"""The report: reads run folders, writes one page that needs nothing else, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.files import write_text
from agentgym_train.report.contents import contents_of
from agentgym_train.report.findings import Findings
from agentgym_train.report.page import page
from agentgym_train.report.picture import draw
from agentgym_train.report.runs import ReportError
from agentgym_train.report.study import read_study
from agentgym_train.report.tables import comma_separated, markdown

__all__ = ["ReportError", "ReportPaths", "report"]


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What was written. `csv` is a folder with one file a table. findings: environment -> what the
    files say, as numbers."""

    html: Path
    markdown: Path
    csv: Path
    picture: Path
    findings: Mapping[str, Findings]


def report(folders: Sequence[Path], out: Path) -> ReportPaths:
    """Report on runs, given as run folders, suite folders, or folders of run folders.

    Writes `report.html` (opens from disk, asks nobody for anything), `report.md`, `csv/` and
    `success.png` into `out`; an older report there is replaced. Runs that are not finished are
    shown as such.

    Runs that differ in more than their seed come under names of their own. Raises ReportError where
    a folder holds no run, or a file in one cannot be read.
    """
    study = read_study(folders, order=list(BUILT_IN))
    findings = {env: Findings(study, env) for env in study.envs}
    contents = contents_of(study, findings)
    title = study.title or "Algorithms side by side"
    names = ("report.html", "report.md", "csv", "success.png")
    paths = ReportPaths(*(out / name for name in names), findings=findings)
    paths.csv.mkdir(parents=True, exist_ok=True)
    for old in paths.csv.glob("*.csv"):
        old.unlink()
    for table in contents.all:
        (paths.csv / f"{table.key}.csv").write_text(comma_separated(table), encoding="utf-8")
    said = markdown(contents.all, title, contents.summary)
    paths.markdown.write_text(said, encoding="utf-8")
    write_text(paths.html, page(title, study, findings, contents))
    draw(findings, {name: i for i, name in enumerate(study.algorithms())}, paths.picture)
    return paths
