"""Many text environments in one process, stepped together.

Gymnasium's default asynchronous vector environment passes observations through shared memory and
returns corrupt text; this one hands strings over as they are. An environment costs a few kilobytes,
so there is no need for a process each.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from agentgym_envs.columns import Columns
from agentgym_envs.core import ENDS, TextEnv


class Call(NamedTuple):
    """A method of an environment, and its arguments."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}  # read, never written

    def to(self, env: TextEnv) -> Any:
        """What it gives; an attribute that cannot be called is an answer itself."""
        found = getattr(env, self.method)
        return found(*self.args, **self.kwargs) if callable(found) else found


class TextVectorEnv(VectorEnv):
    """`num_envs` environments of `env_type`; a subclass names the type.

    Actions are a sequence with one entry an environment, observations a tuple of such; with
    `observation_mode="dict"` they are a dictionary with an entry an environment under each key, as
    Gymnasium batches dictionaries. Infos: see `Columns`. What environment i does depends on its own
    seed and actions only, never on how many there are.

    autoreset_mode DISABLED (default, right for groups of episodes): an environment that has ended
    keeps its last observation; its action must be None until it is reset, with
    `reset(options={"reset_mask": mask})` for some. NEXT_STEP: the step after the end resets it and
    ignores the action.

    `reset(seed=s)` seeds environment i with s + i; a list gives each its own. `options["task_id"]`
    is one id for all, or a sequence with one each.

    What a caller gets wrong (an action that is no text, an unknown task) raises before anything is
    played. Where an environment itself fails, those that were asked to play have no episode then,
    until they are reset.
    """

    env_type: ClassVar[type[TextEnv]]
    _spec: EnvSpec | None = None

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.DISABLED,
        **settings: Any,
    ) -> None:
        self._begin(num_envs, autoreset_mode)
        self.envs = [self.env_type(**settings) for _ in range(num_envs)]
        first = self.envs[0]
        self._describe(
            self.env_type, first.observation_space, first.action_space, first.render_mode
        )

    def _begin(self, num_envs: int, autoreset_mode: AutoresetMode | str) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.SAME_STEP:
            raise ValueError("autoreset_mode is 'Disabled' or 'NextStep'; SAME_STEP is not offered")
        self.num_envs = num_envs
        self.autoreset_mode = mode
        self._columns: Columns | None = None  # known from the first infos on
        # Of each environment. Lists, because they are written one by one.
        self._observations: list[Any] = [None] * num_envs
        self._infos: list[dict[str, Any]] = [{}] * num_envs
        self._begun = [False] * num_envs
        self._terminated = [False] * num_envs
        self._truncated = [False] * num_envs

    def _describe(
        self,
        kind: type[TextEnv],
        observation: spaces.Space[Any],
        action: spaces.Space[str],
        render_mode: str | None,
    ) -> None:
        self.metadata = {**kind.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, self.num_envs)
        self.action_space = batch_space(action, self.num_envs)

    @property
    def spec(self) -> EnvSpec | None:
        """What `gym.make_vec` was given, such that it becomes JSON."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # type: ignore[override]
        if spec is not None and "autoreset_mode" in spec.kwargs:
            spec.kwargs["autoreset_mode"] = self.autoreset_mode.value
        self._spec = spec

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every environment, or in those of `options["reset_mask"]`.

        Raises ResetNeeded where the others have no episode yet.
        """
        options = dict(options or {})
        places = self._places(options.pop("reset_mask", None))
        seeds = self._seeds(seed)
        task_ids = self._spread(options.pop("task_id", None), "options['task_id']")
        asked = {
            i: options if task_ids[i] is None else {**options, "task_id": task_ids[i]}
            for i in places
        }
        self._play({i: Call("chosen", (own,)) for i, own in asked.items() if own})  # or raises
        return self._started(
            {
                i: Call("reset", kwargs={"seed": seeds[i], "options": own})
                for i, own in asked.items()
            }
        )

    def restore(self, snapshots: Sequence[bytes | None]) -> tuple[Any, dict[str, Any]]:
        """Go back to where `call("snapshot")` took these; None leaves an environment as it is.

        Raises what `TextEnv.restore` does, ResetNeeded where the others have no episode yet.
        """
        given = self._spread(snapshots, "snapshots")
        places = self._places(np.array([one is not None for one in given]))
        return self._started({i: Call("restore", (given[i],)) for i in places})

    def step(
        self, actions: Sequence[str | None]
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn in every environment that has not ended."""
        turns, resets = self._asked(actions)
        shown, infos = self._observations, self._infos
        rewards = [0.0] * self.num_envs
        terminated, truncated = self._terminated, self._truncated
        self._prepare(turns)
        with self._whole([*turns, *resets]) as played:
            stepped, restarted = self._advance(turns, resets)
            for i, result in zip(turns, stepped, strict=True):
                shown[i], rewards[i], terminated[i], truncated[i], infos[i] = result
            for i, result in zip(resets, restarted, strict=True):
                shown[i], infos[i] = result
                terminated[i] = truncated[i] = False
            columns = self._gather(played)
        ends = np.array(terminated), np.array(truncated)
        return self._batched(), np.array(rewards), *ends, columns

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """A method of every environment, or an attribute: `call("snapshot")`, `call("episode")`.

        One that plays (`step`, `reset`) is unknown here: an environment that it ends is then taken
        for one that has not ended, and the other way round.
        """
        calls = {i: Call(name, args, kwargs) for i in range(self.num_envs)}
        return tuple(self._play(calls).values())

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: a list or tuple has one value for each."""
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        given = self._spread(each, "values")
        self._play({i: Call("__setattr__", (name, value)) for i, value in enumerate(given)})

    def render(self) -> tuple[Any, ...]:
        return self.call("render")

    def close_extras(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()

    # Where the environments are: a pool has them elsewhere.

    def _play(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """What each environment answers, in order."""
        return {i: call.to(self.envs[i]) for i, call in calls.items()}

    def _prepare(self, turns: Mapping[int, str]) -> None:
        """See `TextEnv.prepare`. Where it fails, nothing has been played."""
        if turns:
            self.env_type.prepare([self.envs[i] for i in turns], list(turns.values()))

    def _advance(
        self, turns: Mapping[int, str], resets: Sequence[int]
    ) -> tuple[Iterable[Any], Iterable[Any]]:
        """What the steps of some environments and the resets of others give, each in order."""
        envs = self.envs
        return [envs[i].step(said) for i, said in turns.items()], [envs[i].reset() for i in resets]

    # Inside.

    def _asked(self, actions: Sequence[str | None]) -> tuple[dict[int, str], list[int]]:
        """Who plays a turn, with which action, and who is reset; the others rest."""
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        turns: dict[int, str] = {}
        resets: list[int] = []
        ends = zip(self._begun, self._terminated, self._truncated, strict=True)
        for i, (action, (begun, terminated, truncated)) in enumerate(
            zip(actions, ends, strict=True)
        ):
            if not begun:
                raise ResetNeeded(f"environment {i} has no episode: call reset()")
            if not (terminated or truncated):
                turns[i] = self._spoken(i, action)
            elif self.autoreset_mode is AutoresetMode.NEXT_STEP:
                resets.append(i)
            elif action is not None:
                raise ResetNeeded(
                    f"environment {i} has ended: reset it with options['reset_mask'], "
                    "or pass None as its action"
                )
        return turns, resets

    def _spoken(self, i: int, action: str | None) -> str:
        if action is None:
            raise ResetNeeded(f"environment {i} has not ended: it needs an action, got None")
        if not isinstance(action, str):
            raise TypeError(f"environment {i}: an action is a str, got {type(action).__name__}")
        return action

    def _started(self, calls: Mapping[int, Call]) -> tuple[Any, dict[str, Any]]:
        """Observations and infos after calls that begin an episode somewhere."""
        for i, begun in enumerate(self._begun):
            if not begun and i not in calls:
                raise ResetNeeded(f"environment {i} has no episode: reset it as well")
        with self._whole(list(calls)) as places:
            for i, result in self._play(calls).items():
                self._observations[i], self._infos[i] = result
                self._terminated[i], self._truncated[i] = ENDS[self._infos[i]["stop_reason"]]
            columns = self._gather(places)
        for i in places:
            self._begun[i] = True
        return self._batched(), columns

    @contextmanager
    def _whole(self, places: list[int]) -> Iterator[list[int]]:
        """These environments play; where that fails, none of them has an episode any more."""
        try:
            yield places
        except BaseException:
            for i in places:
                self._begun[i] = False
            raise

    def _batched(self) -> Any:
        """The observations, as the observation space has them."""
        if not isinstance(self.single_observation_space, spaces.Dict):
            return tuple(self._observations)
        listed = {
            key: tuple(one[key] for one in self._observations)
            for key in self.single_observation_space
        }
        return {**listed, "turn": np.array(listed["turn"])}

    def _gather(self, places: list[int]) -> dict[str, Any]:
        """The infos of these environments, in columns."""
        present = np.zeros(self.num_envs, dtype=bool)
        present[places] = True
        infos = [self._infos[i] for i in sorted(places)]
        if self._columns is None:
            self._columns = Columns(infos[0])
        return self._columns.of(infos, present)

    def _places(self, mask: Any) -> list[int]:
        """Those of a mask, or all of them."""
        if mask is None:
            return list(range(self.num_envs))
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"options['reset_mask'] must be {self.num_envs} booleans, "
                f"got {mask.dtype} {mask.shape}"
            )
        return np.flatnonzero(mask).tolist()

    def _seeds(self, seed: Any) -> list[int | None]:
        """One seed for all, counted up, or one each."""
        try:
            seeds: list[int | None] = [index(seed) + i for i in range(self.num_envs)]
        except TypeError:
            each = self._spread(seed, "seed")
            seeds = [None if one is None else index(one) for one in each]
        for one in seeds:
            if one is not None and one < 0:
                raise ValueError(f"a seed is 0 or more, got {one}")
        return seeds

    def _spread(self, value: Any, name: str) -> list[Any]:
        if value is None or isinstance(value, str):
            return [value] * self.num_envs
        values = list(value)
        if len(values) != self.num_envs:
            raise ValueError(f"{name} has {len(values)} entries for {self.num_envs} environments")
        return values
