"""The tables of a comparison: who stands where, who differs, at what cost, beside the papers."""

from collections.abc import Mapping, Sequence

from agentgym_train.report.findings import PHASES, Findings, Pair, Standing
from agentgym_train.report.runs import Arm
from agentgym_train.report.study import Study
from agentgym_train.report.tables import Cell, Column, Table

BEST_RULE = "best: of each run the highest held-out success after step 0, earliest of equals"
# What columns mean is said once, above the first environment's table.
_HEADLINE = (
    "Success in percent: mean over seeds of the last evaluation (final); "
    f"{BEST_RULE}, so it is chosen on the tasks it is reported on. "
    "95 % over tasks: these very runs on other tasks of the kind. Over seeds: where the mean of "
    "many more seeds lies, on these tasks. Over seeds and tasks: both, and never narrower than "
    "either. How far seeds scatter is judged from all algorithms of the environment together, "
    "since a few seeds cannot tell their own scatter; one that scatters more is given its own. One "
    "seed tells nothing of others (–). First place: share of resamples of the tasks, and of "
    "the seeds where every algorithm has several, in which the algorithm is first."
)
_PAIRS = (
    "The same tasks, paired; differences in points of success. First, these very runs on other "
    "tasks: Student's t over tasks for the interval, and an exact test that swaps the two "
    "algorithms' runs task by task (McNemar's, where each has one run). Then new seeds and tasks: "
    "the scatter of seeds as above and that of tasks, both margins squared and added (Banerjee "
    "1961); no answer (–) with one seed. Holm's correction is over the pairs of the environment. "
    "The reading goes by p at 0.05 after Holm: of new seeds and tasks, or else of these runs."
)
_KINDS = "Final success in percent, mean over seeds; number of held-out tasks in brackets."
_COST = (
    "Means over finished runs. Tokens sampled while training, evaluation left out. Tokens that the "
    "teacher read: all its forward passes, prompts included. Seconds depend on the machine and on "
    "what else ran there."
)
_AGAIN = "Columns as in the first environment's table."


def summary(found: Findings) -> str:
    """An environment's result in a few sentences, with how sure it is and what is left out."""
    if not found.standings:
        return f"{found.env}: no run is finished yet."
    leaders = [one.algorithm for one in found.standings if one.rank == 1]
    lead = found.standings[0]
    has = "have" if len(leaders) > 1 else "has"
    told = f"{found.env}: {_listed(leaders)} {has} the highest final success, {_percent(lead.rate)}"
    if lead.stability is not None and len(leaders) == 1 < len(found.standings):
        told += f", and is first in {_percent(lead.stability.first, 0)} of the resamples"
    chosen = found.baseline or lead.algorithm
    sentences = [told, *_compared(found, chosen)]
    unfinished = [name for name in found.algorithms if name not in found.done]
    if unfinished:
        sentences.append(f"Not compared, for want of a finished run: {_listed(unfinished)}")
    if len(found.done) > 1 and not found.outcomes:
        sentences.append("Nothing is tested: the runs share no held-out task")
    return "".join(f"{one}. " for one in sentences).rstrip()


def _compared(found: Findings, chosen: str) -> list[str]:
    """How one algorithm stands to all others: with new seeds, and where that is not known, in the
    runs there are."""
    known: dict[str, list[str]] = {"ahead of": [], "behind": [], "not told apart from": []}
    here: dict[str, list[str]] = {name: [] for name in known}
    for one in found.pairs:
        if chosen in (one.first, one.second):
            other = one.second if one.first == chosen else one.first
            better = one.ahead_here if one.p_holm is None else one.ahead
            how = "ahead of" if better == chosen else "behind" if better else "not told apart from"
            (here if one.p_holm is None else known)[how].append(other)
    said = []
    if any(known.values()):
        said.append(f"With new seeds and tasks, {chosen} is {_readings(known)}")
    if any(here.values()):
        said.append(f"Of these runs alone, not of new seeds: {chosen} is {_readings(here)}")
    return said


def _readings(readings: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{how} {_listed(names)}" for how, names in readings.items() if names)


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
    rows += [
        (
            *(one.name, str(one.seeds), one.rate, None, None, None),
            *(one.best, _steps(one.best_steps), None, None, one.invalid, one.turns),
        )
        for one in found.helped
    ]
    for name, arms in found.arms.items():
        if name not in found.done:
            rows.append((name, f"0 of {len(arms)}", *[None] * 10))
    rows += [(one.name, "yardstick", one.rate, *[None] * 8, one.turns) for one in found.yardsticks]
    if found.untrained and not any(one.name == "student" for one in found.yardsticks):
        rate, turns = found.untrained
        rows.append(("untrained", "yardstick", rate, *[None] * 8, turns))
    return Table(
        key=key_of("headline", place, found),
        title=f"Success on held-out tasks: {found.env}",
        columns=(
            Column("algorithm"),
            Column("seeds"),
            Column("final", "percent"),
            Column("95 % over tasks", "interval"),
            Column("95 % over seeds", "interval"),
            Column("95 % over seeds and tasks", "interval"),
            Column("best", "percent"),
            Column("best at step"),
            Column("first place", "percent"),
            Column("ranks, 95 %"),
            Column("invalid turns", "percent"),
            Column("turns", "turns"),
        ),
        rows=tuple(rows),
        note=_headline_note(place, found),
    )


def _standing_row(one: Standing, seeds: int) -> tuple[Cell, ...]:
    told = one.stability
    return (
        one.algorithm,
        f"{len(one.arms)}" if len(one.arms) == seeds else f"{len(one.arms)} of {seeds}",
        one.rate,
        one.tasks_interval,
        one.seeds_interval,
        one.both_interval,
        one.best,
        _steps(one.best_steps),
        None if told is None else told.first,
        None if told is None else _span(told.low, told.high),
        one.invalid,
        one.turns,
    )


def _headline_note(place: int, found: Findings) -> str:
    parts = [_HEADLINE if place == 0 else _AGAIN]
    if found.done and all(len(arms) == 1 for arms in found.done.values()):
        parts.append("One seed each: nothing here says how another seed would do.")
    elif found.done and found.scatter is None:
        parts.append("All seeds ended alike: nothing here says how far they scatter.")
    if found.baseline:
        parts.append(f"The others are held against {found.baseline}.")
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
            "The runs did NOT play the same tasks: intervals, ranks and tests use the "
            f"{count} they share."
        )
    return " ".join(parts)


def pairs(place: int, found: Findings) -> Table:
    """Every two algorithms, or every one and the baseline, on the same tasks."""
    rows = [
        (
            one.first,
            one.second,
            one.difference.mean,
            one.difference.over_tasks,
            f"{one.runs.first_better} : {one.runs.second_better}",
            one.runs.p,
            one.runs_p_holm,
            one.difference.interval,
            one.difference.p,
            one.p_holm,
            f"{one.seeds[0]} : {one.seeds[1]}",
            _reading(one),
        )
        for one in found.pairs
    ]
    return Table(
        key=key_of("pairs", place, found),
        title=f"Paired tests: {found.env}",
        columns=(
            Column("A"),
            Column("B"),
            Column("A − B", "points"),
            Column("95 %, these runs", "difference"),
            Column("tasks A : B did better"),
            Column("p, these runs", "p"),
            Column("Holm", "p"),
            Column("95 %, new seeds and tasks", "difference"),
            Column("p, new seeds and tasks", "p"),
            Column("Holm", "p"),
            Column("seeds"),
            Column("reading"),
        ),
        rows=tuple(rows),
        note=_PAIRS if place == 0 else _AGAIN,
    )


def _reading(one: Pair) -> str:
    if one.ahead:
        return f"{one.ahead} ahead"
    if one.ahead_here:
        return f"{one.ahead_here} ahead in these runs"
    return "tie" if one.difference.mean == 0 else "cannot be told"


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
        rows=(
            *(
                (one.algorithm, *(found.kind_rate(one.algorithm, kind) for kind in kinds))
                for one in found.standings
            ),
            *((one.name, *(one.kinds.get(kind) for kind in kinds)) for one in found.helped),
        ),
        note=_KINDS if place == 0 else _AGAIN,
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
            Column("steps", "count"),
            Column("tokens sampled", "number"),
            Column("tokens the teacher read", "number"),
            *(Column(f"{phase}, s", "seconds") for phase in PHASES),
            Column("all, s", "seconds"),
        ),
        rows=tuple(rows),
        note=_COST if place == 0 else _AGAIN,
    )


def ours(place: int, found: Findings) -> Table:
    """This report's own figures with the model and the tasks they belong to."""
    rows = []
    for one in found.standings:
        models = sorted({str(arm.settings.get("model.name", "?")) for arm in one.arms})
        shape = f"{len(one.arms)} seed{'s' * (len(one.arms) > 1)}, {one.arms[0].steps} steps"
        rows.append((one.algorithm, ", ".join(models), shape, one.rate, one.best, one.turns))
        rows += [
            (other.name, ", ".join(models), shape, other.rate, other.best, other.turns)
            for other in found.helped
            if other.algorithm == one.algorithm
        ]
    return Table(
        key=key_of("ours", place, found),
        title=f"Ours: {found.env}",
        columns=(
            Column("measured here"),
            Column("student"),
            Column("runs"),
            Column("final, %", "percent"),
            Column("best, %", "percent"),
            Column("turns", "turns"),
        ),
        rows=tuple(rows),
        note=f"Success on {len(found.tasks)} held-out tasks, measured by these runs"
        + ("." if place else f"; {BEST_RULE}."),
    )


def key_of(name: str, place: int, found: Findings) -> str:
    """A file name that no environment's name can break."""
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in found.env.lower())[:40]
    return f"{name}-{place}-{safe}"


def _how_far(arms: Sequence[Arm]) -> str:
    states = sorted({arm.state for arm in arms})
    return f"{', '.join(states)}; at step {max(arm.reached for arm in arms)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _steps(steps: Sequence[int]) -> str:
    return ", ".join(str(step) for step in sorted(set(steps)))


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"
