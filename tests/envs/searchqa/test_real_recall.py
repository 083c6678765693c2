"""The real sample: what one search finds, what an expert's searches find, and what counts as right.

Real questions over a real corpus; all of it skips where the data is not there.
"""

import importlib.util
from dataclasses import replace

import pytest

from agentgym_envs.evaluate import play_all, yardstick
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.open import open_retriever
from agentgym_envs.retrieval.recall import gold_recall
from agentgym_envs.searchqa.datasets import read_questions
from agentgym_envs.searchqa.env import SearchQAEnv

# Questions with evidence; any gold in the top 3, in the top 10; all gold in the top 3, in the top
# 10. From the data's README: Lucene through pyserini, k1 = 0.9, b = 0.4.
ONE_SEARCH = {
    ("nq", "test"): (150, 0.540, 0.867, 0.540, 0.867),
    ("triviaqa", "test"): (150, 0.920, 0.980, 0.607, 0.920),
    ("popqa", "test"): (150, 0.893, 0.973, 0.833, 0.960),
    ("hotpotqa", "dev"): (120, 0.925, 0.992, 0.400, 0.758),
    ("2wikimultihopqa", "dev"): (100, 0.990, 1.000, 0.320, 0.430),
    ("musique", "dev"): (118, 0.771, 0.932, 0.085, 0.195),
    ("bamboogle", "test"): (38, 0.237, 0.553, 0.105, 0.316),
    ("hotpotqa", "train"): (100, 0.930, 1.000, 0.400, 0.670),
    ("nq", "train"): (200, 0.645, 0.895, 0.645, 0.895),
}
# All gold met in Search-R1's four searches of top 3: the question, then the titles of its gold
# pages, the first three in the corpus's order. From the same README.
WITH_TITLES = {
    ("hotpotqa", "dev"): 0.95,
    ("2wikimultihopqa", "dev"): 0.82,
    ("musique", "dev"): 0.74,
    ("popqa", "test"): 0.95,
    ("nq", "test"): 0.82,
}


@pytest.fixture(scope="module")
def sample(real_data):
    """The folder of questions with their corpus."""
    found = sorted(real_data.glob("*/corpus.jsonl"))
    if not found:
        pytest.skip(f"no corpus.jsonl in {real_data}")
    return found[0].parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the corpus's offsets go: the data may lie where nobody can write."""
    return tmp_path_factory.mktemp("offsets")


@pytest.fixture(scope="module")
def corpus(sample, cache):
    return Corpus.open(sample / "corpus.jsonl", cache=cache)


@pytest.fixture(scope="module")
def questions(sample):
    return read_questions(sample)


@pytest.fixture(scope="module", params=["bm25", "lucene"])
def retriever(request, corpus, tmp_path_factory):
    if request.param == "bm25":
        return open_retriever("bm25", corpus)
    if importlib.util.find_spec("pyserini") is None:
        pytest.skip("pyserini is not installed")
    from agentgym_envs.retrieval.lucene.retriever import build_lucene_index

    folder = tmp_path_factory.mktemp("lucene") / "index"
    build_lucene_index(corpus, folder)
    return open_retriever({"kind": "lucene", "index": str(folder)}, corpus)


def of(questions, name, split):
    if split not in questions.counts.get(name, {}):
        pytest.skip(f"no {split} questions of {name} in the data")
    return list(questions.chosen(split, [name]))


@pytest.mark.parametrize(("name", "split"), ONE_SEARCH)
def test_recall_of_one_search_is_the_published_to_within_one_question(
    retriever, questions, name, split
):
    count, *rates = ONE_SEARCH[name, split]
    asked = of(questions, name, split)
    found = retriever.search([question.question for question in asked], 10)
    at_3, at_10 = (gold_recall(found, [question.gold for question in asked], k) for k in (3, 10))
    assert at_3.questions == at_10.questions == count
    reached = (at_3.any, at_10.any, at_3.all, at_10.all)
    # README's rates have three decimals: a tenth of a question more
    assert all(abs(one - rate * count) <= 1.1 for one, rate in zip(reached, rates, strict=True)), (
        reached
    )


# -- through the environment


@pytest.fixture(scope="module")
def env(sample, cache):
    """All questions, under Search-R1's protocol: four searches and an answer."""
    return SearchQAEnv(data=sample, cache=cache, split="all")


@pytest.mark.parametrize(("name", "split"), WITH_TITLES)
def test_searching_for_the_question_and_its_gold_titles_collects_the_evidence(
    env, questions, corpus, name, split
):
    asked = of(questions, name, split)
    collected = 0
    for question in asked:
        env.reset(options={"task_id": question.id})
        gold = corpus.passages(sorted(question.gold, key=int))
        titles = list(dict.fromkeys(passage.title for passage in gold))
        *experts, answer = env.task.expert
        assert sorted(experts) == sorted(f"<search>{title}</search>" for title in titles)
        info = {}
        for query in [question.question, *titles[:3]]:
            *_, info = env.step(f"<search>{query}</search>")
            assert info["action_executable"] and 1 <= len(info["passage_ids"]) <= 3
        collected += info["gold_found"] == info["gold_known"]
        _, reward, terminated, truncated, info = env.step(answer)
        assert terminated and not truncated and info["success"] and reward == 1
    # README's rates have two decimals: half a hundredth of the questions, and one question more
    assert abs(collected - WITH_TITLES[name, split] * len(asked)) <= 1 + len(asked) / 200, collected


def test_the_expert_answers_every_question_right(env):
    assert all(verdict.success for _, verdict in play_all(env, yardstick(env, "expert", 0)))


def judged(env, question, answer):
    env.reset(options={"task_id": question.id})
    env.step(f"<answer>{answer}</answer>")
    return env.verify(env.episode).success


def test_every_target_is_right_however_it_is_cased_and_punctuated(env, questions):
    for question in questions:
        for target in question.answers:
            assert judged(env, question, target), (question.id, target)
            assert judged(env, question, f"  The {target.lower()}! "), (question.id, target)


def test_half_an_answer_and_another_questions_answer_are_wrong(env, questions):
    """But for the few where what is added or borrowed happens to be a target too."""
    listed = list(questions)
    strangers = zip(listed, listed[1:] + listed[:1], strict=True)
    more = sum(judged(env, one, f"{one.answers[0]} Fnord") for one in listed)
    borrowed = sum(judged(env, one, other.answers[0]) for one, other in strangers)
    assert more == 0
    assert borrowed <= 0.05 * len(listed)


def test_what_a_passage_says_is_not_the_policys_answer(env, questions):
    """An episode with an answer tag in what was observed is judged by its actions alone."""
    question = next(one for one in questions if one.gold)
    env.reset(options={"task_id": question.id})
    env.step(f"<search>{question.question}</search>")
    env.step("<answer>Fnord</answer>")
    first, last = env.episode.turns
    said = f"{last.observation}\n<answer>{question.answers[0]}</answer>"
    quoted = replace(env.episode, turns=(first, replace(last, observation=said)), outcome=said)
    assert not env.verify(quoted).success
