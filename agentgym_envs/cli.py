"""`agentgym-envs`: look at, play, check and prepare environments."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agentgym_envs import addresses
from agentgym_envs.core import TextEnv
from agentgym_envs.failures import FAILED, code_of, told, wants_traceback
from agentgym_envs.folders import demand_empty
from agentgym_envs.registration import installed, summary_of, text_envs
from agentgym_envs.retrieval.cli import app as retrieval_app
from agentgym_envs.serve.lasting import TOKEN_VARIABLE

if TYPE_CHECKING:
    from agentgym_envs.drivers.setup import Setup
    from agentgym_envs.statistics import Summary

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multi-turn text environments for language agents, behind the Gymnasium API.",
)
generate_app = typer.Typer(no_args_is_help=True, help="Write generated tasks in official formats.")
app.add_typer(generate_app, name="generate")
pack_app = typer.Typer(no_args_is_help=True, help="Turn official data into one file.")
app.add_typer(pack_app, name="pack")
export_app = typer.Typer(no_args_is_help=True, help="Write a package for another stack.")
app.add_typer(export_app, name="export")
app.add_typer(retrieval_app, name="retrieval")
out = Console()

Name = Annotated[str | None, typer.Option(help="Of the package; default: the environment's id.")]
Source = Annotated[
    str | None,
    typer.Option(help="Where pip finds agentgym-envs: git+https://..., or a folder."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Constructor argument as key=value; may be repeated."),
]


def main() -> None:
    """Run the command; an error is one line and an exit code, never a traceback.

    AGENTGYM_TRACEBACK=1 shows the traceback all the same. Modules of the working folder can be
    named, as in "my_lab:MyLab/Maze-v0".
    """
    sys.path.insert(0, os.getcwd())
    try:
        app(standalone_mode=True)
    except Exception as error:
        if wants_traceback():
            raise
        Console(stderr=True).print(f"[red]error:[/] {_escaped(told(error))}", soft_wrap=True)
        raise SystemExit(code_of(error)) from None


@app.command("list")
def list_envs(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Modules that register more, as my_maze.")
    ] = None,
) -> None:
    """The text environments: ours, those of installed packages, and those of MODULES."""
    for module in modules or ():
        addresses.module(module, "the command")
    for module, package in installed().items():
        try:
            addresses.module(module, f"the package {package}")
        except Exception as error:
            problem = f"{package}: {module} cannot be imported: {type(error).__name__}: {error}"
            typer.echo(problem, err=True)
    ids = sorted(text_envs())
    for env_id in ids:
        typer.echo(f"{env_id:<{max(map(len, ids))}}  {summary_of(env_id)}")


@app.command()
def play(
    env_id: Annotated[str, typer.Argument(help="For example AgentGym/ALFWorld-v0.")],
    settings: Settings = None,
    seed: int = 0,
    task: Annotated[str | None, typer.Option(help="Play this task.")] = None,
    web: Annotated[bool, typer.Option("--web", help="WebShop: play in the browser.")] = False,
    host: Annotated[
        str, typer.Option(help="With --web; others than loopback need --token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --web; 0: any free one.")
    ] = 8000,
    token: Annotated[str | None, typer.Option(help="With --web: what visitors must bring.")] = None,
) -> None:
    """Play an environment yourself, one action per line. Ctrl-D stops."""
    if web:
        from agentgym_envs.webshop.web import serve

        serve(
            *(env_id, _parsed(settings), seed, task, host, port, token),
            on_start=lambda address: out.print(f"shop at {address} (Ctrl-C stops)", markup=False),
        )
        return
    env = _make(env_id, settings)
    options = {"task_id": task} if task else None
    _, info = env.reset(seed=seed, options=options)
    out.print(f"[dim]{info['task_id']}; ? lists the admissible actions, Ctrl-D stops[/]")
    terminated = truncated = False
    while not (terminated or truncated):
        out.print(f"\n{_escaped(env.episode.outcome)}")
        try:
            action = out.input("[bold]> [/]")
        except (EOFError, KeyboardInterrupt):
            out.print("\nstopped")
            return
        if action.strip() == "?":
            out.print("  " + "\n  ".join(map(_escaped, info["admissible_actions"])))
            continue
        _, _, terminated, truncated, info = env.step(action)
    out.print(f"\n{_escaped(env.episode.outcome)}")
    verdict = env.verify(env.episode)
    colour = "green" if verdict.success else "yellow"
    out.print(f"[{colour}]{verdict.reason}[/] after {info['turn']} turns, score {verdict.score:g}")


@app.command()
def check(
    env_id: str,
    settings: Settings = None,
    episodes: Annotated[int, typer.Option(min=1, help="Played where several are needed.")] = 5,
) -> None:
    """Check that an environment keeps every promise of the conformance kit.

    Exit code 4 where one is broken; AGENTGYM_TRACEBACK=1 shows how.
    """
    from agentgym_envs.check import Check, CheckFailed, check_text_env
    from agentgym_envs.serve.client import RemoteEnv

    env = _make(env_id, settings)
    env.close()
    if isinstance(env, RemoteEnv):
        raise ValueError(f"its settings are the server's: check {env.served} where it is served")

    def show(done: Check) -> None:
        mark = "[green]kept[/]   "
        if done.problem or done.skipped:
            mark = "[red]broken[/] " if done.problem else "[yellow]skipped[/]"
        why = done.problem or done.skipped
        below = f"\n        {_escaped(why)}" if why else ""
        out.print(f"{mark} {done.name}{below}", soft_wrap=True)

    try:
        checks = check_text_env(env_id, episodes=episodes, on_check=show, **_parsed(settings))
    except CheckFailed as failed:
        summary = str(failed).splitlines()[0].removesuffix(":")
        out.print(f"[red]{_escaped(summary)}[/]", soft_wrap=True)
        raise typer.Exit(FAILED) from None
    skipped = sum(bool(check.skipped) for check in checks)
    but = f"; {skipped} skipped" if skipped else ""
    out.print(f"[green]{env_id} keeps all {len(checks) - skipped} promises[/]{but}", soft_wrap=True)


@app.command()
def evaluate(
    env_id: str,
    settings: Settings = None,
    policy: Annotated[
        str | None,
        typer.Option(help="One of the environment's own: random, expert (default), ..."),
    ] = None,
    tasks: Annotated[int, typer.Option(min=0, help="So many of the split; 0: all of it.")] = 0,
    seed: int = 0,
    endpoint: Annotated[
        str | None,
        typer.Option(help="A model instead: an OpenAI-compatible URL (http://localhost:8000/v1)."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Its name at the endpoint.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A prompt style's name or path. [default: default]")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="chat or turns. [default: chat]")] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="Transcript, .jsonl; one that is there is gone on with."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Episodes at a time. [default: 16]")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="[default: the endpoint's own]")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Of a reply. [default: the endpoint's own]")
    ] = None,
    request: Annotated[
        list[str] | None,
        typer.Option(help="More of each request, as key=value (top_p=0.9); may be repeated."),
    ] = None,
) -> None:
    """Play every task of a split once; success with 95 % intervals.

    By a scripted policy, or by a model behind an endpoint (key: OPENAI_API_KEY, if it wants one).
    """
    from agentgym_envs.drivers.setup import Setup
    from agentgym_envs.evaluate import play_all, yardstick
    from agentgym_envs.order import subset
    from agentgym_envs.statistics import summarise

    speech = _given(prompt=prompt, layout=layout)
    asked = _given(
        transcript=to,
        concurrency=concurrency,
        temperature=temperature,
        max_tokens=max_tokens,
        extra=_parsed(request, "--request") or None,
    )
    if endpoint is not None:
        if model is None or policy is not None:
            raise ValueError("--endpoint needs --model, and takes no --policy")
        setup = Setup(env_id=env_id, settings=_parsed(settings), **speech)
        _evaluate_endpoint(setup, endpoint, model, tasks, seed, asked)
        return
    if model is not None or speech or asked:
        named = ", ".join(["model"] * (model is not None) + [*speech, *asked])
        raise ValueError(f"only a model behind an --endpoint has settings of this kind: {named}")
    env = _make(env_id, settings)
    name = policy or "expert"
    chosen = yardstick(env, name, seed)
    ids = subset(env.tasks.ids, tasks)
    with Progress(console=Console(stderr=True)) as progress:
        played = play_all(env, chosen, ids, seed)
        judged = list(progress.track(played, len(ids), description="playing"))
    title = f"{_played(env_id, env, _parsed(settings))}, {name} policy"
    _show_summary(summarise(judged, env), title)


def _evaluate_endpoint(
    setup: "Setup", url: str, model: str, tasks: int, seed: int, asked: dict[str, Any]
) -> None:
    from agentgym_envs.drivers.openai import play_openai
    from agentgym_envs.order import subset

    env = setup.make()
    ids = subset(env.tasks.ids, tasks)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("playing", total=None)
        summary = play_openai(
            setup,
            ids,
            base_url=url,
            model=model,
            seed=seed,
            on_episode=lambda done, wanted: progress.update(bar, completed=done, total=wanted),
            **asked,
        )
    title = f"{_played(setup.env_id, env, setup.settings)}, {model}"
    _show_summary(summary, title)
    ends = ", ".join(f"{count} {reason}" for reason, count in summary.stop_reasons.items())
    lines = [f"{summary.usage}; ends: {ends}"]
    for task_id, said in list(summary.refused.items())[:1]:
        lines.append(f"{len(summary.refused)} refused, such as {task_id}: {said}")
    out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _played(env_id: str, env: TextEnv, settings: Mapping[str, Any]) -> str:
    """The environment and its split, as the settings or its first task call it."""
    split = settings.get("split") or env.tasks.task(env.tasks.ids[0]).split
    return f"{env_id}, split {split}" if split else env_id


def _show_summary(summary: "Summary", title: str) -> None:
    out.print(f"[italic]{_escaped(title)}[/]", soft_wrap=True)  # a table's own would be wrapped
    table = Table("tasks", "success [95 %]", "turns")
    for name, rate in {"all": summary.overall, **summary.by_kind}.items():
        table.add_row(_escaped(name), _escaped(str(rate)), f"{rate.mean_turns:.1f}")
    if summary.aggregates:
        table.add_section()
    for name, rate in summary.aggregates.items():
        table.add_row(_escaped(name), _escaped(str(rate)), f"{rate.mean_turns:.1f}")
    out.print(table)


@app.command()
def serve(
    env_id: Annotated[str, typer.Argument(help="For example AgentGym/ALFWorld-v0.")],
    settings: Settings = None,
    host: Annotated[str, typer.Option(help="Others than loopback need --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8765,
    token: Annotated[
        str | None, typer.Option(envvar=TOKEN_VARIABLE, help="What clients must bring.")
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Open at the same time.")] = 64,
    idle: Annotated[
        float, typer.Option(min=1, help="Seconds until an unused session ends.")
    ] = 1800,
) -> None:
    """Serve an environment over WebSocket and HTTP (OpenEnv's messages) until stopped (Ctrl-C)."""
    from agentgym_envs.serve import server

    server.serve(
        *(env_id, _parsed(settings)),
        host=host,
        port=port,
        token=token,
        limits=server.Limits(sessions=sessions, idle=idle),
        on_ready=lambda address: typer.echo(f"{env_id} at {address} (Ctrl-C stops)"),
    )


@app.command("new")
def new_package(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, as my_maze.")],
    env_id: Annotated[
        str | None, typer.Option("--id", help="As MyLab/Maze-v0; default: from the folder's name.")
    ] = None,
    source: Source = None,
) -> None:
    """Write a package with an environment of your own: a small maze that works, to be changed."""
    from agentgym_envs.new import named, write_package

    names = named(folder, env_id)
    written = write_package(folder, names, source)
    typer.echo(
        f"{len(written)} files in {folder}; README.md there has every command. To begin with:\n"
        f"    cd {folder}\n    agentgym-envs check {names.package}:{names.env_id}"
    )


@pack_app.command("alfworld")
def pack_alfworld(
    folder: Annotated[Path, typer.Argument(help="An official ALFWorld data folder.")],
    target: Annotated[Path, typer.Argument(help="The pack to write.")],
) -> None:
    """Pack an official ALFWorld folder into one indexed file that opens at once."""
    from agentgym_envs.alfworld.data import pack

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("packing", total=None)
        count = pack(
            folder, target, on_game=lambda n, total: progress.update(bar, completed=n, total=total)
        )
    typer.echo(f"{count} games in {target} ({target.stat().st_size / 1e6:.1f} MB)")


@pack_app.command("webshop")
def pack_webshop(
    folder: Annotated[Path, typer.Argument(help="A folder with the official WebShop files.")],
    target: Annotated[Path, typer.Argument(help="The store to write.")],
) -> None:
    """Read the official WebShop files once into a store, index and all, that opens at once."""
    from agentgym_envs.webshop.catalogue import Catalogue

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("reading and indexing", total=None)
        catalogue = Catalogue.load(folder)
        catalogue.save(target)
        progress.update(bar, total=1, completed=1)
    typer.echo(f"{len(catalogue)} products in {target} ({target.stat().st_size / 1e6:.1f} MB)")


@generate_app.command("alfworld")
def generate_alfworld(
    folder: Annotated[Path, typer.Argument(help="Where the official layout is written.")],
    difficulty: str = "medium",
    seed: int = 0,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; repeatable.")] = None,
    games: Annotated[int, typer.Option(help="Games a split.")] = 100,
) -> None:
    """Generate ALFWorld games in the official folder layout."""
    from agentgym_envs.alfworld.generate import SPLITS, GeneratedLibrary, write_games

    demand_empty(folder)
    splits = tuple(split or SPLITS)
    library = GeneratedLibrary(difficulty=difficulty, seed=seed, games=dict.fromkeys(splits, games))
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("generating", total=games * len(splits))
        count = write_games(library, folder, splits, on_game=lambda: progress.advance(bar))
    typer.echo(f"{count} games in {folder} (difficulty {difficulty}, seed {seed})")


@generate_app.command("webshop")
def generate_webshop(
    folder: Annotated[Path, typer.Argument(help="Where the three official files are written.")],
    difficulty: str = "full",
    seed: int = 0,
    products: Annotated[int | None, typer.Option(help="How many; default: the usual.")] = None,
) -> None:
    """Generate a WebShop catalogue with its instructions, as the three official files."""
    from agentgym_envs.webshop.generate import generated, write_official

    demand_empty(folder)
    rows = generated(products, seed, difficulty)
    write_official(rows, folder)
    typer.echo(f"{len(rows.products)} products in {folder} (difficulty {difficulty}, seed {seed})")


@generate_app.command("searchqa")
def generate_searchqa(
    folder: Annotated[Path, typer.Argument(help="Where corpus and questions are written.")],
    preset: str = "small",
    seed: int = 0,
) -> None:
    """Generate an encyclopaedia and questions on it: corpus.jsonl, train.jsonl and test.jsonl."""
    from agentgym_envs.searchqa.world import generated_world, write_world

    demand_empty(folder)
    world = generated_world(preset, seed)
    write_world(world, folder)
    asked = ", ".join(f"{len(world.questions(split))} {split}" for split in ("train", "test"))
    typer.echo(f"{len(world.passages)} passages and {asked} questions in {folder}")


@export_app.command("verifiers")
def export_verifiers(
    env_id: str,
    folder: Annotated[Path, typer.Argument(help="Where the package is written; a new folder.")],
    settings: Settings = None,
    prompt: Annotated[str, typer.Option(help="A prompt style's name or path.")] = "default",
    name: Name = None,
    source: Source = None,
) -> None:
    """Write the package by which verifiers' `vf-eval` finds an environment."""
    from agentgym_envs.drivers.setup import Setup
    from agentgym_envs.integrations.verifiers_package import export_package

    setup = Setup(env_id=env_id, settings=_parsed(settings), prompt=prompt)
    called = export_package(setup, folder, name=name, source=source)
    typer.echo(f"{folder}: pip install -e {folder} && vf-eval {called} -m MODEL --no-push")


@export_app.command("openenv")
def export_openenv(
    env_id: str,
    folder: Annotated[Path, typer.Argument(help="Where the package is written; a new folder.")],
    settings: Settings = None,
    sessions: Annotated[int, typer.Option(min=1, help="Of its server, at the same time.")] = 64,
    name: Name = None,
    source: Source = None,
) -> None:
    """Write an OpenEnv package, manifest and all, that serves an environment."""
    from agentgym_envs.integrations.openenv_package import export_package

    called = export_package(
        env_id, folder, _parsed(settings), sessions=sessions, name=name, source=source
    )
    typer.echo(f"{called} in {folder}: openenv validate {folder}")


def _make(env_id: str, settings: list[str] | None) -> TextEnv:
    from agentgym_envs.drivers.setup import make_text_env

    return make_text_env(env_id, _parsed(settings))


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _parsed(settings: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """`key=value` pairs; a value is read as JSON where it is JSON, else as text."""
    import json

    parsed: dict[str, Any] = {}
    for pair in settings or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{option} takes key=value, got {pair!r}")
        try:
            parsed[key] = json.loads(value)
        except json.JSONDecodeError:
            parsed[key] = value
    return parsed


def _escaped(text: object) -> str:
    from rich.markup import escape

    return escape(str(text))
