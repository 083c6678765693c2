"""For the tests of TRL: scripted tool calls, and a GRPO trainer whose replies are given."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from integrations.parity import CASES, Played
from trl import GRPOConfig, GRPOTrainer

from agentgym_envs.drivers import ChatTokens, Setup
from agentgym_envs.integrations.trl import EpisodeTools

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
sys.path.append(str(EXAMPLES))  # as for a script that lies there

from tiny_qwen import make_model, make_tokenizer, texts_of  # noqa: E402

SEED = 3
HOUSE, SHOP, SEARCH = CASES
BARE_STYLE = """
parser = "text"
reply = "{action}"
pair = ""
first = "{observation}"
later = "{observation}"
opening = "{observation}"
following = "{observation}"
"""
DONE = "Done."
SAID_AT = -1.5  # the log-prob of every scripted token
_CALLS = (
    (r"search\[(.*)\]", "search", "query"),
    (r"click\[(.*)\]", "click", "item"),
    (r"<search>(.*)</search>", "search", "query"),
    (r"<answer>(.*)</answer>", "answer", "text"),
)


def bare(setup: Setup, folder: Path) -> Setup:
    """The setup with a prompt style whose replies are actions and nothing else."""
    path = folder / "bare.toml"
    path.write_text(BARE_STYLE, encoding="utf-8")
    return replace(setup, prompt=str(path))


def row_of(setup: Setup, task_id: str) -> dict[str, Any]:
    """A row as the trainer gives it to an environment."""
    return {"prompt": [], **setup.row(task_id, SEED), "a_column_of_mine": 1}


def assert_outcome(tools: EpisodeTools, played: Played) -> None:
    outcome = tools.outcome
    assert tools.get_reward() == outcome["reward"] == played.reward
    assert outcome["terminated"] is played.terminated
    assert outcome["truncated"] is played.truncated
    assert outcome["success"] is played.success
    assert outcome["score"] == played.score
    assert outcome["stop_reason"] == played.stop_reason
    assert outcome["turns"] == len(played.turns)


def call(action: str) -> tuple[str, dict[str, str]]:
    """The tool and arguments that an action is, among the tools that its environment has."""
    for pattern, tool, argument in _CALLS:
        if found := re.fullmatch(pattern, action, re.DOTALL):
            return tool, {argument: found[1]}
    return "act", {"action": action}


def tool_reply(action: str) -> str:
    """A reply that calls the tool, as Qwen3 writes it."""
    tool, arguments = call(action)
    written = json.dumps({"name": tool, "arguments": arguments})
    return f"<tool_call>\n{written}\n</tool_call>"


def settings(out: Path, **more: Any) -> GRPOConfig:
    """One step over one batch on a CPU."""
    usual = {
        "max_steps": 1,
        "learning_rate": 0.01,
        "lr_scheduler_type": "constant",
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "output_dir": str(out),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    size = more["per_device_train_batch_size"]
    return GRPOConfig(**(usual | {"per_device_eval_batch_size": size} | more))


class Recorded(GRPOTrainer):
    """GRPO as it is, that keeps what its last batch was."""

    def __init__(self, *, setup: Setup, **settings: Any) -> None:
        tokenizer = make_tokenizer(texts_of(setup))
        super().__init__(model=make_model(tokenizer), processing_class=tokenizer, **settings)
        self.tokens = ChatTokens(tokenizer)

    def _generate(self, prompts: Sequence[Any]) -> Any:
        self.asked = prompts
        made = super()._generate(prompts)
        (
            self.prompt_ids,
            self.completion_ids,
            self.mask,
            self.completions,
            self.logprobs,
            self.columns,
            *_,
        ) = made
        return made

    def _calculate_rewards(self, inputs: Any, *rest: Any) -> torch.Tensor:
        self.rewards = super()._calculate_rewards(inputs, *rest)
        return self.rewards

    def masked(self, place: int) -> list[int]:
        """The tokens of a completion that are learnt from."""
        return [
            token
            for token, counted in zip(self.completion_ids[place], self.mask[place], strict=True)
            if counted
        ]


class Scripted(Recorded):
    """Replies come from `script(row, place in its group)`; all else is TRL's own."""

    def __init__(self, *, script: Callable[[Mapping[str, Any], int], list[str]], **rest: Any):
        self.script = script
        super().__init__(**rest)

    def _generate_and_score_completions(self, inputs: Sequence[Mapping[str, Any]]) -> Any:
        self.rows = [dict(row) for row in inputs]
        scripts = [self.script(row, i % self.num_generations) for i, row in enumerate(inputs)]
        self.scripted = [[list(self.tokens.written(text)) for text in texts] for texts in scripts]
        self._left = [list(replies) for replies in self.scripted]
        return super()._generate_and_score_completions(inputs)

    def _generate_single_turn(self, prompt_ids: Sequence[Any], *rest: Any, **more: Any) -> Any:
        """The next reply of every script with one left; those asked for, or the test is wrong."""
        asked = [left for left in self._left if left]
        if len(asked) != len(prompt_ids):
            raise AssertionError(f"{len(prompt_ids)} prompts, {len(asked)} scripts go on")
        replies = [left.pop(0) for left in asked]
        return replies, [[SAID_AT] * len(reply) for reply in replies]


def weights(trainer: GRPOTrainer) -> torch.Tensor:
    """All of the model's weights, copied."""
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
