"""Laws of generated worlds: what is true, what is written, what is asked."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import chain

import pytest

from agentgym_envs.searchqa.answers import exact_match, normalised
from agentgym_envs.searchqa.facts import NOBODY
from agentgym_envs.searchqa.names import is_namesake, is_near_name
from agentgym_envs.searchqa.world import SPLITS, World, generated_world, question_row, write_world

WORLDS = [("nano", 0), ("nano", 1), ("small", 0), ("small", 1)]
CHAINS = ("single", "bridge_2", "bridge_3", "kinship")
BUDGET = 3  # searches before the answer, in verl-agent's four turns

PINNED = {  # sha256 of corpus and questions
    ("nano", 0): (
        "693003259eb27e4967c012c90b6c91a6176a8b8edd21678b1e070150dca9ba08",
        "fc0b2ead77213bfc597d6fe429caab9ee85f3ad22e29e841a07065ccdcaebe9b",
    ),
    ("nano", 1): (
        "dee877f25751ea2f6ceff0fe8c76db8b3e493e858bffea40435a0fceea453187",
        "e0da60390870efe02f850135c17ade1a56aaf6ef78e18c59081985bbef5d80a5",
    ),
    ("small", 0): (
        "caa9f3918164a1df71345ad09e9d292a2130618f3589bd44e918eded36da1615",
        "6f935754160dc1600ea262a1cf0ad9da75807607215b760eaf88b67ff794ad68",
    ),
    ("small", 1): (
        "3ac05b2e7f50d78e0f9895ed2054d84cafbd8e4b79ccfb196cd3f9faafc84e59",
        "ebfc761695d2c653f22dce578b1a359a4d3cd25fe618d8bd2c91a6b67a3c405b",
    ),
}
PIN_PROGRAM = """
import sys
from test_world import checksums
print(*checksums(sys.argv[1], int(sys.argv[2])))
"""


def checksums(preset, seed):
    """sha256 of the corpus and of the questions, as they are written to files."""
    world = World(preset, seed)
    corpus = hashlib.sha256()
    for page in world.passages:
        corpus.update(f"{page.id}\n{page.contents}\n".encode())
    asked = hashlib.sha256()
    for split in SPLITS:
        for question in world.questions(split):
            asked.update(json.dumps(question_row(question)).encode())
    return corpus.hexdigest(), asked.hexdigest()


@pytest.fixture(params=WORLDS, ids=lambda world: f"{world[0]}-{world[1]}")
def world(request):
    return generated_world(*request.param)


def all_questions(world):
    return list(chain.from_iterable(world.questions(split) for split in SPLITS))


@pytest.mark.parametrize(("preset", "seed"), PINNED)
def test_a_world_is_the_same_for_ever(preset, seed):
    assert checksums(preset, seed) == PINNED[preset, seed]


def test_a_world_is_the_same_in_a_process_with_other_hashes(tmp_path):
    env = os.environ | {
        "PYTHONHASHSEED": "12345",
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PIN_PROGRAM, "nano", "0"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(done.stdout.split()) == PINNED["nano", 0]


def test_sizes_ids_and_layout(world):
    wanted = {"nano": 200, "small": 5_000}[world.preset.name]
    assert len(world.passages) == wanted
    assert [page.id for page in world.passages] == [str(place) for place in range(wanted)]
    assert all(re.fullmatch(r'"[^"\n]+"\n[^\n]+', page.contents) for page in world.passages)
    assert len({page.title for page in world.passages}) == wanted


def test_no_two_entities_are_mentioned_alike(world):
    facts = world.facts
    mentions = [
        facts.mention(type, number)
        for type, count in world.preset.sizes.items()
        for number in range(count)
    ]
    assert len(set(map(normalised, mentions))) == len(mentions)


def test_every_fact_stands_once_on_the_page_of_its_subject(world):
    """Counted by the sentence that says it: a mention alone, as in a wrong claim, is no fact."""
    facts = world.facts
    for type, count in world.preset.sizes.items():
        for number in range(0, count, 7):
            page = world.passages[int(facts.id(type, number))]
            assert page.title == facts.title(type, number)
            for relation in facts.of(type):
                value = facts.written(relation.name, number)
                subjects = "|".join(
                    map(re.escape, {facts.names.name(type, number), "He", "She", "It", "The band"})
                )
                forms = (
                    relation.forms
                    if not world.preset.terse
                    else (f"The {relation.name} of {{s}} is {{v}}.",)
                )
                said = sum(
                    len(
                        re.findall(
                            re.escape(form)
                            .replace(r"\{s\}", rf"(?:[Tt]he )?(?:{subjects})")
                            .replace(r"\{v\}", re.escape(value)),
                            page.text,
                        )
                    )
                    for form in forms
                )
                assert said == (1 if value else 0), (page, relation.name)


def test_facts_are_possible(world):
    facts = world.facts
    sizes = world.preset.sizes
    for name, relation in facts.relations.items():
        values = facts.values[name]
        assert len(values) == sizes[relation.subject]
        if relation.target:
            assert values.min() >= NOBODY and values.max() < sizes[relation.target]
    if world.preset.terse:
        return
    born = facts.values["born"]
    for child, father in enumerate(facts.values["father"].tolist()):
        if father != NOBODY:
            assert father % 2 == 0 and 20 <= born[child] - born[father] <= 44
    for one, other in enumerate(facts.values["spouse"].tolist()):
        if other != NOBODY:
            assert one % 2 != other % 2 and abs(int(born[one] - born[other])) < 44
            assert facts.values["spouse"][other] == NOBODY  # written once
    assert all(len(set(cast)) == 3 for cast in facts.values["actors"].tolist())
    assert (facts.values["released"] > born[facts.values["director"]] + 20).all()


def walk(facts, relations, number):
    for name in relations:
        number = facts.value(name, number)
    return number


def spelled(facts, relation, value):
    target = facts.relations[relation].target
    return facts.names.name(target, value) if target else str(value)


def start(world, passage_id):
    """Type and number of the entity whose page has this id."""
    for type, count in reversed(world.preset.sizes.items()):
        number = int(passage_id) - world.facts.offsets[type]
        if 0 <= number < count:
            return type, number
    raise AssertionError(passage_id)


def test_answers_follow_from_the_facts_and_are_the_only_ones(world):
    facts = world.facts
    for question in all_questions(world):
        relations = question.metadata["relations"]
        numbers = [start(world, id)[1] for id in question.gold]
        first = question.answers[0].replace(",", "")
        if question.kind in CHAINS:
            assert first == spelled(facts, relations[-1], walk(facts, relations, numbers[0]))
        elif question.kind in ("intersection", "bridge_4"):
            casts = [set(facts.values["actors"][number].tolist()) for number in numbers[:2]]
            both = casts[0] & casts[1]
            assert len(both) == 1
            rest = relations[2:]
            value = walk(facts, rest, both.pop()) if rest else (casts[0] & casts[1]).pop()
            if rest:
                assert first == spelled(facts, rest[-1], value)
            else:
                assert first == facts.names.name("person", value)
        elif question.kind in ("shared", "shared_bridge"):
            ends = [walk(facts, relations[::2], number) for number in numbers[:2]]
            assert question.answers == (("yes",) if ends[0] == ends[1] else ("no",))
        else:
            assert question.kind in ("comparison", "bridge_comparison")
            x, y = (walk(facts, relations[::2], number) for number in numbers[:2])
            assert x != y
            low = bool(re.search("first|older", question.question))
            winner = question.gold[0] if (x < y) == low else question.gold[1]
            assert first == facts.names.name(*start(world, winner))


def test_nano_is_answered_by_reading_alone():
    """A reader that knows nothing of how worlds are made: two patterns, followed inwards out."""
    world = generated_world("nano", 3)
    known = {}
    for page in world.passages:
        for relation, name, value in re.findall(r"The (\w+) of (\w+) is (\w+)\.", page.text):
            assert (relation, name) not in known
            known[relation, name] = value
    for question in all_questions(world):
        *relations, name = re.fullmatch(
            r"(?:Who|What) is the (\w+) of (?:the (\w+) of )?(\w+)\?", question.question
        ).groups()
        for relation in reversed([name for name in relations if name]):
            name = known[relation, name]
        assert question.answers == (name,)


def test_nothing_is_given_away(world):
    """No answer and no bridge in the question; no answer before the last page of a chain."""
    for question in all_questions(world):
        titles = [world.passages[int(id)].title.partition(" (")[0] for id in question.gold]
        answer = question.answers[0]
        if question.kind in (*CHAINS, "bridge_4"):
            named = 2 if question.kind == "bridge_4" else 1
            assert answer not in question.question
            assert all(title in question.question for title in titles[:named])
            assert not any(title in question.question for title in titles[named:])
            assert not any(answer in world.passages[int(id)].contents for id in question.gold[:-1])
        elif question.kind == "intersection":
            assert answer not in question.question


def test_gold_pages_hold_the_evidence(world):
    for question in all_questions(world):
        pages = {
            world.passages[int(id)].title: world.passages[int(id)].text for id in question.gold
        }
        assert set(pages) == {title for title, _, _ in question.metadata["evidence"]}
        assert all(value in pages[title] for title, _, value in question.metadata["evidence"])
        if question.kind in (*CHAINS, "bridge_4"):
            assert question.answers[0] in pages[question.metadata["evidence"][-1][0]]
        assert len(question.metadata["sub_questions"]) == len(question.metadata["evidence"])


def test_splits_share_no_question_and_no_pair(world):
    asked, pairs = defaultdict(set), defaultdict(set)
    for split in SPLITS:
        for question in world.questions(split):
            assert question.split == split
            asked[split].add(question.question)
            pairs[split].add(frozenset(question.metadata["pair"]))
        assert len(asked[split]) == len(world.questions(split))
    assert not asked["train"] & asked["test"]
    assert not pairs["train"] & pairs["test"]


def test_yes_is_as_frequent_as_no_and_first_as_second():
    world = generated_world("small", 0)
    for split in SPLITS:
        said = defaultdict(Counter)
        for question in world.questions(split):
            if question.kind in ("shared", "shared_bridge"):
                said[question.kind][question.answers[0]] += 1
        assert len(said) == 2
        assert all(count["yes"] == count["no"] > 10 for count in said.values())
    places = [
        question.question.index(question.answers[0]) > len(question.question) / 2
        for question in world.questions("train")
        if question.kind in ("comparison", "bridge_comparison")
    ]
    assert 0.42 < sum(places) / len(places) < 0.58


def test_every_kind_is_asked_as_often_as_the_preset_wants():
    world = generated_world("small", 0)
    for split in SPLITS:
        wanted = world.preset.questions[split]
        kinds = Counter(question.kind for question in world.questions(split))
        assert kinds == {kind: wanted * share // 100 for kind, share in world.preset.shares.items()}
        ids = [question.id for question in world.questions(split)]
        assert ids == [f"{split}_{place}" for place in range(wanted)]


def test_experts_keep_to_the_budget(world):
    for question in all_questions(world):
        assert 1 <= len(question.queries) == question.metadata["searches"] <= BUDGET


def test_aliases_mean_nobody_else():
    world = generated_world("small", 0)
    facts = world.facts
    owners = defaultdict(set)  # normalised name, title or surname -> entities
    for type, count in world.preset.sizes.items():
        for number in range(count):
            name = facts.names.name(type, number)
            for spelling in {name, facts.title(type, number), name.split()[-1]}:
                owners[normalised(spelling)].add((type, name))
    short = 0
    for question in all_questions(world):
        assert exact_match(question.answers[0], question.answers)
        for alias in question.answers[1:]:
            assert len(owners.get(normalised(alias), {0})) == 1
            short += " " not in alias
    assert short > 100


def test_namesakes_differ_by_profession_and_near_names_by_a_syllable():
    facts, preset = generated_world("small", 0).facts, generated_world("small", 0).preset
    people = range(preset.sizes["person"])
    namesakes = [number for number in people if is_namesake(preset, "person", number)]
    near = [number for number in people if is_near_name(preset, "person", number)]
    assert len(namesakes) > 100 and len(near) > 100
    for number in namesakes:
        assert facts.names.name("person", number) == facts.names.name("person", number - 8)
        assert facts.profession(number) != facts.profession(number - 8)
    for number in near:
        one, other = (facts.names.name("person", person) for person in (number, number - 8))
        given = one.split()[0]
        assert one != other and one[: len(given) + 4] == other[: len(given) + 4]


def test_the_vocabulary_of_nano_is_small_and_the_same_for_every_seed():
    vocabularies = []
    for seed in range(3):
        world = generated_world("nano", seed)
        texts = [page.contents for page in world.passages]
        texts += [question.question for question in all_questions(world)]
        vocabularies.append(set(re.findall(r"\w+", " ".join(texts))))
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]
    assert len(vocabularies[0]) < 300
    assert max(len(page.contents.split()) for page in world.passages) <= 14


def test_other_seeds_are_other_worlds():
    one, other = (generated_world("small", seed) for seed in (0, 1))
    assert one.fingerprint != other.fingerprint
    titles = [{page.title for page in world.passages} for world in (one, other)]
    assert len(titles[0] & titles[1]) < 2_500
    known = {question.question: question.answers[0] for question in all_questions(one)}
    again = [q for q in all_questions(other) if q.question in known]  # names recur, facts do not
    assert len(again) < 0.05 * len(known)
    assert sum(known[question.question] == question.answers[0] for question in again) < 10


def test_a_large_world_is_made_page_by_page():
    world = generated_world("large", 0)
    assert len(world.passages) == 1_000_000
    assert world.passages[765_432] == world.passages[765_432:765_433][0]
    assert world.passages[-1].id == "999999"
    with pytest.raises(IndexError):
        world.passages[1_000_000]


def test_worlds_are_shared_and_travel_by_name():
    world = generated_world("nano", 0)
    assert generated_world("nano", 0) is world
    assert pickle.loads(pickle.dumps(world)) is world


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="nano, small, medium, large"):
        generated_world("huge", 0)
    with pytest.raises(ValueError, match="train, test"):
        generated_world("nano", 0).questions("dev")


def test_a_written_world_is_in_the_official_layouts(tmp_path):
    world = generated_world("nano", 0)
    folder = write_world(world, tmp_path / "world")
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    assert rows == [{"id": page.id, "contents": page.contents} for page in world.passages]
    asked = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    assert [row["golden_answers"] for row in asked] == [
        list(question.answers) for question in world.questions("test")
    ]
    assert set(asked[0]) == {"id", "question", "golden_answers", "metadata"}
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, file in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        assert data.count(b"\n") == file["lines"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*manifest["files"], "manifest.json"]
    )


def test_writing_again_changes_nothing_and_spoils_nothing(tmp_path):
    write_world(generated_world("nano", 0), tmp_path)
    write_world(generated_world("nano", 0), tmp_path)
    with pytest.raises(FileExistsError, match="another world"):
        write_world(generated_world("nano", 1), tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "corpus.jsonl").write_text("mine\n")
    with pytest.raises(FileExistsError, match="other content"):
        write_world(generated_world("nano", 0), tmp_path)
    assert (tmp_path / "corpus.jsonl").read_text() == "mine\n"
