"""Questions and the corpus that they are of."""

import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.types import Passage
from agentgym_envs.searchqa.evidence import check_gold
from agentgym_envs.searchqa.question import Question
from agentgym_envs.searchqa.world import generated_world

TOWNS = [f"Town {i}" for i in range(20)]
CORPUS = Corpus.of(
    Passage(str(i), f'"{town}"\nIts mayor is Number {i}.') for i, town in enumerate(TOWNS)
)


def asked(town: str, gold: str, answer: str = "yes") -> Question:
    return Question(f"q/{town}", f"Does {town} have a mayor?", (answer,), gold=(gold,))


def test_a_passage_fits_by_its_title_or_by_an_answer():
    check_gold([asked(town, str(i)) for i, town in enumerate(TOWNS)], CORPUS)
    check_gold([asked("it", str(i), f"number {i}") for i in range(20)], CORPUS)
    check_gold([Question("q", "unrelated?", ("yes",))] * 20, CORPUS)  # no gold: nothing to hold to


def test_a_missing_passage_is_another_corpus():
    with pytest.raises(ValueError, match="gold passage of q/Town 3: no passage has the id '77'"):
        check_gold([asked("Town 3", "77")], CORPUS)


def test_the_same_ids_do_not_make_the_same_corpus():
    with pytest.raises(ValueError, match="only 0 of 20 questions .* another corpus"):
        check_gold([asked("Somewhere", str(i)) for i in range(20)], CORPUS)
    check_gold([asked("Somewhere", str(i)) for i in range(7)], CORPUS)  # too few to tell


@pytest.mark.parametrize("preset", ["nano", "small"])
def test_a_generated_world_is_told_from_another(preset):
    world = generated_world(preset, 0)
    check_gold(world.questions("test"), Corpus.of(world.passages), 0)
    other = Corpus.of(generated_world(preset, 1).passages)
    with pytest.raises(ValueError, match="belong to another corpus"):
        check_gold(world.questions("test"), other)


def test_the_real_sample_is_of_its_corpus_and_of_no_other(real_data, tmp_path):
    from agentgym_envs.searchqa.datasets import read_questions

    questions = list(read_questions(real_data / "searchqa"))
    corpus = Corpus.open(real_data / "searchqa" / "corpus.jsonl", cache=tmp_path)
    check_gold(questions, corpus, 0)
    turned = Corpus.of(
        Passage(one.id, corpus.passage(len(corpus) - 1 - i).contents)
        for i, one in enumerate(corpus)
    )
    with pytest.raises(ValueError, match="belong to another corpus"):
        check_gold(questions, turned)
