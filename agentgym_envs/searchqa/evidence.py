"""Do questions and a corpus belong together?"""

from collections.abc import Iterable

from agentgym_envs.order import subset
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.searchqa.answers import contains_answer, normalised
from agentgym_envs.searchqa.question import Question

SAMPLE = 64
# More than 99 in 100 gold passages of the real sets and of generated worlds fit their questions; of
# another corpus with the same ids, 2 to 7 (measured).
_FITTING, _ENOUGH = 0.25, 8


def check_gold(questions: Iterable[Question], corpus: Corpus, at_most: int = SAMPLE) -> None:
    """Raises ValueError where the questions' gold passages are not this corpus's.

    An id that is not there shows it. But ids are often row numbers, which every corpus has: so it
    also shows where hardly a gold passage holds its question's answer or is called by a name in it.
    Looks at `at_most` of the questions that name gold passages; 0: at all.
    """
    asked = subset([question for question in questions if question.gold], at_most)
    fitting = sum(_fits(question, corpus) for question in asked)
    if len(asked) >= _ENOUGH and fitting < _FITTING * len(asked):
        raise ValueError(
            f"only {fitting} of {len(asked)} questions have a gold passage that holds their answer "
            "or is called by a name in them: the questions belong to another corpus, whose "
            "passages have the same ids (or leave gold_doc_ids out of their metadata)"
        )


def _fits(question: Question, corpus: Corpus) -> bool:
    try:
        gold = corpus.passages(question.gold)
    except KeyError as error:
        raise ValueError(
            f"gold passage of {question.id}: {error.args[0]}; the questions belong to another "
            "corpus"
        ) from error
    asked = f" {normalised(question.question)} "
    return any(
        contains_answer(passage.contents, question.answers)
        or f" {normalised(passage.title)} " in asked
        for passage in gold
    )
