"""AgentGym/WebShop-v0 as its users meet it: through gymnasium, on generated and real shops."""

import gc
import json
import pickle
import random
import threading
import tracemalloc

import gymnasium as gym
import pytest
from gymnasium.error import ResetNeeded

from agentgym_envs.check import check_text_env
from agentgym_envs.episodes import to_record
from agentgym_envs.evaluate import ExpertPolicy, evaluate, play, yardstick
from agentgym_envs.parsing import ANY_SEARCH
from agentgym_envs.webshop.catalogue import Catalogue
from agentgym_envs.webshop.env import WebShopEnv, WebShopVectorEnv
from agentgym_envs.webshop.shop import MODES
from agentgym_envs.webshop.splits import SPLITS
from agentgym_envs.webshop.tasks import GoalTasks

ENV_ID = "AgentGym/WebShop-v0"


def make(**chosen) -> WebShopEnv:
    return WebShopEnv(**{"difficulty": "tiny", **chosen})


def wander(env: WebShopEnv, dice: random.Random, turns: int) -> None:
    """Random admissible turns, at most to the end of the episode."""
    for _ in range(turns):
        if env.episode.stop_reason:
            break
        action = dice.choice(env.scene.admissible)
        words = env.task.goal.split()
        env.step(f"search[{dice.choice(words)}]" if action == ANY_SEARCH else action)


def bought(env: WebShopEnv) -> dict:
    """The last info of an episode in which the first thing found is bought."""
    info = env.step(f"search[{env.task.answer['title']}]")[4]
    env.step(f"click[{info['clickables'][2]}]")
    return env.step("click[buy now]")[4]


# -- the conformance kit


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        *({"difficulty": "tiny", "page": page} for page in MODES),
        {"difficulty": "full", "products": 300, "split": "test"},
        {"difficulty": "tiny", "strict": True},
        {"difficulty": "tiny", "goals": "human"},
        {"difficulty": "tiny", "hidden_commands": True, "show_attributes": True},
        {"difficulty": "tiny", "previous_observations": 2, "previous_actions": 1},
        {"difficulty": "tiny", "catalogue_seed": [3, 4], "reward": "success"},
        {"page": "quoted", "parser": "verl_webshop", "observation_mode": "dict"},
    ],
    ids=str,
)
def test_a_generated_shop_keeps_every_promise(chosen):
    check_text_env(ENV_ID, **chosen)


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_real_shops_keep_every_promise(shop_folders, goals):
    for folder in shop_folders.values():
        check_text_env(ENV_ID, data=str(folder), splits="all", goals=goals)


# -- which tasks


def test_splits_share_no_product():
    for goals in ("synthetic", "human"):
        asins = []
        for split in SPLITS:
            tasks = make(split=split, goals=goals).tasks
            asins.append({tasks.task(id).answer["asin"] for id in tasks.ids})
        assert all(asins)
        assert len(set.union(*asins)) == sum(map(len, asins))


def test_the_rules_of_splits_are_the_known_ones(shop_folders):
    for folder in shop_folders.values():
        count = len(WebShopEnv(data=folder, splits="all").tasks.ids)
        assert len(WebShopEnv(data=folder, splits="fork", split="test").tasks.ids) == 500
        assert len(WebShopEnv(data=folder, splits="fork").tasks.ids) == count - 500


def test_a_task_says_what_it_is_and_hides_what_is_right():
    for goals in ("synthetic", "human"):
        env = make(goals=goals, split="test")
        observation, info = env.reset(seed=0)
        assert info["split"] == "test" and info["goal_kind"] == goals
        assert info["task_id"] == f"{goals}/{info['goal_index']}"
        assert info["goal"] in observation and info["clickables"] == ("search",)
        assert info["admissible_actions"] == (ANY_SEARCH, "click[search]")
        assert "answer" not in info and env.task.kind


def test_a_task_has_one_hash_however_its_shop_is_stored(shop_folders, tmp_path):
    for name, folder in shop_folders.items():
        Catalogue.load(folder).save(tmp_path / name)
        here, there = (WebShopEnv(data=path, splits="all") for path in (folder, tmp_path / name))
        for id in random.Random(name).sample(list(here.tasks.ids), 30):
            assert here.tasks.task(id) == there.tasks.task(id)


def test_another_order_has_the_same_tasks():
    here, there = make(splits="all"), make(splits="all", shuffle_seed=1)
    hashes = [[env.tasks.task(id).hash for id in env.tasks.ids] for env in (here, there)]
    assert hashes[0] != hashes[1] and sorted(hashes[0]) == sorted(hashes[1])


@pytest.mark.parametrize(
    "chosen",
    [{"price_seed": 1}, {"fixed_options": True}, {"reward": "success"}, {"catalogue_seed": 1}],
    ids=str,
)
def test_what_is_judged_otherwise_is_another_task(chosen):
    here, there = make(splits="all").tasks, make(splits="all", **chosen).tasks
    assert here.task(here.ids[0]).hash == make(splits="all").tasks.task(here.ids[0]).hash
    shared = set(here.ids) & set(there.ids)
    assert shared
    assert not {here.task(id).hash for id in shared} & {there.task(id).hash for id in shared}


def test_other_nouns_make_another_task(tmp_path):
    tasks = make(splits="all").tasks
    assert isinstance(tasks, GoalTasks)
    catalogue = tasks.catalogue
    table = tmp_path / "nouns.json"
    titles = {catalogue.product(asin).title for asin in catalogue.asins}
    table.write_text(json.dumps({title: title.split() for title in titles}))
    other = make(splits="all", nouns=str(table))
    id = tasks.ids[0]
    assert tasks.task(id).hash != other.tasks.task(id).hash
    assert other.tasks.task(id).answer["nouns_by"] == f"table of {len(titles)}"


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"page": "picture"}, ValueError, "page is one of text, text_rich,.* got 'picture'"),
        ({"reward": "fork"}, ValueError, "reward is 'score' or 'success', got 'fork'"),
        ({"previous_actions": -1}, ValueError, "previous_actions are 0 or more"),
        ({"previous_observations": -1}, ValueError, "previous_observations and .* are 0 or more"),
        ({"goals": "alien"}, ValueError, "goals is one of synthetic, human, got 'alien'"),
        ({"engine": "grep"}, ValueError, "engine is one of bm25, lucene, got 'grep'"),
        ({"engine": "lucene"}, ValueError, "engine='lucene' needs index=FOLDER"),
        ({"index": "some/folder"}, ValueError, "only that engine takes one"),
        ({"split": "dev"}, ValueError, "no split 'dev' .*splits: train, eval, test"),
        ({"splits": "mine"}, ValueError, "rule 'mine'; rules: official, fork, all, product_dis"),
        ({"splits": "official", "products": 12}, ValueError, "needs more than 1,500 goals"),
        ({"nouns": "guess"}, ValueError, "'guess' is none of 'rule', 'spacy'"),
        ({"nouns": "table"}, ValueError, "the catalogue has no nouns.json"),
        ({"nouns": "no/such.json"}, FileNotFoundError, "no/such.json"),
        ({"cap": 0}, ValueError, "cap should be at least 1 goal a product"),
        ({"difficulty": "absurd"}, ValueError, "absurd"),
        ({"products": 0}, ValueError, "products"),
        ({"catalogue_seed": [1, 1]}, ValueError, "several different ones, got \\[1, 1\\]"),
        ({"catalogue_seed": []}, ValueError, "one seed, or several different ones"),
        ({"data": "no/such/folder"}, FileNotFoundError, "no WebShop catalogue: .*no/such/folder"),
        ({"max_turns": 0}, ValueError, "max_turns must be at least 1"),
        ({"parser": "telepathy"}, ValueError, "no parser 'telepathy'"),
        ({"observation_mode": "smell"}, ValueError, "observation_mode is 'text' or 'dict'"),
        ({"info_level": "all"}, ValueError, "info_level is 'public' or 'debug'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_by_name(chosen, error, message):
    with pytest.raises(error, match=message):
        make(**chosen)


def test_a_table_without_the_title_is_refused_by_name(tmp_path):
    table = tmp_path / "nouns.json"
    table.write_text('{"another title": ["title"]}')
    with pytest.raises(KeyError, match="lacks the title .* choose nouns='rule'"):
        make(nouns=str(table)).reset(seed=0)


@pytest.mark.parametrize(
    "task_id", ["synthetic/99999999", "synthetic/01", "human/0", "0", "synthetic/-1", ""]
)
def test_an_unknown_task_is_refused_by_name(task_id):
    with pytest.raises(KeyError, match=f"no goal '{task_id}'"):
        make().reset(options={"task_id": task_id})


# -- facts and verdicts


def test_a_purchase_is_judged_and_told():
    env = make(info_level="debug")
    _, info = env.reset(seed=1)
    assert info["purchase"] is info["task_score"] is info["reward_parts"] is None
    info = bought(env)
    assert info["page"] == "done" and info["stop_reason"] == "done"
    assert info["purchase"]["asin"] == env.episode.turns[-1].facts["purchase"]["asin"]
    assert info["task_score"] == info["score"] == info["reward_parts"]["reward"]
    assert str(info["task_score"]) in env.scene.text


def test_success_alone_is_rewarded_where_that_was_chosen():
    official, strict = make(splits="all"), make(splits="all", reward="success")
    met = set()
    for id in official.tasks.ids[:20]:
        for name in ("expert", "first_hit"):
            _, told = play(official, yardstick(official, name), id)
            _, verdict = play(strict, yardstick(strict, name), id)
            assert strict.scene.facts["task_score"] == official.scene.facts["task_score"]
            assert verdict.score == float(verdict.success) == float(told.score == 1)
            met.add((verdict.score, 0 < told.score < 1))
    assert met >= {(1.0, False), (0.0, True)}


def test_fixed_options_are_named_wherever_a_result_goes(tmp_path):
    for fixed in (True, False):
        env = make(fixed_options=fixed)
        _, info = env.reset(seed=0)
        assert info["fixed_options"] is fixed
        bought(env)
        record = to_record(env.episode)
        assert record["task"]["facts"]["fixed_options"] is fixed
        assert record["task"]["answer"]["fixed_options"] is fixed


def test_fixed_options_let_the_right_purchase_succeed(shop_folders):
    """Officially a few goals cannot be met by buying what they ask for."""
    for folder in shop_folders.values():
        settings = {"data": folder, "splits": "all"}
        ids = WebShopEnv(**settings).tasks.ids[::7]
        won = {
            fixed: evaluate(WebShopEnv(fixed_options=fixed, **settings), ExpertPolicy(), ids)
            for fixed in (False, True)
        }
        assert won[True].overall.successes > won[False].overall.successes


def test_the_expert_fulfils_every_wish_of_a_generated_shop():
    for goals in ("synthetic", "human"):
        env = make(goals=goals, split="test")
        assert evaluate(env, ExpertPolicy()).overall.successes == len(env.tasks.ids)


def test_random_play_searches_for_the_whole_wish():
    env = make(difficulty="small")
    episode, _ = play(env, yardstick(env, "random", 3), env.tasks.ids[0])
    assert episode.turns[0].action == f"search[{env.task.goal.rpartition(', and price')[0]}]"


@pytest.mark.parametrize("name", sorted(WebShopEnv.yardsticks))
def test_every_yardstick_plays(name):
    env = make()
    overall = evaluate(env, yardstick(env, name, 0), env.tasks.ids[:10]).overall
    assert overall.episodes == 10


def test_strictly_there_is_no_search_without_a_search_bar():
    for strict in (False, True):
        env = make(strict=strict)
        env.reset(seed=0)
        env.step("search[mug]")
        info = env.step("search[pen]")[4]
        assert info["action_valid"] is False
        assert info["action_executable"] is (not strict)


def test_there_is_no_shopper_before_the_first_reset():
    env = make()
    for ask in (lambda: env.session, lambda: env.shelf, env.advise):
        with pytest.raises(ResetNeeded, match=r"reset\(\)"):
            ask()


def test_pictures_of_options_come_from_the_file_to_the_page(make_row, make_options, tmp_path):
    options = make_options(color=["red", "blue", "Red"], size=["xl"])
    options["color"][0]["image"], options["color"][2]["image"] = "first.jpg", "last.jpg"
    row = make_row("B1", customization_options=options)
    attributes = {
        "B1": {"attributes": ["a"], "instruction": "a mug", "instruction_attributes": ["a"]}
    }
    catalogue = Catalogue.build([row], attributes, {})
    assert catalogue.product("B1").option_images == {"red": "last.jpg"}
    catalogue.save(tmp_path / "shop")
    assert Catalogue.load(tmp_path / "shop").product("B1") == catalogue.product("B1")
    env = WebShopEnv(data=tmp_path / "shop", splits="all", page="html")
    env.reset(seed=0)
    env.step("search[mug]")
    shown = env.step("click[b1]")[0]
    assert '{"blue": null, "red": "last.jpg", "xl": null}' in shown
    options["size"][0]["image"] = 7
    with pytest.raises(ValueError, match="option 'size' .* a text 'image', got"):
        Catalogue.build([row], attributes, {})


# -- many at once


def test_an_environment_pickles_and_restores_where_it_stands():
    env = make(hidden_commands=True)
    env.reset(seed=0)
    env.step("search[<r>]")
    wander(env, random.Random(4), 3)
    saved, twin = env.snapshot(), pickle.loads(pickle.dumps(env))
    restored = make(hidden_commands=True)
    restored.restore(saved)
    for one in (env, twin, restored):
        one.step("search[<r>]")  # draws
        wander(one, random.Random(1), 5)
    assert twin.episode == env.episode == restored.episode


def test_a_snapshot_of_a_task_played_without_a_seed_restores():
    """No dice were made for it; those that the snapshot needs are as if they had been."""
    env, other = make(), make()
    env.reset(options={"task_id": env.tasks.ids[2]})
    wander(env, random.Random(2), 2)
    saved = env.snapshot()
    other.restore(saved)
    assert other.episode == env.episode and other.snapshot() == saved
    assert [other.reset()[1]["task_id"] for _ in range(3)] == [
        env.reset()[1]["task_id"] for _ in range(3)
    ]


def test_purchases_of_other_options_stand_side_by_side():
    """Each product has options of its own: what one buys has other keys than what another does."""
    envs = gym.make_vec(ENV_ID, num_envs=16)
    expert, kept, told = ExpertPolicy(), {}, {}
    _, infos = envs.reset(seed=0)
    while len(kept) < 16:
        actions = [None if i in kept else expert(env, "", {}) for i, env in enumerate(envs.envs)]
        _, _, terminated, _, infos = envs.step(actions)
        assert infos["purchase"].dtype == infos["task_score"].dtype == object
        for i in range(16):
            if terminated[i] and i not in kept:
                kept[i] = envs.envs[i].episode.turns[-1].facts["purchase"]
                told[i] = infos["purchase"][i]
    assert told == kept
    assert len({frozenset(bought["options"]) for bought in told.values()}) > 1


def test_a_vector_of_shoppers_shares_one_shop():
    envs = gym.make_vec(ENV_ID, num_envs=3, difficulty="tiny")
    assert isinstance(envs, WebShopVectorEnv)
    _, infos = envs.reset(seed=4)
    assert infos["seed"].tolist() == [4, 5, 6]
    _, _, _, _, infos = envs.step(["search[mug]", "click[nothing]", "fly"])
    assert infos["action_executable"].tolist() == [True, False, False]
    assert infos["page"].tolist() == ["results", "index", "index"]
    assert infos["purchase"].tolist() == [None] * 3
    assert infos["clickables"][0] == envs.envs[0].scene.facts["clickables"]
    assert envs.envs[0].tasks is envs.envs[2].tasks


def test_threads_do_not_disturb_each_other():
    def episodes(seed: int) -> list:
        env = make(catalogue_seed=77)
        env.reset(seed=seed)
        found = []
        for _ in range(5):
            wander(env, random.Random(seed), 15)
            found.append(env.episode)
            env.reset()
        return found

    together: list = [None] * 6

    def run(seed: int) -> None:
        together[seed] = episodes(seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [episodes(seed) for seed in range(6)]


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_another_environment_costs_less_than_two_kilobytes():
    """Beyond the shop and the tasks, which all share. Dice, once drawn from, cost another 1.1."""

    def begun(count: int, seeded: bool) -> list[WebShopEnv]:
        envs = [WebShopEnv() for _ in range(count)]
        for number, env in enumerate(envs):
            task = {"task_id": env.tasks.ids[number % 100]}
            env.reset(seed=number if seeded else None, options=task)
        return envs

    begun(100, False)
    tracemalloc.start()
    try:
        empty = traced()
        plain = begun(1000, False)
        between = traced()
        seeded = begun(1000, True)
        assert (between - empty) / len(plain) < 2_000
        assert (traced() - between) / len(seeded) < 3_200
    finally:
        tracemalloc.stop()


def test_memory_stays_flat_over_many_resets():
    env = make(products=40)

    def played(count: int) -> int:
        for turn in range(count):
            env.reset()
            env.step("search[mug]")
            env.step(env.scene.admissible[turn % 2])
        return traced()

    tracemalloc.start()
    try:
        early = played(max(1000, len(env.tasks.ids)))  # all that is kept is kept by then
        late = played(1500)
    finally:
        tracemalloc.stop()
    assert late < early + 60_000  # a leak of 40 bytes a reset would be as much
