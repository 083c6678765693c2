"""`agentgym-train`: thin verbs over the library."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from agentgym_envs.failures import FAILED, INTERRUPTED, code_of, told, wants_traceback

if TYPE_CHECKING:
    from agentgym_envs.statistics import Summary

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train language agents in AgentGym environments and compare algorithms.",
)
out = Console()
note = Console(stderr=True)

Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: a.b=value; repeatable.")
]
Out = Annotated[Path, typer.Option(help="Folder to write.")]


def main() -> None:
    """Run the command; an error is one line and an exit code, never a traceback.

    AGENTGYM_TRACEBACK=1 shows the traceback all the same. Modules of the working folder can be
    named, as in `algorithm.name = "my_lab.bounded:BoundedOPD"`.
    """
    sys.path.insert(0, os.getcwd())
    try:
        app(standalone_mode=True)
    except Exception as error:
        if wants_traceback():
            raise
        note.print(f"[red]error:[/] {escape(told(error))}", soft_wrap=True)
        raise SystemExit(code_of(error)) from None


@app.command()
def run(
    settings: Path, out_folder: Annotated[Path, typer.Option("--out")], set_: Set = None
) -> None:
    """Train as a TOML file says. Its paths are relative to where you are."""
    from agentgym_train.settings import Run, load
    from agentgym_train.train import train

    wanted = load(settings, Run, set_ or ())
    with _bars(f"agentgym-train resume {out_folder}") as progress:
        train(wanted, out_folder, _training_bar(progress, wanted.steps))
    _show_run(out_folder)


@app.command()
def resume(folder: Path) -> None:
    """Go on with a run that was stopped, from its newest checkpoint, bit by bit the same."""
    from agentgym_train import checkpoint
    from agentgym_train.settings import Run, load
    from agentgym_train.train import resume as go_on

    wanted = load(_settings_of(folder), Run)
    start = checkpoint.latest_step(folder / "checkpoints")
    finished = start == wanted.steps
    note.print(f"all {start} steps are done" if finished else f"going on from step {start}")
    with _bars(f"agentgym-train resume {folder}") as progress:
        go_on(wanted, folder, _training_bar(progress, wanted.steps))
    _show_run(folder)


@app.command()
def warmup(
    settings: Path,
    out_folder: Annotated[Path, typer.Option("--out")],
    tasks: Annotated[
        int, typer.Option(min=0, help="Play so many with the model afterwards; 0: none.")
    ] = 100,
    set_: Set = None,
) -> None:
    """Train a model to imitate the environment's expert, as a TOML file says.

    Then play with it, beside the environment's scripted policies.
    """
    from agentgym_train.settings import Warmup, load
    from agentgym_train.warmup import examine, warm_up

    wanted = load(settings, Warmup, set_ or ())
    with _bars("the same command, after removing OUT") as progress:
        model = warm_up(wanted, out_folder, _warmup_bars(progress))
    if tasks:
        shown = examine(wanted, model, tasks)
        out.print(_success_table(wanted.env.id, shown))
        if "random" in shown and shown["warmed up"].overall.rate < shown["random"].overall.rate:
            note.print("[yellow]worse than random:[/] there is little to learn from such a start")
    typer.echo(f"model: {model}")


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A run's folder.")],
    model: Annotated[
        str | None, typer.Option(help="Another model: a folder, such as RUN/best, or an id.")
    ] = None,
    tasks: Annotated[
        int | None, typer.Option(min=0, help="So many; 0: the whole split. Default: the run's.")
    ] = None,
    set_: Set = None,
) -> None:
    """Play a run's held-out tasks once each with its final model; success with 95 % intervals.

    Where the student trained with skills in its prompt: without and with them. Below it: the
    environment's scripted policies on the same tasks, which a trained one must beat.
    """
    from agentgym_train import checkpoint
    from agentgym_train.evaluate import PLAIN, evaluate_model, evaluate_yardsticks
    from agentgym_train.settings import Run, load

    file = _settings_of(folder)
    if model is None and not (folder / "model").exists():
        raise FileNotFoundError(
            f"{folder} holds no final model: its run is not finished. Finish it with "
            f"`agentgym-train resume {folder}`, or name a model with --model"
        )
    pairs = [f'model.name="{model or folder / "model"}"']
    pairs += [] if tasks is None else [f"evaluation.tasks={tasks}"]
    wanted = load(file, Run, [*pairs, *(set_ or ())])
    learnt = checkpoint.state_of(folder / "checkpoints").get("skills")
    with _bars("the same command") as progress:
        bar = _counting_bar(progress, "playing")
        phases = evaluate_model(wanted, bar, skills_state=learnt)
        bar = _counting_bar(progress, "scripted policies")
        scripted = evaluate_yardsticks(wanted.env, wanted.evaluation.tasks, wanted.seed, bar)
    named = {phase.replace(PLAIN, model or "trained"): done for phase, done in phases.items()}
    out.print(_success_table(wanted.env.id, {**named, **scripted}, by_kind=tuple(named)))


@app.command()
def compare(
    suite: Path,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write, or to go on in.")],
    workers: Annotated[int, typer.Option(help="Runs at a time; 0: one a GPU, or one a core.")] = 0,
    gpus: Annotated[str, typer.Option(help="As 0,1: given to the workers in turn.")] = "",
    only: Annotated[list[str] | None, typer.Option(help='Arms, as "alfworld/atod-*".')] = None,
    set_: Set = None,
) -> None:
    """Play every arm of a suite: environments x algorithms x seeds. Stop and start it at will.

    Ends with the report that `agentgym-train report` writes, in OUT/report.
    """
    from agentgym_train.suite import compare as play
    from agentgym_train.suite import load_suite
    from agentgym_train.suite_progress import Board, ending

    wanted, cards = load_suite(suite, set_ or ()), [one for one in gpus.split(",") if one]
    count = workers or len(cards) or os.cpu_count() or 1
    try:
        with Board(note) as board:
            outcome = play(
                wanted,
                out_folder,
                workers=count,
                gpus=cards,
                only=only or (),
                on_progress=board.show,
            )
    except KeyboardInterrupt:
        note.print("stopped; the same command goes on")
        raise SystemExit(INTERRUPTED) from None
    ending(outcome, note)
    if outcome.done:
        _show_report([out_folder], out_folder / "report")
    if outcome.broken:
        raise SystemExit(FAILED)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Runs, suites, or folders of runs.")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Default: report/ in the first folder.")
    ] = None,
) -> None:
    """Compare runs: one page that opens from disk, and the same tables as Markdown and CSV."""
    _show_report(runs, out_folder or runs[0] / "report")


@app.command()
def view(
    run: Annotated[Path, typer.Argument(help="A run's folder, or an episodes file.")],
    episode: Annotated[int | None, typer.Option(min=1, help="Its line, from 1.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to read all episodes in.")] = None,
) -> None:
    """Read episodes: one in the terminal, or all of them in a page that works from disk."""
    from agentgym_train.report.viewer import pick, write_viewer
    from agentgym_train.report.viewer_text import print_episode

    if html is not None:
        typer.echo(f"page: {write_viewer(run, html, episode=episode)}")
        return
    if episode is None:
        raise ValueError("say --episode N to read one here, or --html FILE for a page of them all")
    print_episode(pick(run, episode), out)


@app.command()
def judge(
    episodes: Annotated[Path, typer.Argument(help="An episodes file, or a run's folder.")],
    env: Annotated[str | None, typer.Option(help="Judge as this environment does.")] = None,
    verifier: Annotated[str | None, typer.Option(help="'package.module:function'.")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the new verdicts.")] = None,
    show: Annotated[int, typer.Option(help="Disagreements to list.")] = 20,
) -> None:
    """Judge stored episodes again, without an environment."""
    from agentgym_train.judge import env_of, find_verifier, judge_file, verifier_of
    from agentgym_train.report.viewer_text import harmless

    if env and verifier:
        raise ValueError("say --env or --verifier, not both")
    verify = find_verifier(verifier) if verifier else verifier_of(env or env_of(episodes))
    judged = judge_file(episodes, verify, out_file)
    table = Table("played in", "success before [95 %]", "success after [95 %]", title=str(episodes))
    for name, phase in judged.phases.items():
        table.add_row(*(escape(str(x)) for x in (name, phase.before or "not judged", phase.after)))
    out.print(table)
    typer.echo(
        f"{judged.episodes} episodes: {judged.gained} gained, {judged.lost} lost, "
        f"{judged.rescored} rescored, {judged.unjudged} had no verdict"
    )
    for one in judged.disagreements[:show]:
        change = f"line {one.line}, {one.task}: {one.before} -> {one.after}"
        out.print(escape(harmless(change)), soft_wrap=True, highlight=False)
    if len(judged.disagreements) > show:
        typer.echo(f"and {len(judged.disagreements) - show} more")
    if judged.out:
        typer.echo(f"written: {judged.out}")


@app.command()
def doctor(stack: Annotated[str, typer.Argument(help="A trainer we plug into: verl.")]) -> None:
    """Load our plug-in for another trainer aloud, since that trainer hides what goes wrong."""
    from agentgym_train.integrations.doctor import check

    for line in check(stack):
        typer.echo(line)


def _settings_of(folder: Path) -> Path:
    """The settings of the run in a folder. Raises FileNotFoundError where there is none."""
    if not (folder / "run.toml").exists():
        kind = "a warm-up's folder" if (folder / "warmup.toml").exists() else "no run's folder"
        raise FileNotFoundError(f"{folder} is {kind}: it has no run.toml")
    return folder / "run.toml"


def _success_table(
    title: str, summaries: "Mapping[str, Summary]", by_kind: Sequence[str] = ()
) -> Table:
    """Policies by name, and those of `by_kind` also for every kind of task and in the averages of
    the environment's own."""
    table = Table("policy", "tasks", "success [95 %]", "mean score", "turns", title=escape(title))
    for policy, done in summaries.items():
        kinds = {**done.by_kind, **done.aggregates} if policy in by_kind else {}
        for name, rate in {"all": done.overall, **kinds}.items():
            shown = str(rate), f"{rate.mean_score:.3f}", f"{rate.mean_turns:.1f}"
            table.add_row(*map(escape, (policy, name, *shown)))
    return table


def _show_run(folder: Path) -> None:
    from agentgym_train.plot import plot_success

    typer.echo(f"metrics: {folder / 'metrics.jsonl'}\nmodel: {folder / 'model'}")
    typer.echo(f"plot: {plot_success(folder, folder.name)}")


def _show_report(runs: list[Path], folder: Path) -> None:
    from agentgym_train.report import report
    from agentgym_train.report.terminal import standings_table

    paths = report(runs, folder)
    for found in paths.findings.values():
        if found.done:
            out.print(standings_table(found))
    typer.echo(f"page: {paths.html}\npicture: {paths.picture}")
    typer.echo(f"Markdown: {paths.markdown}\nCSV: {paths.csv}")


def _training_bar(progress: Progress, steps: int) -> Callable[[int, dict[str, float]], None]:
    bars: list[TaskID] = []
    held_out = "?"

    def on_step(step: int, values: dict[str, float]) -> None:
        nonlocal held_out
        if not bars:
            bars.append(progress.add_task("training", total=steps))
        if "val/success_rate" in values:
            held_out = f"{values['val/success_rate']:.3f}"
            progress.console.print(f"step {step}: success on evaluation tasks {held_out}")
        training = values.get("episode/success_rate")
        now = "" if training is None else f", training {training:.2f}"
        shown = f"training (evaluation {held_out}{now})"
        progress.update(bars[0], completed=step, description=shown)

    return on_step


def _counting_bar(progress: Progress, title: str) -> Callable[[int, int], None]:
    bar = progress.add_task(title, total=None)
    return lambda count, total: progress.update(bar, advance=count, total=total)


def _warmup_bars(progress: Progress) -> Callable[[str, int, int, float], None]:
    bars: dict[str, TaskID] = {}

    def on_progress(phase: str, done: int, total: int, loss: float) -> None:
        if phase not in bars:
            bars[phase] = progress.add_task(phase, total=total)
        shown = f"{phase} (loss {loss:.3f})" if loss else phase
        progress.update(bars[phase], completed=done, description=shown)

    return on_progress


@contextmanager
def _bars(again: str) -> Iterator[Progress]:
    """Progress bars for a long piece of work that Ctrl-C may stop; `again` goes on with it."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # two kinds of bars on one terminal overwrite each other
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(
            *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=note
        ) as progress:
            yield progress
    except KeyboardInterrupt:
        note.print(f"stopped; to go on: {escape(again)}", soft_wrap=True)
        raise SystemExit(INTERRUPTED) from None
