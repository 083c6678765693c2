"""An environment's actions as functions that a model calls, for TRL's `environment_factory`.

TRL makes a tool of every public method of the class, and of inherited ones too: whatever is no
tool begins with an underscore or is a property.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.integrations.trl.rows import NamedTask
from agentgym_envs.registration import importable

OVER = "The episode is over. Call no more tools."
_SEARCH_TAGS = re.compile(r"(?:</?(?:search|answer)>)+")
_BRACKETS = re.compile(r"[\[\]\s]+")


class EpisodeTools:
    """One episode at a time behind tools; a subclass's public methods are the tools.

    Each returns `self._do(action)`, and has typed arguments and a Google-style docstring: TRL
    shows them to the model. `_brief` is what the model reads first.

    The text of a tool call is the action as it is; no other parser reads it. TRL has no signal for
    an episode's end: the text of the last observation says it, and a call after it changes nothing.
    """

    _brief: ClassVar[str] = ""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._talks: dict[str, Conversation] = {}  # by settings: training and evaluation
        self._talk: Conversation | None = None
        self._error: Exception | None = None

    def reset(self, **row: Any) -> str:
        """Start the episode that a row of `task_dataset` names. Returns the text of the prompt.

        Other columns are left alone. Raises ValueError for a row that names none or one of another
        environment, KeyError for an unknown task.
        """
        task = NamedTask.of(row, self._setup)
        if row["settings"] not in self._talks:
            self._talks[row["settings"]] = _with_plain_actions(task.setup).conversation()
        self._talk = self._talks[row["settings"]]
        self._error = None
        self._talk.begin(task_id=task.task_id, seed=task.seed)
        goal, seen = self._talk.env.task.goal, self._seen()
        return "\n\n".join([self._brief, seen if goal in seen else f"Your task: {goal}\n\n{seen}"])

    def get_reward(self) -> float:
        """The environment's rewards, added up; those so far where the model stopped before the end.

        Raises RuntimeError where the environment failed in a tool call: TRL shows such an error to
        the model and goes on, and nothing should be learnt from it.
        """
        if self._error is not None:
            raise RuntimeError("the environment failed in a tool call") from self._error
        return self._playing.reward

    @property
    def outcome(self) -> dict[str, Any]:
        """How the episode stands: `reward`, `score`, `success`, `terminated`, `truncated`, `turns`,
        `stop_reason`, and what else `Conversation.summary` has.

        Before its end it is truncated, with stop_reason "no_more_calls": the model called no tool,
        or TRL's budget of tokens or tool calls ran out, of which TRL tells the environment nothing.
        """
        summary = dict(self._playing.summary)
        if not self._playing.over:
            summary |= {"truncated": True, "stop_reason": "no_more_calls"}
        return {**summary, "turns": summary["turn"]}

    def _do(self, action: str) -> str:
        """Play an action, unless the episode is over. Returns what there is to see."""
        talk = self._playing
        if talk.over:
            return OVER
        try:
            talk.take(str(action))  # a model may well write a number
        except Exception as error:  # TRL swallows it: kept for get_reward
            self._error = error
            raise
        return f"{talk.env.scene.text}\n\n{OVER}".lstrip() if talk.over else self._seen()

    def _choices(self) -> str:
        """What could be done now, as the model should read it; "" where that is not listed."""
        return ""

    def _seen(self) -> str:
        choices = self._choices()
        text = self._playing.env.scene.text
        return f"{text}\n\n{choices}" if choices else text

    @property
    def _playing(self) -> Conversation:
        if self._talk is None:
            raise RuntimeError("there is no episode yet: call reset() with a row of task_dataset")
        return self._talk


class TextTools(EpisodeTools):
    """One tool for any environment."""

    _brief = "You act through text: call the tool `act` with one action, until the task is done."

    def act(self, action: str) -> str:
        """Do one action.

        Args:
            action: The action, word for word.

        Returns:
            What there is to see then.
        """
        return self._do(action)

    def _choices(self) -> str:
        actions = self._playing.env.scene.admissible
        return f"Actions you may choose from: {'; '.join(actions)}" if actions else ""


class ShopTools(EpisodeTools):
    """WebShop's two actions."""

    _brief = (
        "You shop in an online store. Search for a product, open it, choose its options and buy it."
    )

    def search(self, query: str) -> str:
        """Search the store. Works on pages with a search bar.

        Args:
            query: A few words that describe the product.

        Returns:
            The page with the first results.
        """
        return self._do(f"search[{_BRACKETS.sub(' ', str(query)).strip()}]")

    def click(self, item: str) -> str:
        """Click on something on the page: a product, an option of it, or a button.

        Args:
            item: Its name as listed, such as `next >` or `buy now`.

        Returns:
            The page that follows.
        """
        return self._do(f"click[{str(item).strip().lower()}]")

    def _choices(self) -> str:
        facts = self._playing.env.scene.facts
        items = "; ".join(name for name in facts["clickables"] if name != "search")
        search = "There is a search bar." if facts["has_search_bar"] else ""
        return " ".join(filter(None, [search, f"You can click: {items}" if items else ""]))


class SearchTools(EpisodeTools):
    """Search-QA's two actions."""

    _brief = (
        "Answer the question. Search the collection of passages for what you need, then answer. "
        "There are only a few turns."
    )

    def search(self, query: str) -> str:
        """Search the collection of passages.

        Args:
            query: A short query for one thing.

        Returns:
            The passages that fit best.
        """
        return self._do(f"<search>{_SEARCH_TAGS.sub(' ', str(query)).strip()}</search>")

    def answer(self, text: str) -> str:
        """Give the final answer. This ends the episode.

        Args:
            text: The answer alone, without an explanation.

        Returns:
            That the episode is over.
        """
        return self._do(f"<answer>{_SEARCH_TAGS.sub(' ', str(text)).strip()}</answer>")


TOOLS: dict[str, type[EpisodeTools]] = {
    "AgentGym/WebShop-v0": ShopTools,
    "AgentGym/SearchQA-v0": SearchTools,
}


def tools_factory(
    setup: Setup, tools: type[EpisodeTools] | None = None
) -> Callable[[], EpisodeTools]:
    """A factory for TRL's `environment_factory`; its rows come from `task_dataset(setup)`.

    tools: your own subclass of EpisodeTools; None: `search` and `click` for WebShop, `search` and
    `answer` for Search-QA, and one tool `act` for any other environment. Its class name is the name
    of the trainer's reward column.

    Raises ValueError for a setup with a parser, a prompt style or the layout "turns", none of which
    tool calls have a use for.
    """
    if setup.layout != "chat":
        raise ValueError("tool calls are one growing conversation: layout must be 'chat'")
    if setup.prompt != "default":
        raise ValueError(
            f"tools describe themselves, and the prompt style {setup.prompt!r} would not be used: "
            "leave `prompt` out, or derive from EpisodeTools to say it differently"
        )
    _with_plain_actions(setup)
    kind = tools or TOOLS.get(importable(setup.env_id), TextTools)
    return partial(kind, setup)


def _with_plain_actions(setup: Setup) -> Setup:
    if "parser" in setup.settings:
        raise ValueError(
            f"a tool call is the action itself, and parser = {setup.settings['parser']!r} would "
            "not be used: leave `parser` out of the settings"
        )
    return replace(setup, settings={**setup.settings, "parser": "text"})
