"""Pantry: look through cupboards until the honey is found."""

from typing import Any, ClassVar

from agentgym_envs import Episode, Scene, Task, TextEnv, TextVectorEnv, Verdict

CUPBOARDS = ("red", "green", "blue", "white")


def tasks() -> list[Task]:
    return [
        Task(
            id=f"pantry/{place}/{jar}",
            goal=f"Find the {jar}.",
            answer=place,
            expert=(f"open {place}", f"take {jar}"),
            split="train",
            kind=jar,
        )
        for place in CUPBOARDS
        for jar in ("honey", "jam")
    ]


def verify(episode: Episode) -> Verdict:
    """Solved when the engine reported the jar in hand, whatever the policy claimed."""
    jar = episode.task.kind
    taken = any(turn.facts.get("holding") == jar for turn in episode.turns)
    return Verdict(taken, float(taken), f"{jar} taken" if taken else f"{jar} never taken")


class PantryEnv(TextEnv):
    """Closed cupboards. Actions: `open <colour>`, `take <jar>`. Ends with the jar in hand."""

    verify = staticmethod(verify)
    prompt_folder: ClassVar[str] = "pantry:prompts"

    def __init__(self, *, max_turns: int = 6, **settings: Any) -> None:
        super().__init__(tasks(), max_turns=max_turns, **settings)

    def start(self, task: Task) -> Scene:
        self.found = False
        self.draught = int(self.np_random.integers(3))  # the dice matter, so that tests see them
        return self._show(f"{task.goal} Cupboards, all closed.")

    def act(self, action: str) -> Scene:
        jar = self.task.kind
        match action.split():
            case ["open", colour] if colour in CUPBOARDS:
                self.found = colour == self.task.answer
                dust = "dust" * int(self.np_random.integers(1, 4))
                return self._show(f"The {colour} cupboard holds {jar if self.found else dust}.")
            case ["take", thing] if self.found and thing == jar:
                return self._show(f"You have the {jar}.", done=True, holding=jar)
        return self._show("Nothing happens.")

    def _show(self, text: str, done: bool = False, holding: str = "") -> Scene:
        opens = tuple(f"open {colour}" for colour in CUPBOARDS)
        actions = (*opens, f"take {self.task.kind}") if self.found else opens
        return Scene(text, actions, done, {"holding": holding, "draught": self.draught})


class PantryVectorEnv(TextVectorEnv):
    env_type = PantryEnv
