"""Many text environments in one process, stepped together.

Gymnasium's default asynchronous vector environment passes observations through shared memory and
returns corrupt text; this one hands strings over as they are. An environment costs a few kilobytes,
so there is no need for a process each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from agentgym_envs.core import TextEnv


class Call(NamedTuple):
    """A method of an environment, and its arguments."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}  # read, never written


class TextVectorEnv(VectorEnv):
    """`num_envs` environments of `env_type`; a subclass names the type.

    Observations and actions are tuples with one entry an environment. What environment i does
    depends on its own seed and actions only, never on how many there are.

    autoreset_mode DISABLED (default, right for groups of episodes): an environment that has ended
    keeps its last observation; its action must be None until it is reset, with
    `reset(options={"reset_mask": mask})` for some. NEXT_STEP: the step after the end resets it and
    ignores the action.

    `reset(seed=s)` seeds environment i with s + i; a list gives each its own. `options["task_id"]`
    is one id for all, or a sequence with one each.
    """

    env_type: ClassVar[type[TextEnv]]

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
        spaces = first.observation_space, first.action_space
        self._describe(self.env_type, *spaces, first.render_mode)

    def _begin(self, num_envs: int, autoreset_mode: AutoresetMode | str) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.SAME_STEP:
            raise ValueError("autoreset_mode is 'Disabled' or 'NextStep'; SAME_STEP is not offered")
        self.num_envs = num_envs
        self.autoreset_mode = mode
        self._observations: list[Any] = [None] * num_envs
        self._infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self._ended = np.ones(num_envs, dtype=bool)
        self._terminated = np.zeros(num_envs, dtype=bool)
        self._truncated = np.zeros(num_envs, dtype=bool)

    def _describe(
        self,
        kind: type[TextEnv],
        observation: Space[Any],
        action: Space[str],
        render_mode: str | None,
    ) -> None:
        self.metadata = {**kind.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, self.num_envs)
        self.action_space = batch_space(action, self.num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Start an episode in every environment, or in those of `options["reset_mask"]`."""
        options = dict(options or {})
        mask = self._mask(options.pop("reset_mask", None))
        seeds = self._spread(
            seed if not isinstance(seed, int) else [seed + i for i in range(self.num_envs)], "seed"
        )
        task_ids = self._spread(options.pop("task_id", None), "options['task_id']")
        calls = {}
        for i in map(int, np.flatnonzero(mask)):
            own = options if task_ids[i] is None else {**options, "task_id": task_ids[i]}
            calls[i] = Call("reset", kwargs={"seed": seeds[i], "options": own})
        for i, result in self._play(calls).items():
            self._observations[i], self._infos[i] = result
        self._ended[mask] = self._terminated[mask] = self._truncated[mask] = False
        return tuple(self._observations), self._gather(mask)

    def step(
        self, actions: Sequence[str | None]
    ) -> tuple[tuple[Any, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn in every environment that has not ended."""
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        turns = ((i, self._turn(i, action)) for i, action in enumerate(actions))
        calls = {i: call for i, call in turns if call is not None}
        rewards = np.zeros(self.num_envs)
        played = np.zeros(self.num_envs, dtype=bool)
        for i, result in self._play(calls).items():
            played[i] = True
            if calls[i].method == "reset":
                self._observations[i], self._infos[i] = result
                self._terminated[i] = self._truncated[i] = False
            else:
                self._observations[i], rewards[i] = result[0], result[1]
                self._terminated[i], self._truncated[i], self._infos[i] = result[2:]
        self._ended = self._terminated | self._truncated
        return (
            tuple(self._observations),
            rewards,
            self._terminated.copy(),
            self._truncated.copy(),
            self._gather(played),
        )

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """A method of every environment, or an attribute: `call("snapshot")`, `call("episode")`.

        One that plays (`step`, `restore`) is unknown here: an environment that it ends is then
        taken for one that has not ended, and the other way round.
        """
        calls = {i: Call(name, args, kwargs) for i in range(self.num_envs)}
        return tuple(self._play(calls).values())

    def render(self) -> tuple[Any, ...]:
        return self.call("render")

    def close_extras(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()

    def _turn(self, i: int, action: str | None) -> Call | None:
        """What environment i is asked to do, None where it rests. Raises ResetNeeded."""
        if not self._ended[i]:
            if action is None:
                raise ResetNeeded(f"environment {i} has not ended: it needs an action, got None")
            return Call("step", (action,))
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            return Call("reset")
        if action is not None:
            raise ResetNeeded(
                f"environment {i} has ended: reset it with options['reset_mask'], "
                "or pass None as its action"
            )
        return None

    def _play(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """What each environment answers, in order."""
        return {i: answered(self.envs[i], call) for i, call in calls.items()}

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, dtype=bool)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"options['reset_mask'] must be {self.num_envs} booleans, "
                f"got {mask.dtype} {mask.shape}"
            )
        return mask

    def _spread(self, value: Any, name: str) -> list[Any]:
        if value is None or isinstance(value, str):
            return [value] * self.num_envs
        values = list(value)
        if len(values) != self.num_envs:
            raise ValueError(f"{name} has {len(values)} entries for {self.num_envs} environments")
        return values

    def _gather(self, present: np.ndarray) -> dict[str, Any]:
        """Gymnasium's vector infos: an array a key, and `_key` saying who has it."""
        return _columns(
            [info if here else None for info, here in zip(self._infos, present, strict=True)]
        )


def answered(env: TextEnv, call: Call) -> Any:
    """What a call gives; an attribute that cannot be called is an answer itself."""
    found = getattr(env, call.method)
    return found(*call.args, **call.kwargs) if callable(found) else found


def _columns(infos: list[dict[str, Any] | None]) -> dict[str, Any]:
    """One array a key; who has no info has False, 0 or None there. Objects stay as they are."""
    present = np.array([info is not None for info in infos])
    given = [info for info in infos if info is not None]
    columns: dict[str, Any] = {}
    for key in given[0] if given else ():
        kinds = {type(info[key]) for info in given}
        values = [None if info is None else info[key] for info in infos]
        columns["_" + key] = present.copy()
        if kinds == {dict}:
            columns[key] = _columns(values)
        elif kinds == {bool}:
            columns[key] = np.array([value is True for value in values])
        elif kinds <= {int, float}:
            columns[key] = np.array([0 if value is None else value for value in values])
        else:
            columns[key] = np.fromiter(values, dtype=object, count=len(values))
    return columns
