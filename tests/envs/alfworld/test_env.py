"""AgentGym/ALFWorld-v0 as its users meet it: through gymnasium, over both engines."""

import gc
import json
import pickle
import random
import threading
import tracemalloc

import gymnasium as gym
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st
from official_stack import needs_official_stack

from agentgym_envs import Advice
from agentgym_envs.alfworld.data import SPLIT_ALIASES, GameLibrary, pack
from agentgym_envs.alfworld.env import ALFWorldEnv, ALFWorldVectorEnv, open_library
from agentgym_envs.alfworld.game import TASK_TYPES
from agentgym_envs.alfworld.generate import SPLITS
from agentgym_envs.check import check_text_env
from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.evaluate import ExpertPolicy, evaluate, play

ENV_ID = "AgentGym/ALFWorld-v0"
FEW = {"train": 12, "valid_seen": 6, "valid_unseen": 6}


def make(**chosen) -> ALFWorldEnv:
    return ALFWorldEnv(**{"difficulty": "small", "games": FEW, **chosen})


def wander(env: ALFWorldEnv, rng: random.Random, turns: int) -> None:
    """Random admissible turns, at most to the end of the episode."""
    for _ in range(turns):
        if env.episode.stop_reason:
            break
        env.step(rng.choice(env.scene.admissible))


# -- the conformance kit


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"parser": "verl_alfworld"},
        {"observation_mode": "dict"},
        {"observation_mode": "dict", "parser": "verl_alfworld", "invalid_penalty": 0.1},
        {"expert": "solve", "split": "valid_unseen", "task_types": [TASK_TYPES[3]]},
    ],
)
def test_the_native_engine_keeps_every_promise(chosen):
    assert not any(check.problem for check in check_text_env(ENV_ID, **chosen))


def test_real_games_keep_every_promise(alfworld_games):
    check_text_env(ENV_ID, data=str(alfworld_games), split="unseen", parser="verl_alfworld")


@needs_official_stack
@pytest.mark.slow
def test_the_official_stack_keeps_every_promise():
    check_text_env(ENV_ID, engine="textworld", difficulty="tiny", max_turns=6, episodes=2)


# -- whatever is said is a turn


def mutated(rng: random.Random, command: str) -> str:
    """A real command with characters dropped, doubled, swapped, replaced, or its words shuffled."""
    letters = list(command)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(letters))
        letters[at : at + 1] = rng.choice(
            [[], [letters[at]] * 2, [" "], [letters[at].upper()], [chr(rng.randrange(0x110000))]]
        ) or ["-"]
    words = "".join(letters).split(" ")
    if rng.random() < 0.2:
        rng.shuffle(words)
    return " ".join(words)


def garbage(rng: random.Random, admissible: tuple[str, ...]) -> str:
    kind = rng.random()
    if kind < 0.4:
        return mutated(rng, rng.choice(admissible))
    if kind < 0.6:
        return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(12)))
    if kind < 0.8:
        return "".join(chr(rng.randrange(32)) for _ in range(rng.randrange(6)))
    if kind < 0.802:
        return rng.choice(["a", "go to ", "take ", "🙂", "\x00", "<action>", "from "]) * 100_000
    if kind < 0.81:
        return rng.choice(admissible) + " " * 100_000 + "x"
    verb, *rest = rng.choice(admissible).split(" ")
    return rng.choice(
        [
            verb,
            verb + " ",
            f"{verb} {verb} {' '.join(rest)}",
            f"{' '.join(rest)} {verb}",
            f"{verb} {' '.join(rest)} 1",
            f"{verb} {'%s {0} {observation}'} {' '.join(rest)}",
            f"take {' '.join(rest)} from {' '.join(rest)}",
            f"move {' '.join(rest)} to {' '.join(rest)}",
            f"slice {' '.join(rest)} with knife 1",
        ]
    )


def test_a_hundred_thousand_fuzzed_actions_are_turns_and_what_is_inadmissible_is_counted():
    rng = random.Random(2024)
    env = make(max_turns=200)
    _, info = env.reset(seed=0)
    inadmissible = counted = 0
    for _ in range(100_000):
        admissible = info["admissible_actions"]
        real = rng.random() < 0.05  # so that doors open and hands fill
        action = rng.choice(admissible) if real else garbage(rng, admissible)
        known = action.strip() in admissible
        text, _, terminated, truncated, info = env.step(action)
        inadmissible += not known
        assert info["action_valid"] == info["action_executable"] == known
        assert info["invalid_turns"] == inadmissible - counted
        if not known:
            assert text == "Nothing happens." and not terminated
        if terminated or truncated:
            counted = inadmissible
            _, info = env.reset()
    assert inadmissible > 90_000


@given(st.lists(st.text(), max_size=8), st.sampled_from(["text", "verl_alfworld", "action"]))
@settings(max_examples=60)
def test_any_text_through_any_parser_is_a_turn(responses, parser):
    env = make(parser=parser)
    env.reset(seed=1)
    for count, response in enumerate(responses, start=1):
        info = env.step(response)[4]
        assert info["turn"] == count
    assert len(env.episode.turns) == len(responses)


def test_valid_says_the_format_was_kept_and_executable_that_the_engine_could():
    env = make(parser="verl_alfworld")
    env.reset(seed=0)
    fly = "<think>why not</think><action>fly to mars</action>"
    text, _, _, _, info = env.step(fly)
    assert (info["action_valid"], info["action_executable"]) == (True, False)
    assert (text, info["action_parsed"]) == ("Nothing happens.", "fly to mars")
    info = env.step("<action>look</action>")[4]
    assert (info["action_valid"], info["action_executable"]) == (False, True)
    assert (info["action_parsed"], info["invalid_turns"]) == ("look", 1)


# -- which tasks


def test_splits_have_their_games_and_aliases_mean_the_same_ones():
    for split, count in FEW.items():
        assert len(make(split=split).tasks.ids) == count
    for alias, split in SPLIT_ALIASES.items():
        assert make(split=alias).tasks.ids == make(split=split).tasks.ids
    assert len(ALFWorldEnv(split="seen").tasks.ids) == SPLITS["valid_seen"]


def test_a_task_says_what_it_is_and_hides_how_to_do_it():
    env = make(split="unseen")
    _, info = env.reset(seed=0)
    assert info["split"] == "valid_unseen" and info["task_type"] in TASK_TYPES.values()
    assert info["goal"] in env.scene.text and info["dialect"] == "move"
    assert env.task.expert and env.task.kind == info["task_type"]


@pytest.mark.parametrize("kinds", [[TASK_TYPES[2]], [TASK_TYPES[1], TASK_TYPES[6]], [4, 5]])
def test_task_types_choose_by_name_or_number(kinds):
    wanted = {TASK_TYPES.get(kind, kind) for kind in kinds}
    tasks = make(task_types=kinds).tasks
    assert {tasks.task(id).kind for id in tasks.ids} == wanted


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"split": "test"}, ValueError, "valid_unseen"),
        ({"task_types": ["juggle"]}, ValueError, "juggle.*look_at_obj_in_light"),
        ({"task_types": TASK_TYPES[1]}, ValueError, "is a list of task types"),
        ({"difficulty": "absurd"}, KeyError, "absurd.*there are: tiny"),
        ({"games": {"train": -1}}, ValueError, "0 or more"),
        ({"games": {"test": 1}}, ValueError, "test"),
        ({"games": {"train": 0}}, ValueError, "has no games"),
        ({"engine": "unreal"}, ValueError, "engine is 'native' or 'textworld'"),
        ({"expert": "oracle"}, ValueError, "expert is 'explore' or 'solve'"),
        ({"expert": "solve", "engine": "textworld"}, ValueError, "engine='native'"),
        ({"data": "no/such/folder"}, FileNotFoundError, "no ALFWorld games"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(chosen, error, message):
    with pytest.raises(error, match=message):
        make(**chosen)


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(KeyError, match="no game 'train/nowhere'"):
        make().reset(options={"task_id": "train/nowhere"})


# -- facts and verdicts


def test_the_rate_of_goal_conditions_is_one_exactly_when_the_game_is_won():
    wins = 0
    for id in make().tasks.ids:
        for seed in range(3):
            env = make()
            _, info = env.reset(options={"task_id": id})
            rng = random.Random(seed)
            while not env.episode.stop_reason:
                rate, won = info["goal_condition_success_rate"], info["won"]
                assert (rate == 1.0) == won and 0.0 <= rate <= 1.0
                foreign = rng.random() < 0.3
                action = rng.choice(env.scene.admissible) if foreign else env.advise().action
                _, reward, terminated, _, info = env.step(action)
                assert terminated == info["won"] == info["success"] == (reward == 1.0)
            assert (info["goal_condition_success_rate"] == 1.0) == info["won"]
            wins += info["won"]
    assert wins >= 30


def test_a_stored_episode_is_judged_without_an_environment():
    env = make(expert="solve")
    solved, verdict = play(env, ExpertPolicy(), env.tasks.ids[0])
    idle, failure = play(env, lambda *_: "look", env.tasks.ids[0])
    assert (verdict.success, verdict.score, failure.success, failure.score) == (True, 1, False, 0)
    for episode, said in ((solved, verdict), (idle, failure)):
        stored = json.dumps(to_record(episode))
        assert ALFWorldEnv.verify(from_record(json.loads(stored))) == said


def test_hands_full_for_good_is_a_dead_end():
    """In lifelike rooms some things fit nowhere: who takes one keeps it, and the expert says so."""
    counts = {"train": 60}
    env = ALFWorldEnv(difficulty="full", games=counts, expert="solve")
    met = 0
    for id in env.tasks.ids:
        world = open_library(None, "full", 0, tuple(counts.items())).world(id)
        for thing, receptacle in stuck_things(world):
            assert env.reset(options={"task_id": id})[1]["dead_end"] is False
            env.step(f"go to {receptacle}")
            env.step(f"open {receptacle}")
            info = env.step(f"take {thing} from {receptacle}")[4]
            assert info["action_executable"] and info["dead_end"] is True
            assert env.advise() == Advice("look", "stuck")
            met += 1
    assert met > 0


def stuck_things(world) -> list[tuple[str, str]]:
    """(object, receptacle it lies in) of what can be taken but put nowhere, targets left out."""
    return [
        (world.objects[thing], world.receptacles[receptacle])
        for receptacle, inside in enumerate(world.first.contents)
        for thing in inside
        if thing in world.pickupable and not world.fits(thing) and not world.targets >> thing & 1
    ]


# -- the experts


@pytest.mark.parametrize("kind", ["solve", "explore"])
def test_the_experts_solve(kind):
    env = make(expert=kind)
    assert evaluate(env, ExpertPolicy()).overall.successes == len(env.tasks.ids)


@pytest.mark.parametrize("kind", ["solve", "explore"])
def test_the_experts_solve_real_games(alfworld_games, kind):
    env = ALFWorldEnv(data=alfworld_games, split="unseen", expert=kind)
    overall = evaluate(env, ExpertPolicy()).overall
    assert overall.successes >= 0.9 * len(env.tasks.ids)


@pytest.mark.parametrize("kind", ["solve", "explore"])
def test_the_experts_go_on_after_actions_that_were_not_theirs(kind):
    won = 0
    for seed in range(12):
        env = make(expert=kind, max_turns=100)
        env.reset(seed=seed)
        wander(env, random.Random(seed), 15)
        while not env.episode.stop_reason:
            advice = env.advise()
            assert advice.action in env.scene.admissible
            env.step(advice.action)
        won += env.episode.stop_reason == "done"
    assert won >= 11


@pytest.mark.parametrize("kind", ["solve", "explore"])
def test_advice_asked_late_or_after_restoring_is_the_same_advice(kind):
    env = make(expert=kind)
    env.reset(seed=3)
    wander(env, random.Random(5), 8)
    asked_once = env.advise()
    assert env.advise() == asked_once, "asking twice changes the advice"
    saved = env.snapshot()
    other = make(expert=kind)
    other.restore(saved)
    assert other.advise() == asked_once
    wander(env, random.Random(6), 5)
    env.restore(saved)
    assert env.advise() == asked_once


def test_every_turn_reaches_the_explorer_however_seldom_it_is_asked():
    often, seldom = make(), make()
    often.reset(seed=9)
    seldom.reset(seed=9)
    rng = random.Random(1)
    for _ in range(10):
        often.advise()
        action = rng.choice(often.scene.admissible)
        often.step(action)
        seldom.step(action)
    assert often.advise() == seldom.advise()


def test_there_is_no_advice_before_the_first_reset():
    for kind in ("explore", "solve"):
        with pytest.raises(ResetNeeded):
            make(expert=kind).advise()


def test_a_debug_info_says_what_the_expert_would_do():
    env = make(info_level="debug", expert="solve")
    _, info = env.reset(seed=0)
    while info["expert_action"] is not None:
        _, _, _, _, info = env.step(info["expert_action"])
    assert info["won"]


# -- where games come from


def test_a_folder_and_its_pack_give_the_same_tasks_and_episodes(alfworld_games, tmp_path):
    pack(alfworld_games, tmp_path / "games.alfworld")
    for split in GameLibrary(alfworld_games).splits:
        folder = ALFWorldEnv(data=alfworld_games, split=split)
        packed = ALFWorldEnv(data=tmp_path / "games.alfworld", split=split)
        assert folder.tasks.ids == packed.tasks.ids
        for id in random.Random(split).sample(folder.tasks.ids, 6):
            assert folder.tasks.task(id) == packed.tasks.task(id)
            for env in (folder, packed):
                env.reset(options={"task_id": id})
                wander(env, random.Random(id), 50)
            assert folder.episode == packed.episode


@needs_official_stack
def test_both_engines_give_the_same_episode_through_the_environment():
    native, textworld = (make(difficulty="tiny", engine=kind) for kind in ("native", "textworld"))
    rng = random.Random(8)
    for id in native.tasks.ids[:2]:
        seen, expected = (
            textworld.reset(options={"task_id": id}),
            native.reset(options={"task_id": id}),
        )
        assert seen[1].pop("dead_end") is None
        assert expected[1].pop("dead_end") is False
        assert seen == expected
        for turn in range(12):
            if native.episode.stop_reason:
                break
            advised = native.advise()
            assert textworld.advise() == advised
            wild = rng.choice([*native.scene.admissible, "take", "go to mars", "\ud800", "LOOK"])
            action = advised.action if turn % 2 else wild
            *seen, info = textworld.step(action)
            *expected, known = native.step(action)
            info.pop("dead_end")
            known.pop("dead_end")
            assert (seen, info) == (expected, known)
    textworld.close()


@needs_official_stack
def test_an_environment_on_the_official_stack_pickles_where_it_stands():
    env = make(difficulty="tiny", engine="textworld")
    env.reset(seed=0)
    env.step(env.advise().action)
    twin = pickle.loads(pickle.dumps(env))
    action = env.advise().action
    assert twin.advise().action == action
    assert twin.step(action) == env.step(action)
    env.close()
    twin.close()


# -- many at once


def test_a_native_environment_pickles_where_it_stands():
    env = make()
    env.reset(seed=0)
    wander(env, random.Random(0), 7)
    twin = pickle.loads(pickle.dumps(env))
    for one in (env, twin):
        wander(one, random.Random(1), 20)
    assert twin.episode == env.episode


def test_threads_do_not_disturb_each_other_or_global_generators():
    def episodes(seed: int) -> list:
        env = make()
        env.reset(seed=seed)
        found = []
        for _ in range(6):
            wander(env, random.Random(seed), 50)
            found.append(env.episode)
            env.reset()
        return found

    dice = random.getstate()
    alone = [episodes(seed) for seed in range(6)]
    open_library.cache_clear()  # the threads compile the games together
    together: list = [None] * 6

    def run(seed: int) -> None:
        together[seed] = episodes(seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert random.getstate() == dice


def test_a_vector_of_games_says_none_where_there_is_nothing_to_say():
    envs = gym.make_vec(ENV_ID, num_envs=3, difficulty="tiny", games=FEW)
    assert isinstance(envs, ALFWorldVectorEnv)
    _, infos = envs.reset()
    assert infos["seed"].tolist() == [None] * 3  # no seed is not the seed False
    _, infos = envs.reset(seed=4)
    assert infos["seed"].tolist() == [4, 5, 6]
    _, _, _, _, infos = envs.step(["look", "fly", "inventory"])
    assert infos["action_valid"].tolist() == [True, False, True]
    assert infos["goal_condition_success_rate"].dtype == float
    assert infos["admissible_actions"][0] == envs.envs[0].scene.admissible


def test_memory_stays_flat_over_many_resets():
    env = make(games={"train": 40})

    def played(count: int) -> int:
        for turn in range(count):
            env.reset()
            for _ in range(3):
                env.step(env.scene.admissible[turn % 5])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = played(1000)
        late = played(3000)
    finally:
        tracemalloc.stop()
    assert late < early + 100_000  # a leak of 40 bytes a reset would be more
