"""`agentgym-train`: thin verbs over the library."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train language agents in AgentGym environments and compare algorithms.",
)
out = Console()
note = Console(stderr=True)

# Exit codes: 0 done, 2 wrong settings or arguments, 3 something is missing, 4 training failed.
WRONG, MISSING, FAILED, INTERRUPTED = 2, 3, 4, 130

Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: a.b=value; repeatable.")
]
Out = Annotated[Path, typer.Option(help="Folder to write.")]


def main() -> None:
    """Run the command; a user's mistake is one line and an exit code, never a traceback.

    AGENTGYM_TRACEBACK=1 shows the traceback all the same. Modules of the working folder can be
    named, as in `algorithm.name = "my_lab.bounded:BoundedOPD"`.
    """
    sys.path.insert(0, os.getcwd())
    try:
        app(standalone_mode=True)
    except (ValueError, TypeError, KeyError, gym.error.Error) as error:
        _fail(error, WRONG)
    except (OSError, ImportError) as error:
        _fail(error, MISSING)
    except (FloatingPointError, RuntimeError) as error:
        _fail(error, FAILED)


@app.command()
def run(
    settings: Path, out_folder: Annotated[Path, typer.Option("--out")], set_: Set = None
) -> None:
    """Train as a TOML file says."""
    from agentgym_train.settings import Run, load
    from agentgym_train.train import train

    wanted = load(settings, Run, set_ or ())
    with _bars() as progress:
        train(wanted, out_folder, _training_bar(progress, wanted.steps))
    _show_run(out_folder)


@app.command()
def resume(folder: Path) -> None:
    """Go on with a run that was stopped, from its newest checkpoint, bit by bit the same."""
    from agentgym_train.settings import Run, load
    from agentgym_train.train import resume as go_on

    wanted = load(folder / "run.toml", Run)
    with _bars() as progress:
        start = go_on(wanted, folder, _training_bar(progress, wanted.steps))
    finished = start == wanted.steps
    note.print(f"all {start} steps were done already" if finished else f"went on from step {start}")
    _show_run(folder)


@app.command()
def warmup(
    settings: Path, out_folder: Annotated[Path, typer.Option("--out")], set_: Set = None
) -> None:
    """Train a model to imitate the environment's expert, as a TOML file says."""
    from agentgym_train.settings import Warmup, load
    from agentgym_train.warmup import warm_up

    wanted = load(settings, Warmup, set_ or ())
    with _bars() as progress:
        model = warm_up(wanted, out_folder, _warmup_bars(progress))
    typer.echo(f"model: {model}")


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A run's folder.")],
    model: Annotated[str | None, typer.Option(help="Another model: a folder or an id.")] = None,
    tasks: Annotated[int, typer.Option(help="The first so many; 0: the whole split.")] = 0,
    set_: Set = None,
) -> None:
    """Play a run's held-out tasks once each with its final model; success with 95 % intervals.

    Below it: the environment's scripted policies on the same tasks, which a trained one must beat.
    """
    from agentgym_train.evaluate import evaluate_model, evaluate_yardsticks
    from agentgym_train.settings import Run, load

    pairs = [f'model.name="{model or folder / "model"}"', f"evaluation.tasks={tasks}"]
    wanted = load(folder / "run.toml", Run, [*pairs, *(set_ or ())])
    with _bars() as progress:
        bar = progress.add_task("playing", total=None)
        summary = evaluate_model(wanted, lambda count: progress.advance(bar, count))
        bar = progress.add_task("scripted policies", total=None)
        scripted = evaluate_yardsticks(wanted, lambda count: progress.advance(bar, count))
    title = f"{wanted.env.id}, {wanted.model.name}"
    table = Table("policy", "tasks", "success [95 %]", "mean score", "turns", title=title)
    for policy, done in {"trained": summary, **scripted}.items():
        kinds = done.by_kind if done is summary else {}
        for name, rate in {"all": done.overall, **kinds}.items():
            shown = escape(str(rate)), f"{rate.mean_score:.3f}", f"{rate.mean_turns:.1f}"
            table.add_row(policy, name, *shown)
    out.print(table)


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
    from agentgym_train.report.viewer import pick, stored_episodes, write_viewer
    from agentgym_train.report.viewer_text import print_episode

    if html is not None:
        typer.echo(f"page: {write_viewer(run, html, episode=episode)}")
        return
    if episode is None:
        raise ValueError("say --episode N to read one here, or --html FILE for a page of them all")
    print_episode(pick(stored_episodes(run), episode, run), out)


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
    table = Table("phase", "success before [95 %]", "success after [95 %]", title=str(episodes))
    for name, phase in judged.phases.items():
        table.add_row(
            *(escape(str(x)) for x in (name or "all", phase.before or "not judged", phase.after))
        )
    out.print(table)
    typer.echo(
        f"{judged.episodes} episodes: {judged.gained} gained, {judged.lost} lost, "
        f"{judged.rescored} rescored, {judged.unjudged} had no verdict"
    )
    for one in judged.disagreements[:show]:
        told = f"line {one.line}, {one.task}: {one.before} -> {one.after}"
        out.print(escape(harmless(told)), soft_wrap=True, highlight=False)
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
            progress.console.print(f"step {step}: success on held-out tasks {held_out}")
        training = values.get("episode/success_rate")
        now = "" if training is None else f", training {training:.2f}"
        shown = f"training (held-out {held_out}{now})"
        progress.update(bars[0], completed=step, description=shown)

    return on_step


def _warmup_bars(progress: Progress) -> Callable[[str, int, int, float], None]:
    bars: dict[str, TaskID] = {}

    def on_progress(phase: str, done: int, total: int, loss: float) -> None:
        if phase not in bars:
            bars[phase] = progress.add_task(phase, total=total)
        shown = f"{phase} (loss {loss:.3f})" if loss else phase
        progress.update(bars[phase], completed=done, description=shown)

    return on_progress


@contextmanager
def _bars() -> Iterator[Progress]:
    """Progress bars for a long piece of work that Ctrl-C may stop."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # two kinds of bars on one terminal overwrite each other
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TimeRemainingColumn(), console=note) as progress:
            yield progress
    except KeyboardInterrupt:
        note.print("stopped; a run goes on with `agentgym-train resume FOLDER`")
        raise SystemExit(INTERRUPTED) from None


def _fail(error: Exception, code: int) -> None:
    if os.environ.get("AGENTGYM_TRACEBACK"):
        raise error
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    note.print(f"[red]error:[/] {escape(str(text))}", soft_wrap=True)
    raise SystemExit(code) from None
