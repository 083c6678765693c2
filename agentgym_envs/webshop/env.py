"""AgentGym/WebShop-v0: shopping by search and clicks, in the official shop or a generated one."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium.error import ResetNeeded

from agentgym_envs.core import TextEnv
from agentgym_envs.parsing import ANY_SEARCH
from agentgym_envs.seeds import seeds_of
from agentgym_envs.types import Advice, Scene, Task
from agentgym_envs.vector import TextVectorEnv
from agentgym_envs.webshop.expert import Expert
from agentgym_envs.webshop.leaflets import Shelf
from agentgym_envs.webshop.pages import previous
from agentgym_envs.webshop.reward import parts, purchase_record
from agentgym_envs.webshop.shop import MODES, Session
from agentgym_envs.webshop.splits import Rule, Split
from agentgym_envs.webshop.tasks import Choice, GoalTasks, Shop, Tasks, open_goals
from agentgym_envs.webshop.verify import verify

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an environment shows the shop and lets one act in it."""

    page: str
    previous_observations: int
    previous_actions: int
    strict: bool
    show_attributes: bool
    hidden_commands: bool


# Thousands of environments share one. With few attributes of their own they also keep to Python's
# compact form of instances, which ends at thirty: one more would cost each of them a kilobyte.
_shared_rules = lru_cache(256)(Rules)


class WebShopEnv(TextEnv):
    """Find a product by searching and clicking, choose its options, buy it.

    Actions, as the official text environment has them: `search[words]` and `click[x]`, where x is
    one of the page's clickables in lower case. Anything else is a turn that changes nothing.

    data: a folder with the official files, a saved store (`agentgym-envs pack`), or None for a
    generated catalogue (`difficulty`, `products`, `catalogue_seed`: one seed, or several for as
    many shops). engine: `bm25` (built in, the
    official ranking) or `lucene` (pyserini on the official index in folder `index`).
    goals: `synthetic` or `human`; `price_seed`, `shuffle_seed` and `cap` as in `GoalSet`.
    split: `train`, `eval` or `test`, by the rule `splits` (see `webshop.splits`): None is
    `official` for data and `product_disjoint` for a generated catalogue.
    page: what is observed: `text`, `text_rich`, `html` or `url` as officially, `quoted` (text as
    verl-agent's prompts show it) or `brief` (few tokens, for small models). previous_observations,
    previous_actions: how many are put before the page, as officially.
    strict, show_attributes, hidden_commands: see `Session`.
    nouns: who finds the nouns of titles for the type reward: `rule`, `table` (the catalogue's own
    nouns.json), a path to such a table, `spacy` or `spacy:MODEL`.
    fixed_options: judge options so that every goal can be met (see `reward.parts`). reward:
    `score` (the official one, in [0, 1]) or `success` (1 for a score of exactly 1, else 0).

    Raises ValueError for a setting that is not known and a split without goals, FileNotFoundError
    or ValueError where `data` is missing or malformed. Catalogues and goals are shared by the
    environments of a process and never change.

    Infos, besides those of every TextEnv: `goal_index`, `goal_kind`, `fixed_options`; of the page
    `page` (its kind), `url`, `has_search_bar`, `clickables`; `action_executable` (it changed
    something); and once bought `purchase` (what, with all that judging needs), `task_score` (the
    official reward) and `reward_parts` (under the official names), None before.
    """

    version: ClassVar[str] = "0"
    prompt_folder: ClassVar[str] = "agentgym_envs.webshop:prompts"
    yardsticks: ClassVar[Mapping[str, str]] = {
        **TextEnv.yardsticks,
        "random": "agentgym_envs.webshop.shoppers:RandomClicks",
        "first_hit": "agentgym_envs.webshop.shoppers:FirstHit",
        "rule": "agentgym_envs.webshop.shoppers:Rule",
        "oracle": "agentgym_envs.webshop.shoppers:Oracle",
    }
    verify = staticmethod(verify)

    def __init__(
        self,
        *,
        data: str | Path | None = None,
        split: Split = "train",
        splits: Rule | None = None,
        goals: Literal["synthetic", "human"] = "synthetic",
        price_seed: int = 0,
        shuffle_seed: int = 233,
        cap: int | None = None,
        difficulty: str = "small",
        catalogue_seed: int | Sequence[int] = 0,
        products: int | None = None,
        engine: Literal["bm25", "lucene"] = "bm25",
        index: str | Path | None = None,
        page: str = "text",
        previous_observations: int = 0,
        previous_actions: int = 0,
        strict: bool = False,
        show_attributes: bool = False,
        hidden_commands: bool = False,
        nouns: str = "rule",
        fixed_options: bool = False,
        reward: Literal["score", "success"] = "score",
        max_turns: int = 15,
        parser: str = "text",
        observation_mode: Literal["text", "dict"] = "text",
        reward_scale: float = 1.0,
        invalid_penalty: float = 0.0,
        info_level: Literal["public", "debug"] = "public",
        render_mode: str | None = None,
    ) -> None:
        if page not in MODES:
            raise ValueError(f"page is one of {', '.join(MODES)}, got {page!r}")
        if reward not in ("score", "success"):
            raise ValueError(f"reward is 'score' or 'success', got {reward!r}")
        if min(previous_observations, previous_actions) < 0:
            raise ValueError("previous_observations and previous_actions are 0 or more")
        shop = Shop(
            data=None if data is None else str(data),
            difficulty=difficulty,
            catalogue_seeds=seeds_of(catalogue_seed, "catalogue_seed"),
            products=products,
            engine=engine,
            index=None if index is None else str(index),
        )
        tasks = open_goals(
            Choice(
                shop=shop,
                kind=goals,
                price_seed=price_seed,
                shuffle_seed=shuffle_seed,
                cap=cap,
                split=split,
                splits=splits,
                nouns=nouns,
                fixed_options=fixed_options,
                success_only=reward == "success",
            )
        )
        super().__init__(
            tasks,
            max_turns=max_turns,
            parser=parser,
            observation_mode=observation_mode,
            reward_scale=reward_scale,
            invalid_penalty=invalid_penalty,
            info_level=info_level,
            render_mode=render_mode,
        )
        self._tasks: Tasks = tasks
        self._rules = _shared_rules(
            page=page,
            previous_observations=previous_observations,
            previous_actions=previous_actions,
            strict=strict,
            show_attributes=show_attributes,
            hidden_commands=hidden_commands,
        )
        self._visit: _Visit | None = None

    def start(self, task: Task) -> Scene:
        goals, rules = self._tasks.of(task.id), self._rules
        session = Session(
            goals.shelf,
            str(task.facts["goal_index"]),
            task.goal,
            prices=goals.price,
            strict=rules.strict,
            show_attributes=rules.show_attributes,
            hidden_commands=rules.hidden_commands,
            dice=self._drawn_dice() if rules.hidden_commands else None,
        )
        self._visit = _Visit(goals, session)
        return self._show(executed=True)

    def act(self, action: str) -> Scene:
        visit = self._visiting
        visit.actions.append(action)
        return self._show(visit.session.act(action))

    def advise(self) -> Advice | None:
        """What a shopper who knows the product would do next; None after the purchase."""
        visit = self._visiting
        if visit.expert is None:
            product, _ = visit.goals.looked_up(self.task.answer["asin"])
            visit.expert = Expert(self.task.answer, product, self.task.goal)
        session = visit.session
        return visit.expert.advise(session.page, session.clickables, visit.actions)

    @property
    def session(self) -> Session:
        """The shopper: its page, and how that is rendered. Raises ResetNeeded before a reset."""
        return self._visiting.session

    @property
    def shelf(self) -> Shelf:
        """The products of the shop that is played in. Raises ResetNeeded before a reset."""
        return self._visiting.goals.shelf

    def wander(self, dice: np.random.Generator) -> str:
        """A random click, or a search for a few words in a row of the instruction."""
        action = super().wander(dice)
        if action != ANY_SEARCH:
            return action
        words = _WORD.findall(self.task.goal) or ["anything"]
        begin = int(dice.integers(len(words)))
        return f"search[{' '.join(words[begin : begin + int(dice.integers(1, 5))])}]"

    def _show(self, executed: bool) -> Scene:
        session = self._visiting.session
        purchase, found = self._bought() if session.done else (None, None)
        if found is not None:
            session.show_reward(found["reward"])
        clickables = session.clickables
        return Scene(
            self._observed(session.render(self._rules.page)),
            _admissible(session.has_search_bar, clickables),
            done=session.done,
            facts={
                "page": session.page.kind,
                "url": session.page.url,
                "has_search_bar": session.has_search_bar,
                "clickables": clickables,
                "action_executable": executed,
                "purchase": purchase,
                "task_score": None if found is None else found["reward"],
                "reward_parts": found,
            },
        )

    def _bought(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The record of the purchase, and its reward in parts."""
        visit = self._visiting
        purchase = visit.session.purchase
        assert purchase is not None, "the page after a purchase is shown without one"
        record = purchase_record(purchase, *visit.goals.looked_up(purchase.asin))
        answer = self.task.answer
        return record, parts(answer, record, fixed_options=answer["fixed_options"])

    def _observed(self, page: str) -> str:
        """The page behind as many earlier ones and actions as were asked for."""
        pages, actions = self._rules.previous_observations, self._rules.previous_actions
        if not (pages or actions):
            return page
        visit = self._visiting
        visit.pages.append(page)
        return previous(visit.pages, visit.actions, pages, actions)

    @property
    def _visiting(self) -> "_Visit":
        if self._visit is None:
            raise ResetNeeded("nobody is in the shop yet: call reset()")
        return self._visit

    def _drawn_dice(self) -> random.Random:
        return random.Random(int(self.np_random.integers(1 << 63)))


@dataclass(slots=True)
class _Visit:
    """The shopper of the episode being played. `pages`: those shown, kept where they are asked for.

    One attribute of the environment, there from its making: attributes that an instance gets only
    after many others were made cost it Python's compact form too.
    """

    goals: GoalTasks
    session: Session
    actions: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    expert: Expert | None = None


@lru_cache(4096)
def _admissible(has_search_bar: bool, clickables: tuple[str, ...]) -> tuple[str, ...]:
    """As verl-agent lists them: the search first, then every click."""
    clicks = tuple(f"click[{name}]" for name in clickables)
    return (ANY_SEARCH, *clicks) if has_search_bar else clicks


class WebShopVectorEnv(TextVectorEnv):
    """Many shoppers in one process; they share the catalogue and the goals."""

    env_type = WebShopEnv
