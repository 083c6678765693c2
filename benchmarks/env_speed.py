"""How fast is ALFWorld, and how much memory does it take?

    python benchmarks/env_speed.py                  # generated games, a table on the screen
    python benchmarks/env_speed.py --data FOLDER    # games of an official folder
    python benchmarks/env_speed.py --write          # put the table in RESULTS.md

Every repeat draws other games and other commands from its seed. The commands are random walks of
admissible ones, several to a game, made beforehand on other copies of the games, so that whatever
an engine remembers it has to learn within the time. The clock counts CPU-seconds of this process
with one thread, so that other work on the machine disturbs little.
"""

import argparse
import contextlib
import gc
import importlib.metadata
import importlib.util
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import gymnasium as gym
from results import RESULTS, Row, processor, shown, write_section

from agentgym_envs.alfworld.data import GameLibrary
from agentgym_envs.alfworld.env import ALFWorldEnv, open_library
from agentgym_envs.alfworld.generate import GeneratedLibrary, write_games
from agentgym_envs.prompts import load_style
from agentgym_envs.vector import TextVectorEnv

ENV_ID = "AgentGym/ALFWorld-v0"
MAX_TURNS = 50
RESETS = 100_000
ENVIRONMENTS = (1, 16, 256)
THOUGHT = "I have not found it here, so I should look in the next place where it may be."
IMPORT = (
    "import time; start = time.process_time(); import agentgym_envs; "
    "print(time.process_time() - start)"
)
Walk = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Games:
    """Games on disk, and what is played in them: (game id, commands) until won or 50 turns."""

    data: Path
    split: str
    walks: tuple[Walk, ...]

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(id for id, _ in self.walks))

    def settings(self, **more: Any) -> dict[str, Any]:
        """Arguments of an environment that opens these games anew, nothing compiled."""
        open_library.cache_clear()
        return {"data": str(self.data), "split": self.split, "max_turns": MAX_TURNS, **more}


def main() -> None:
    args = _arguments()
    rows: list[Row] = []
    for measure in (stepping, many, resetting, engines, memory, flatness, importing):
        rows += measure(args)
        print(f"{measure.__name__} done", file=sys.stderr)
    table = "\n".join([*_heading(args), *[row.line() for row in rows]])
    if importlib.util.find_spec("textworld") is None:
        table += "\n\nNative against textworld: not measured: install [alfworld]."
    print(table)
    if args.write:
        write_section("env_speed", table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="official folder or pack; default: generated")
    parser.add_argument("--split", default="train", help="of --data")
    parser.add_argument("--difficulty", default="medium", help="of generated games")
    parser.add_argument("--seed", type=int, default=0, help="of the first repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--games", type=int, default=24, help="games a repeat")
    parser.add_argument("--walks", type=int, default=8, help="walks a game")
    parser.add_argument("--compared", type=int, default=2, help="games a repeat in both engines")
    parser.add_argument("--note", default="", help="said in the heading, about the machine")
    parser.add_argument("--write", action="store_true", help=f"put the table in {RESULTS.name}")
    return parser.parse_args()


# -- what is played


@contextlib.contextmanager
def _games(args: argparse.Namespace, seed: int, count: int, walks: int) -> Iterator[Games]:
    """Games and commands of one repeat; generated games lie in a temporary folder."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        data, split = args.data, args.split
        if data is None:
            data, split = Path(folder), "train"
            made = GeneratedLibrary(args.difficulty, seed=seed, games={split: count})
            write_games(made, data, [split])
        library = GameLibrary(data)
        ids = library.ids(split)
        chosen = rng.sample(ids, min(count, len(ids)))
        played = tuple(_walk(library, id, rng) for id in chosen for _ in range(walks))
        yield Games(data, split, played)


def _walk(library: GameLibrary, id: str, rng: random.Random) -> Walk:
    state = library.world(id).start()
    commands = []
    while len(commands) < MAX_TURNS and not state.won:
        commands.append(rng.choice(state.admissible()))
        state.act(commands[-1])
    return id, tuple(commands)


def _repeats(args: argparse.Namespace) -> Iterator[Games]:
    for seed in range(args.seed, args.seed + args.repeats):
        with _games(args, seed, args.games, args.walks) as games:
            yield games


def _framed(walks: tuple[Walk, ...]) -> tuple[Walk, ...]:
    """The commands as a language model writes them."""
    return tuple(
        (id, tuple(f"<think>{THOUGHT}</think>\n<action>{one}</action>" for one in commands))
        for id, commands in walks
    )


def _play(env: Any, walks: tuple[Walk, ...], look: Callable[[Any], Any] | None = None) -> float:
    """Steps per second of an environment whose games are all compiled."""
    for id, _ in walks:
        env.reset(options={"task_id": id})
    seconds, steps = 0.0, 0
    for id, responses in walks:
        env.reset(options={"task_id": id})
        gc.collect(0)
        start = process_time()
        for response in responses:
            if look is not None:
                look(env)
            env.step(response)
        seconds += process_time() - start
        steps += len(responses)
    return steps / seconds


# -- what is measured


def stepping(args: argparse.Namespace) -> list[Row]:
    """One game or environment at a time."""
    style = load_style("default", ALFWorldEnv.prompt_folder)

    def ask(env: ALFWorldEnv) -> None:
        style.turn_messages(env.task.goal, env.episode.turns, env.scene.text, env.scene.admissible)

    work, unit = "steps of one environment", "steps / CPU-s"
    raw = Row(work, "engine alone: `State.act` and `admissible`", unit, [], ">= 100,000")
    plain = Row("", "`ALFWorldEnv.step`, the response is the command", unit, [], ">= 40,000")
    framed = Row("", "the same, think and action tags parsed", unit, [], ">= 40,000")
    made = Row("", "the same through `gym.make` as it comes", unit, [], ">= 40,000")
    asked = Row("", "the same, and a prompt rendered every turn", unit, [])
    for games in _repeats(args):
        responses = _framed(games.walks)
        raw.numbers.append(_play_raw(games))
        plain.numbers.append(_play(ALFWorldEnv(**games.settings()), games.walks))
        tags = {"parser": "verl_alfworld"}
        framed.numbers.append(_play(ALFWorldEnv(**games.settings(**tags)), responses))
        made.numbers.append(_play(gym.make(ENV_ID, **games.settings(**tags)), responses))
        asked.numbers.append(_play(ALFWorldEnv(**games.settings(**tags)), responses, ask))
    return [raw, plain, framed, made, asked]


def _play_raw(games: Games) -> float:
    library = GameLibrary(games.data)
    worlds = {id: library.world(id) for id in games.ids}
    start = process_time()
    for id, commands in games.walks:
        state = worlds[id].start()
        for command in commands:
            state.act(command)
            state.admissible()
    return sum(len(commands) for _, commands in games.walks) / (process_time() - start)


def many(args: argparse.Namespace) -> list[Row]:
    """Environments in one process, stepped together; all their steps are counted."""
    rows = [
        Row("", f"`gym.make_vec`, {count} environments", "steps / CPU-s", [])
        for count in ENVIRONMENTS
    ]
    rows[0].work = "steps of many environments, tags parsed"
    for games in _repeats(args):
        for row, count in zip(rows, ENVIRONMENTS, strict=True):
            settings = games.settings(parser="verl_alfworld")
            envs = gym.make_vec(ENV_ID, num_envs=count, **settings)
            assert isinstance(envs, TextVectorEnv)
            row.numbers.append(_play_together(envs, _framed(games.walks)))
    return rows


def _play_together(envs: TextVectorEnv, walks: tuple[Walk, ...]) -> float:
    for id, _ in walks:
        envs.envs[0].reset(options={"task_id": id})
    seconds, steps, count = 0.0, 0, envs.num_envs
    for first in range(0, max(len(walks), count), count):
        chosen = [walks[(first + i) % len(walks)] for i in range(count)]
        envs.reset(options={"task_id": [id for id, _ in chosen]})
        turns = max(len(responses) for _, responses in chosen)
        actions = [
            [responses[turn] if turn < len(responses) else None for _, responses in chosen]
            for turn in range(turns)
        ]
        start = process_time()
        for responses in actions:
            envs.step(responses)
        seconds += process_time() - start
        steps += sum(len(responses) for _, responses in chosen)
    return steps / seconds


def resetting(args: argparse.Namespace) -> list[Row]:
    """Every reset is a number of its own."""
    cold = Row("reset", "cold: file read, compiled", "CPU-ms", [], "<= 10")
    generated = Row("", "cold: game generated, solved, compiled", "CPU-ms", [])
    warm = Row("", "warm: game compiled before", "CPU-ms", [], "<= 0.1")
    for seed, games in enumerate(_repeats(args), start=args.seed):
        env = ALFWorldEnv(**games.settings())
        cold.numbers += [_reset(env, id) for id in games.ids]
        warm.numbers += [_reset(env, id) for id, _ in games.walks]
        env = ALFWorldEnv(difficulty=args.difficulty, game_seed=seed)
        generated.numbers += [_reset(env, id) for id in env.tasks.ids[: args.games]]
    return [cold, generated, warm]


def _reset(env: ALFWorldEnv, id: str) -> float:
    start = process_time()
    env.reset(options={"task_id": id})
    return (process_time() - start) * 1e3


def engines(args: argparse.Namespace) -> list[Row]:
    """Both engines under one environment on the same games with the same commands."""
    if importlib.util.find_spec("textworld") is None:
        return []
    rows = {
        (what, engine): Row("", f"{what}, {engine} engine", unit, [])
        for what, unit in (("steps", "steps / CPU-s"), ("first reset", "CPU-ms"))
        for engine in ("native", "textworld")
    }
    faster = Row("", "**native steps / textworld steps**", "times", [])
    sooner = Row("", "**textworld first reset / native first reset**", "times", [])
    for seed in range(args.seed, args.seed + args.repeats):
        with _games(args, seed, args.compared, 1) as games:
            for engine in ("native", "textworld"):
                env = ALFWorldEnv(**games.settings(engine=engine))
                rows["first reset", engine].numbers.append(
                    statistics.mean(_reset(env, id) for id in games.ids)
                )
                rows["steps", engine].numbers.append(_play(env, games.walks))
                env.close()
        faster.numbers.append(
            rows["steps", "native"].numbers[-1] / rows["steps", "textworld"].numbers[-1]
        )
        sooner.numbers.append(
            rows["first reset", "textworld"].numbers[-1] / rows["first reset", "native"].numbers[-1]
        )
    listed = [*rows.values(), faster, sooner]
    listed[0].work = "both engines, the same games and commands"
    return listed


def memory(args: argparse.Namespace) -> list[Row]:
    """What Python objects take, as tracemalloc counts them."""
    compiled = Row("memory", "a compiled game, its file's text included", "KiB", [])
    played = Row("", f"the same after {args.walks} episodes in it", "KiB", [])
    begun = Row("", "an environment on a compiled game, after reset", "KiB", [])
    ended = Row("", "the same after its episode", "KiB", [])
    for games in _repeats(args):
        settings = games.settings()
        envs = [ALFWorldEnv(**settings) for _ in games.walks]
        tracemalloc.start()
        library = GameLibrary(games.data)
        library.ids(games.split)
        empty = _traced()
        worlds = [library.world(id) for id in games.ids]
        compiled.numbers.append((_traced() - empty) / len(worlds))
        for id, commands in games.walks:
            state = library.world(id).start()
            for command in commands:
                state.act(command)
                state.admissible()
        played.numbers.append((_traced() - empty) / len(worlds))
        for id in games.ids:
            envs[0].reset(options={"task_id": id})
        _play(envs[0], games.walks)
        idle = _traced()
        more = [ALFWorldEnv(**settings) for _ in games.walks]
        for env, (id, _) in zip(more, games.walks, strict=True):
            env.reset(options={"task_id": id})
        begun.numbers.append((_traced() - idle) / len(more))
        for env, (_, commands) in zip(more, games.walks, strict=True):
            for command in commands:
                env.step(command)
        ended.numbers.append((_traced() - idle) / len(more))
        tracemalloc.stop()
    return [compiled, played, begun, ended]


def _traced() -> float:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1024


def flatness(args: argparse.Namespace) -> list[Row]:
    """Resident memory along many resets, three turns after each. One run, as it is long."""
    with _games(args, args.seed, args.games, 1) as games:
        env = ALFWorldEnv(**games.settings())
        env.reset(seed=args.seed)
        sizes = {}
        for count in range(1, RESETS + 1):
            _, info = env.reset()
            for _ in range(3):
                _, _, _, _, info = env.step(info["admissible_actions"][count % 7])
            if count in (RESETS // 100, RESETS):
                gc.collect()
                sizes[count] = _resident()
    first, last = sizes[RESETS // 100], sizes[RESETS]
    return [
        Row("resident memory", f"after {RESETS // 100:,} resets", "MiB", [first]),
        Row("", f"after {RESETS:,} resets", "MiB", [last], f"{shown(first)}, as before"),
    ]


def _resident() -> float:
    """MiB of this process in memory: now where the system says so, else the most so far."""
    counts = Path("/proc/self/statm")
    if counts.exists():
        return int(counts.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def importing(args: argparse.Namespace) -> list[Row]:
    row = Row("`import agentgym_envs`", "new process, files cached", "CPU-s", [], "<= 0.3")
    for repeat in range(args.repeats + 1):
        ran = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        )
        if repeat:  # the first one reads the files
            row.numbers.append(float(ran.stdout))
    return [row]


# -- how it is shown


def _heading(args: argparse.Namespace) -> list[str]:
    games = (
        f"generated games (difficulty {args.difficulty})"
        if args.data is None
        else f"games of split {args.split} of {args.data.name}"
    )
    packages = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("gymnasium", "numpy", "textworld", "alfworld")
        if importlib.util.find_spec(name) is not None
    )
    command = "python benchmarks/env_speed.py" + " --data FOLDER" * (args.data is not None)
    last = args.seed + args.repeats - 1
    return [
        "## Speed and memory of ALFWorld",
        "",
        f"`{command}`: {processor()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {packages}. One process, one thread. "
        f"Seeds {args.seed} to {last}, one a repeat; a repeat has {args.games} {games} with "
        f"{args.walks} random walks of at most {MAX_TURNS} turns each, and {args.compared} games "
        "for the comparison of the engines. Median and lowest - highest of the repeats; of all "
        "resets for `reset`. CPU-seconds of the process are counted." + f" {args.note}".rstrip(),
        "",
        "| work | way | median | lowest - highest | unit | wanted |",
        "|---|---|---:|---:|---|---|",
    ]


if __name__ == "__main__":
    main()
