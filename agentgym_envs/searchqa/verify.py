"""Search-QA's verdicts. A task says by name which is meant, so that judging needs the episode only.

`Task.answer` is {"targets": [...], "verifier": name}. The answer judged is the policy's own: that
of its last `<answer>` action. Text that a passage brought in is never read.
"""

from collections.abc import Callable
from importlib import import_module

from agentgym_envs.parsing_search import cut, read_action
from agentgym_envs.searchqa.answers import contains_answer, exact_match, f1
from agentgym_envs.types import Episode, Verdict

# Search-R1 v0.3's parts of the score: for the structure, and for any answer at the end.
STRUCTURE = 0.2
ANY_ANSWER = 0.1


def verify(episode: Episode) -> Verdict:
    """Judge by the verifier the task names. Raises ValueError where it names none that exists."""
    return find_verifier(episode.task.answer["verifier"])(episode)


def final_answer(episode: Episode) -> str | None:
    """What the policy answered last, stripped; None when it never did."""
    for turn in reversed(episode.turns):
        block = read_action(turn.action)
        if block is not None and block.tag == "answer":
            return block.content
    return None


def by_exact_match(episode: Episode) -> Verdict:
    """Score 1 and success when the answer is exactly a target, after normalisation."""
    right = _exact(episode)
    return Verdict(right, float(right), _reason(episode, right))


def by_containment(episode: Episode) -> Verdict:
    """Score 1 and success when the answer contains a target (sub-EM): long answers are easier."""
    answer = final_answer(episode)
    right = answer is not None and contains_answer(answer, episode.task.answer["targets"])
    return Verdict(right, float(right), _reason(episode, right))


def by_f1(episode: Episode) -> Verdict:
    """The score is the answer's word F1, best over the targets; success is still an exact match."""
    answer = final_answer(episode)
    score = 0.0 if answer is None else f1(answer, episode.task.answer["targets"])
    right = _exact(episode)
    return Verdict(right, 1.0 if right else score, _reason(episode, right))


def by_format(episode: Episode) -> Verdict:
    """Search-R1 v0.3's reward with its published weights; success is an exact match.

    Right and well formed 1; right 1 - STRUCTURE; well formed STRUCTURE; any answer ANY_ANSWER;
    else 0. (Its extra for retrieved evidence has weight 0 as published, and is left out.)
    """
    right, formed = _exact(episode), well_formed(episode)
    answered = final_answer(episode) is not None
    if right:
        score = 1.0 if formed else 1.0 - STRUCTURE
    elif formed:
        score = STRUCTURE
    else:
        score = ANY_ANSWER if answered else 0.0
    return Verdict(right, score, _reason(episode, right) + ("" if formed else ", malformed"))


def well_formed(episode: Episode) -> bool:
    """think, (search, think)*, answer: one thought and one block a turn, only blanks between.

    Search-R1 v0.3 runs its state machine over the whole text, in which passages follow each search;
    here a turn's end stands for them, so that nothing a passage says can spoil the format.
    """
    wanted = ["search"] * (len(episode.turns) - 1) + ["answer"]
    return bool(episode.turns) and all(
        _thought_then(cut(turn.response), tag)
        for turn, tag in zip(episode.turns, wanted, strict=True)
    )


def find_verifier(name: str) -> Callable[[Episode], Verdict]:
    """A verifier by name, or anyone's by import path ("my_lab.verify:strict").

    Also to judge stored episodes by another one than they were played for. Raises ValueError where
    there is none of that name.
    """
    if ":" in name:
        module, _, function = name.partition(":")
        return getattr(import_module(module), function)
    if name not in VERIFIERS:
        raise ValueError(
            f"no Search-QA verifier {name!r}; there are: {', '.join(VERIFIERS)}; yours: "
            "'package.module:function'"
        )
    return VERIFIERS[name]


VERIFIERS: dict[str, Callable[[Episode], Verdict]] = {
    "em": by_exact_match,
    "sub_em": by_containment,
    "f1": by_f1,
    "format": by_format,
}


def _thought_then(response: str, tag: str) -> bool:
    """The response is a thought, blanks and a block of this tag, with no tag inside of either."""
    text = response.strip()
    opening, closing = f"<{tag}>", f"</{tag}>"
    thought, found, rest = text.removeprefix("<think>").partition("</think>")
    rest = rest.strip()
    framed = text.startswith("<think>") and found and rest.startswith(opening)
    if not framed or not rest.endswith(closing):
        return False
    content = rest.removeprefix(opening).removesuffix(closing)
    return not any(mark in part for mark in _MARKS for part in (thought, content))


_MARKS = tuple(
    f"<{slash}{tag}>" for tag in ("think", "search", "information", "answer") for slash in ("", "/")
)


def _exact(episode: Episode) -> bool:
    answer = final_answer(episode)
    return answer is not None and exact_match(answer, episode.task.answer["targets"])


def _reason(episode: Episode, right: bool) -> str:
    if right:
        return "right answer"
    return "no answer" if final_answer(episode) is None else "wrong answer"
