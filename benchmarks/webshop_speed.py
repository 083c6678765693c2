"""How fast is WebShop, and how much memory does it take?

    python benchmarks/webshop_speed.py                  # a generated shop, a table on the screen
    python benchmarks/webshop_speed.py --data FOLDER    # a shop of the official files
    python benchmarks/webshop_speed.py --write          # put the table in RESULTS.md

Every number comes from a process of its own that has done nothing before. The clock counts
CPU-seconds of that process with one thread, so that other work on the machine disturbs little.
Episodes are written down beforehand, others for every repeat: half are shopped by the scripted
policies in turns (expert, rule, first hit, oracle), half are walked by random clicks and searches.
"""

import argparse
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import process_time
from typing import Any

from results import RESULTS, Row, processor, write_section

# What is measured is imported where it is measured: the first numbers count the import in.

ENV_ID = "AgentGym/WebShop-v0"
SHOPPERS = ("expert", "rule", "first_hit", "oracle")
MANY = 100_000  # products of the large index
ENVIRONMENTS = 1000
QUERIES = 300
Walk = tuple[str, list[str]]  # task id, actions


@dataclass(frozen=True)
class Room:
    """Where things lie: the official files, the same as a store, walks of each repeat, an index."""

    folder: Path
    data: Path

    @property
    def store(self) -> Path:
        return self.folder / "shop.store"

    @property
    def large_index(self) -> Path:
        return self.folder / "index"

    def walks(self, repeat: int) -> Path:
        return self.folder / f"walks-{repeat}.json"

    def settings(self) -> dict[str, Any]:
        return {"data": str(self.store), "splits": "all"}


# -- what is measured: each in a process of its own, giving name -> number


def start_from_store(room: Room, repeat: int) -> dict[str, float]:
    """From the start of Python to the first results; memory then, and after the walks."""
    env = _begun(room.store)
    found = {"store": process_time(), "memory": _resident()}
    walks = _read(room.walks(repeat))
    _play(env, walks)
    return {**found, "memory after": _resident()}


def start_from_json(room: Room, repeat: int) -> dict[str, float]:
    _begun(room.data)
    return {"json": process_time()}


def more_environments(room: Room, repeat: int) -> dict[str, float]:
    """What a thousand more take, as tracemalloc counts it; the tasks they play are there before."""
    import gymnasium as gym

    from agentgym_envs.webshop.env import WebShopEnv

    def begun(make: Callable[[], Any], seeded: bool) -> float:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        envs = [make() for _ in range(ENVIRONMENTS)]
        for number, env in enumerate(envs):
            task = {"task_id": ids[number % 100]}
            env.reset(seed=repeat + number if seeded else None, options=task)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / ENVIRONMENTS

    def plain() -> Any:
        return WebShopEnv(**room.settings())

    ids = plain().tasks.ids
    begun(plain, True)
    tracemalloc.start()
    return {
        "one more": begun(plain, False),
        "one more, seeded": begun(plain, True),
        "one more, gym.make": begun(lambda: gym.make(ENV_ID, **room.settings()), True),
    }


def stepping(room: Room, repeat: int) -> dict[str, float]:
    """Steps per second of an environment; cold is the first time through the walks."""
    return _passes(_begun(room.store), room, repeat, "env")


def stepping_made(room: Room, repeat: int) -> dict[str, float]:
    import gymnasium as gym

    _begun(room.store)
    return _passes(gym.make(ENV_ID, **room.settings()), room, repeat, "gym.make")


def stepping_alone(room: Room, repeat: int) -> dict[str, float]:
    """The shop without an environment: act, text, clickables."""
    from agentgym_envs.webshop.shop import Session

    tasks: Any = _begun(room.store).tasks
    walks = _read(room.walks(repeat))

    def played() -> float:
        seconds, steps = 0.0, 0
        for task_id, actions in walks:
            session = Session(tasks.shelf, "0", tasks.task(task_id).goal, prices=tasks.goals.price)
            start = process_time()
            for action in actions:
                session.act(action)
                if session.done:
                    session.show_reward(1.0)
                session.render("text")
                session.clickables  # noqa: B018 (computed when read)
            seconds += process_time() - start
            steps += len(actions)
        return steps / seconds

    return {"session cold": played(), "session warm": max(played() for _ in range(3))}


def searching(room: Room, repeat: int) -> dict[str, float]:
    """Searches with whole instructions, none asked before; milliseconds each."""
    from agentgym_envs.retrieval.bm25.index import BM25
    from agentgym_envs.webshop.wishes import without_price

    tasks: Any = _begun(room.store).tasks
    chosen = random.Random(repeat).sample(range(len(tasks.ids)), min(QUERIES, len(tasks.ids)))
    queries = [without_price(tasks.task(tasks.ids[i]).goal).lower() for i in chosen]
    found = {"search": _mean(tasks.catalogue.index.search_one, queries)}
    for engine in ("numpy", "numba"):
        if engine == "numba" and not _installed("numba"):
            continue
        index = BM25.open(room.large_index, engine=engine)
        index.search_one("first of all", 50)
        found[f"search large, {engine}"] = _mean(index.search_one, queries)
    return found


def _mean(search: Callable[[str, int], Any], queries: list[str]) -> float:
    start = process_time()
    for query in queries:
        search(query, 50)
    return (process_time() - start) * 1e3 / len(queries)


def judging(room: Room, repeat: int) -> dict[str, float]:
    """The reward of purchases from the walks' search results, options chosen at random."""
    from agentgym_envs.webshop.reward import parts, purchase_record
    from agentgym_envs.webshop.shop import Purchase

    dice = random.Random(repeat)
    tasks: Any = _begun(room.store).tasks
    bought = []
    for task_id in dice.sample(list(tasks.ids), min(QUERIES, len(tasks.ids))):
        task = tasks.task(task_id)
        asin = dice.choice(tasks.catalogue.search(task.goal)[:10])
        product, nouns = tasks.looked_up(asin)
        options = {name: dice.choice(values) for name, values in product.options.items() if values}
        purchase = Purchase(asin=asin, options=options, price=tasks.goals.price(asin))
        bought.append((task.answer, purchase_record(purchase, product, nouns)))

    def judged() -> float:
        start = process_time()
        for answer, record in bought:
            parts(answer, record)
        return (process_time() - start) * 1e3 / len(bought)

    return {"reward cold": judged(), "reward warm": min(judged() for _ in range(3))}


MEASURES: dict[str, Callable[[Room, int], dict[str, float]]] = {
    measure.__name__: measure
    for measure in (
        start_from_store,
        start_from_json,
        more_environments,
        stepping,
        stepping_made,
        stepping_alone,
        searching,
        judging,
    )
}


def rows(products: int) -> dict[str, Row]:
    shop = f"{products:,} products"
    step, unit = "steps with clickables, shopping and random walks", "steps / CPU-s"
    return {
        "store": Row("start", "from the saved store, import included", "CPU-s", wanted="<= 0.5"),
        "json": Row("", "from the official JSON files, index built", "CPU-s", wanted="<= 2"),
        "memory": Row("memory", f"the process after the start, {shop}", "MB", wanted="<= 120"),
        "memory after": Row("", "the same after its walks", "MB", wanted="<= 120"),
        "one more": Row("", "one more `WebShopEnv`, reset to a task", "bytes", wanted="<= 2,000"),
        "one more, seeded": Row("", "the same with a seed: dice of its own", "bytes"),
        "one more, gym.make": Row("", "the same through `gym.make`, wrappers and all", "bytes"),
        "env cold": Row(step, "`WebShopEnv.step`, cold", unit, wanted=">= 10,000"),
        "env warm": Row("", "`WebShopEnv.step`, warm", unit, wanted=">= 50,000"),
        "gym.make cold": Row("", "through `gym.make` as it comes, cold", unit, wanted=">= 10,000"),
        "gym.make warm": Row("", "through `gym.make` as it comes, warm", unit),
        "session cold": Row("", "`Session` alone, cold", unit, wanted=">= 10,000"),
        "session warm": Row("", "`Session` alone, warm", unit, wanted=">= 50,000"),
        "search": Row("a new search, 50 best", shop, "CPU-ms", wanted="<= 1"),
        "search large, numpy": Row("", f"{MANY:,} texts, NumPy", "CPU-ms", wanted="<= 3"),
        "search large, numba": Row(
            "", f"{MANY:,} texts, numba (the default)", "CPU-ms", wanted="<= 3"
        ),
        "reward cold": Row("reward of a purchase", "never judged before", "CPU-ms"),
        "reward warm": Row("", "judged before", "CPU-ms"),
    }


# -- how it is measured


def _begun(data: Path) -> Any:
    """An environment whose shop is open and has been searched in once."""
    from agentgym_envs.webshop.env import WebShopEnv

    env = WebShopEnv(data=str(data), splits="all")
    env.reset(options={"task_id": env.tasks.ids[0]})
    env.step("search[first of all]")
    return env


def _passes(env: Any, room: Room, repeat: int, name: str) -> dict[str, float]:
    walks = _read(room.walks(repeat))
    return {
        f"{name} cold": _play(env, walks),
        f"{name} warm": max(_play(env, walks) for _ in range(3)),
    }


def _play(env: Any, walks: list[Walk]) -> float:
    """Steps per second."""
    seconds, steps = 0.0, 0
    for task_id, actions in walks:
        env.reset(options={"task_id": task_id})
        start = process_time()
        for action in actions:
            env.step(action)
        seconds += process_time() - start
        steps += len(actions)
    return steps / seconds


def _read(path: Path) -> list[Walk]:
    return json.loads(path.read_text(encoding="utf-8"))


def _resident() -> float:
    """MB of this process in memory: now where the system says so, else the most so far."""
    counts = Path("/proc/self/statm")
    if counts.exists():
        return int(counts.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# -- what is prepared


def prepare(args: argparse.Namespace, folder: Path) -> tuple[Room, int]:
    """The shop as files and as a store, the walks and the large index; and how many products."""
    from agentgym_envs.retrieval.bm25.index import BM25
    from agentgym_envs.webshop.catalogue import Catalogue
    from agentgym_envs.webshop.cleaning import index_text
    from agentgym_envs.webshop.generate import generated, write_official

    data = args.data
    if data is None:
        data = folder / "files"
        write_official(generated(args.products, args.seed, "full"), data)
    room = Room(folder, data)
    catalogue = Catalogue.load(data)
    catalogue.save(room.store)
    texts = [index_text(catalogue.product(asin)) for asin in catalogue.asins]
    BM25.build(islice(cycle(texts), MANY)).save(room.large_index)
    for repeat in range(args.seed, args.seed + args.repeats):
        walks = list(_walked(room, repeat, args.walks))
        room.walks(repeat).write_text(json.dumps(walks), encoding="utf-8")
    return room, len(catalogue)


def _walked(room: Room, seed: int, count: int) -> Iterator[Walk]:
    from agentgym_envs.evaluate import RandomPolicy, play, yardstick
    from agentgym_envs.webshop.env import WebShopEnv

    env, dice = WebShopEnv(**room.settings()), random.Random(seed)
    for number in range(count):
        task_id = env.tasks.ids[dice.randrange(len(env.tasks.ids))]
        shops = number % 2 == 0
        policy = (
            yardstick(env, SHOPPERS[number // 2 % len(SHOPPERS)])
            if shops
            else RandomPolicy(dice.randrange(1 << 30))
        )
        episode, _ = play(env, policy, task_id)
        yield task_id, [turn.response for turn in episode.turns]


def measured(args: argparse.Namespace, room: Room, table: dict[str, Row]) -> None:
    """Fill the table, a process a measure and repeat."""
    for name in MEASURES:
        for repeat in range(args.seed, args.seed + args.repeats):
            asked = [name, str(room.folder), str(room.data), str(repeat)]
            ran = subprocess.run(
                [sys.executable, __file__, "--measure", *asked],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
            )
            for row, number in json.loads(ran.stdout).items():
                table[row].numbers.append(number)
        print(f"{name} done", file=sys.stderr)


# -- how it is shown


def _heading(args: argparse.Namespace, products: int) -> list[str]:
    shop = "generated (difficulty full)" if args.data is None else f"of {args.data.name}"
    packages = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("gymnasium", "numpy", "numba")
        if _installed(name)
    )
    command = "python benchmarks/webshop_speed.py" + " --data FOLDER" * (args.data is not None)
    last = args.seed + args.repeats - 1
    return [
        "## Speed and memory of WebShop",
        "",
        f"`{command}`: {processor()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {packages}. One thread, a fresh process for every "
        f"number. {products:,} products {shop}; repeats {args.seed} to {last} with {args.walks} "
        f"episodes each, half shopped by scripted policies ({', '.join(SHOPPERS)}), half random "
        "walks. Cold: the first time through them; warm: the best of three more. Searches are the "
        f"instructions of {QUERIES} goals; the large index holds the products' texts over and "
        "over. Median and lowest - highest of the repeats." + f" {args.note}".rstrip(),
        "",
        "| work | way | median | lowest - highest | unit | wanted |",
        "|---|---|---:|---:|---|---|",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="official folder; default: generated")
    parser.add_argument("--products", type=int, default=1000, help="of the generated shop")
    parser.add_argument("--seed", type=int, default=0, help="of the shop and the first repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--walks", type=int, default=400, help="episodes a repeat")
    parser.add_argument("--note", default="", help="said in the heading, about the machine")
    parser.add_argument("--write", action="store_true", help=f"put the table in {RESULTS.name}")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    if args.measure:
        name, folder, data, repeat = args.measure
        print(json.dumps(MEASURES[name](Room(Path(folder), Path(data)), int(repeat))))
        return
    with tempfile.TemporaryDirectory() as folder:
        room, products = prepare(args, Path(folder))
        table = rows(products)
        measured(args, room, table)
    lines = [row.line() for row in table.values() if row.numbers]
    text = "\n".join([*_heading(args, products), *lines])
    print(text)
    if args.write:
        write_section("webshop_speed", text)


if __name__ == "__main__":
    main()
