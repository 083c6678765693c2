"""ALFWorld's verdict: the engine reported the goal."""

from agentgym_envs.types import Episode, Verdict


def verify(episode: Episode) -> Verdict:
    """Solved when the goal held after some turn, whatever the policy claimed.

    Running out of turns is never success: the official environment ends both ways with one flag,
    and counting that flag has produced wrong results elsewhere.
    """
    won = any(turn.facts.get("won") for turn in episode.turns)
    return Verdict(bool(won), float(bool(won)), "goal reached" if won else "goal not reached")
