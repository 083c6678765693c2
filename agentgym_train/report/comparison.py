"""The tables of a comparison: who stands where, who differs, at what cost, beside the papers."""

from collections.abc import Mapping, Sequence

from agentgym_train.report.findings import PHASES, Findings, Standing
from agentgym_train.report.runs import Arm, Study
from agentgym_train.report.tables import Cell, Column, Table

BEST_RULE = "best: of each run the highest held-out success after step 0, earliest of equals"
# What columns mean is said once, above the first environment's table.
_HEADLINE = (
    "Success in percent: mean over seeds of the last evaluation (final); "
    f"{BEST_RULE}, so it is chosen on the tasks it is reported on. "
    "Over seeds: Student's t, for another run on these tasks. Over seeds and tasks: for another "
    "run on other tasks of the kind; with one seed, Wilson's interval over tasks alone. First "
    "place: share of resamples of seeds and tasks in which the algorithm leads."
)
_PAIRS = (
    "The same tasks and seeds, paired; differences in points of success. The first test "
    "(Student's t with seeds and tasks as crossed random effects) asks whether the algorithms "
    "would differ with new seeds and tasks; with one seed it speaks of new tasks only. McNemar's "
    "exact test, over all seeds' tasks together, asks only whether these very runs differ. Holm's "
    "correction is over the pairs of the environment. The reading goes by the first test at 0.05 "
    "after Holm."
)
_KINDS = "Final success in percent, mean over seeds; number of held-out tasks in brackets."
_COST = (
    "Means over finished runs. Tokens sampled while training, evaluation left out. The teacher "
    "scores a step's rows once, prompts included. Seconds depend on the machine and on what else "
    "ran there."
)


def summary(found: Findings) -> str:
    """An environment's result in a sentence or two, with how sure it is."""
    if not found.standings:
        return f"{found.env}: no run is finished yet."
    lead = found.standings[0]
    told = f"{found.env}: {lead.algorithm} has the highest final success, {100 * lead.rate:.1f} %"
    if lead.stability is not None and len(found.standings) > 1:
        told += f", and leads in {100 * lead.stability.first:.0f} % of resamples"
    seeds: list[int] = []
    readings: dict[str, list[str]] = {"ahead of": [], "not told apart from": []}
    for one in found.pairs:
        if lead.algorithm in (one.first, one.second):
            seeds.append(one.difference.seeds)
            other = one.second if one.first == lead.algorithm else one.first
            above = one.difference.mean * (1 if one.first == lead.algorithm else -1) > 0
            surely = above and one.p_holm < 0.05
            readings["ahead of" if surely else "not told apart from"].append(other)
    said = [f"{how} {_listed(names)}" for how, names in readings.items() if names]
    tested = f" Paired over {_paired_over(min(seeds))}: {'; '.join(said)}." if said else ""
    return f"{told}.{tested}"


def overview(study: Study, findings: Mapping[str, Findings]) -> Table:
    """Final success of every algorithm on every environment."""
    rates = {
        env: {one.algorithm: one.rate for one in found.standings} for env, found in findings.items()
    }
    rows = []
    for name in study.algorithms():
        cells = [told.get(name) for told in rates.values()]
        known = [cell for cell in cells if cell is not None]
        mean = sum(known) / len(known) if len(known) == len(cells) else None
        rows.append((name, *cells, mean))
    rows.sort(key=lambda row: -(row[-1] if row[-1] is not None else -1.0))
    return Table(
        key="overview",
        title="Final success, all environments",
        columns=(
            Column("algorithm"),
            *(Column(env, "percent") for env in findings),
            Column("mean", "percent"),
        ),
        rows=tuple(rows),
        note="In percent, mean over seeds of the last evaluation.",
    )


def headline(place: int, found: Findings) -> Table:
    """Algorithms by rank, then those without a finished run, then what they are held against."""
    rows = [_standing_row(one, len(found.arms[one.algorithm])) for one in found.standings]
    for name, arms in found.arms.items():
        if name not in found.done:
            rows.append((name, f"0 of {len(arms)}", *[None] * 10))
    rows += [(one.name, "yardstick", one.rate, *[None] * 8, one.turns) for one in found.yardsticks]
    if found.untrained and not any(one.name == "student" for one in found.yardsticks):
        rate, turns = found.untrained
        rows.append(("untrained", "yardstick", rate, *[None] * 8, round(turns, 1)))
    return Table(
        key=key_of("headline", place, found),
        title=f"Success on held-out tasks: {found.env}",
        columns=(
            Column("algorithm"),
            Column("seeds"),
            Column("final", "percent"),
            Column("95 % over seeds", "interval"),
            Column("95 % over seeds and tasks", "interval"),
            Column("best", "percent"),
            Column("best at step"),
            Column("rank", "count"),
            Column("first place", "percent"),
            Column("ranks, 95 %"),
            Column("invalid turns", "percent"),
            Column("turns", "number"),
        ),
        rows=tuple(rows),
        note=_headline_note(place, found),
    )


def _standing_row(one: Standing, seeds: int) -> tuple[Cell, ...]:
    told = one.stability
    ranks = None if told is None else _span(told.low, told.high)
    return (
        one.algorithm,
        f"{len(one.arms)}" if len(one.arms) == seeds else f"{len(one.arms)} of {seeds}",
        one.rate,
        one.seeds_interval,
        one.both_interval,
        one.best,
        ", ".join(str(step) for step in sorted(set(one.best_steps))),
        one.rank,
        None if told is None else told.first,
        ranks,
        one.invalid,
        round(one.turns, 1),
    )


def _headline_note(place: int, found: Findings) -> str:
    parts = [_HEADLINE] if place == 0 else []
    if found.done and all(len(arms) == 1 for arms in found.done.values()):
        parts.append("One seed each: nothing here says how another seed would do.")
    missing = [
        f"{name} ({_how_far(found.arms[name])})" for name in found.arms if name not in found.done
    ]
    if missing:
        parts.append(f"Not finished: {', '.join(missing)}.")
    count = len(found.tasks)
    if found.same_tasks:
        parts.append(f"{count} tasks that every finished run played.")
    else:
        parts.append(
            f"The runs did NOT play the same tasks: intervals over tasks, ranks and tests use the "
            f"{count} they share."
        )
    return " ".join(parts)


def pairs(place: int, found: Findings) -> Table:
    """Every two algorithms on the same tasks and seeds."""
    rows = []
    for one in found.pairs:
        seeds = one.difference.seeds
        rows.append(
            (
                one.first,
                one.second,
                one.difference.mean,
                one.difference.interval,
                one.difference.p,
                one.p_holm,
                f"{one.runs.only_first} : {one.runs.only_second}",
                one.runs.p,
                one.runs_p_holm,
                float(seeds),
                _reading(one.first, one.second, one.difference.mean, one.p_holm, seeds),
            )
        )
    return Table(
        key=key_of("pairs", place, found),
        title=f"Paired tests: {found.env}",
        columns=(
            Column("A"),
            Column("B"),
            Column("A − B", "points"),
            Column("95 %", "difference"),
            Column("p", "p"),
            Column("p, Holm", "p"),
            Column("only A : only B"),
            Column("McNemar p", "p"),
            Column("McNemar p, Holm", "p"),
            Column("seeds", "count"),
            Column("reading"),
        ),
        rows=tuple(rows),
        note=_once(_PAIRS, place),
    )


def _reading(first: str, second: str, mean: float, p: float, seeds: int) -> str:
    if p >= 0.05:
        return "cannot be told"
    ahead = first if mean > 0 else second
    return f"{ahead} ahead" if seeds > 1 else f"{ahead} ahead, for this seed"


def by_kind(place: int, found: Findings) -> Table:
    """Final success on each kind of task."""
    kinds = found.kinds
    return Table(
        key=key_of("kinds", place, found),
        title=f"By kind of task: {found.env}",
        columns=(
            Column("algorithm"),
            *(Column(f"{kind} ({count})", "percent") for kind, count in kinds.items()),
        ),
        rows=tuple(
            (one.algorithm, *(found.kind_rate(one.algorithm, kind) for kind in kinds))
            for one in found.standings
        ),
        note=_once(_KINDS, place),
    )


def cost(place: int, found: Findings) -> Table:
    """What a run of each algorithm took."""
    rows = []
    for name in found.algorithms:
        told = found.cost(name)
        if told is not None:
            total = sum(told.seconds.values())
            seconds = [told.seconds[phase] for phase in PHASES]
            rows.append((name, told.runs, told.steps, told.sampled, told.taught, *seconds, total))
    return Table(
        key=key_of("cost", place, found),
        title=f"Cost of a run: {found.env}",
        columns=(
            Column("algorithm"),
            Column("runs", "count"),
            Column("steps", "number"),
            Column("tokens sampled", "number"),
            Column("tokens scored by the teacher", "number"),
            *(Column(f"{phase}, s", "number") for phase in PHASES),
            Column("all, s", "number"),
        ),
        rows=tuple(rows),
        note=_once(_COST, place),
    )


def ours(place: int, found: Findings) -> Table:
    """This report's own figures with the model and the tasks they belong to."""
    rows = []
    for one in found.standings:
        models = sorted({str(arm.settings.get("model.name", "?")) for arm in one.arms})
        shape = f"{len(one.arms)} seed{'s' * (len(one.arms) > 1)}, {one.arms[0].steps} steps"
        rows.append((one.algorithm, ", ".join(models), shape, one.rate, one.best, one.turns))
    return Table(
        key=key_of("ours", place, found),
        title=f"Ours: {found.env}",
        columns=(
            Column("measured here"),
            Column("student"),
            Column("runs"),
            Column("final, %", "percent"),
            Column("best, %", "percent"),
            Column("turns", "number"),
        ),
        rows=tuple(rows),
        note=f"Success on {len(found.tasks)} held-out tasks, measured by these runs; {BEST_RULE}.",
    )


def _once(said: str, place: int) -> str:
    return said if place == 0 else ""


def key_of(name: str, place: int, found: Findings) -> str:
    """A file name that no environment's name can break."""
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in found.env.lower())[:40]
    return f"{name}-{place}-{safe}"


def _how_far(arms: Sequence[Arm]) -> str:
    states = sorted({arm.state for arm in arms})
    return f"{', '.join(states)}; at step {max(arm.reached for arm in arms)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _paired_over(seeds: int) -> str:
    return "the tasks of one seed" if seeds == 1 else f"tasks and at least {seeds} seeds"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
