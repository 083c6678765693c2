"""All tables of a report, put together: what a page, a Markdown file and CSV files say."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentgym_train.report import ran
from agentgym_train.report.comparison import (
    by_kind,
    cost,
    headline,
    ours,
    overview,
    pairs,
    summary,
)
from agentgym_train.report.findings import Findings
from agentgym_train.report.published import published_tables
from agentgym_train.report.study import Study
from agentgym_train.report.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvTables:
    """What one environment's section shows."""

    headline: Table
    pairs: Table
    kinds: Table
    cost: Table
    ours: Table
    published: tuple[Table, ...]
    settings: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All tables of a report, in reading order: `all` has them in a row."""

    summary: tuple[str, ...]
    overview: Table
    envs: Mapping[str, EnvTables]
    warnings: Table
    arms: Table
    versions: Table
    shared: Table
    tasks: Table

    @property
    def all(self) -> list[Table]:
        by_env = list(self.envs.values())
        return [
            *([self.overview] if len(by_env) > 1 else []),
            *(one.headline for one in by_env),
            *(one.pairs for one in by_env),
            *(one.kinds for one in by_env),
            *(one.cost for one in by_env),
            self.warnings,
            *(one.ours for one in by_env),
            *(table for one in by_env for table in one.published),
            *(one.settings for one in by_env),
            self.arms,
            self.versions,
            self.shared,
            self.tasks,
        ]


def contents_of(study: Study, findings: Mapping[str, Findings]) -> Contents:
    """Every table of a report."""
    return Contents(
        summary=tuple(summary(found) for found in findings.values()),
        overview=overview(study, findings),
        envs={env: _env_tables(i, found) for i, (env, found) in enumerate(findings.items())},
        warnings=ran.warnings(study),
        arms=ran.runs(study),
        versions=ran.versions(study),
        shared=ran.shared(study),
        tasks=ran.task_lists(study, findings),
    )


def _env_tables(place: int, found: Findings) -> EnvTables:
    arms = [arm for arms in found.arms.values() for arm in arms]
    family = next((arm.family for arm in arms if arm.family), "")
    return EnvTables(
        headline=headline(place, found),
        pairs=pairs(place, found),
        kinds=by_kind(place, found),
        cost=cost(place, found),
        ours=ours(place, found),
        published=tuple(published_tables(family, {arm.kind for arm in arms})),
        settings=ran.settings_diff(place, found),
    )
