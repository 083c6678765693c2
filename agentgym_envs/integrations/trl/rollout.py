"""Episodes as plain text, for TRL's `rollout_func`: tokens in, tokens out, no tool calls."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from agentgym_envs.drivers.chat_tokens import ChatTokens
from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.drivers.token_conversation import TokenConversation, TokenEpisode, prepare
from agentgym_envs.integrations.trl.rows import NamedTask

Samples = dict[str, Any]


def rollout_func(setup: Setup, *, max_tokens: int) -> Callable[[list[Any], Any], Samples]:
    """A function for TRL's `rollout_func`, which plays the tasks of `task_dataset(setup)`.

    All episodes of a generation batch are played in lockstep with the trainer's own sampling:
    transformers' `generate`, its continuous batching, or vLLM.

    max_tokens: the longest conversation, prompt included. GRPOConfig's `max_completion_length` is
    the longest *reply*. An episode without room for another reply of that length ends there:
    truncated, with stop_reason "length".

    What it returns, besides TRL's `prompt_ids`, `completion_ids`, `logprobs` (of sampled tokens,
    0.0 elsewhere; None where the trainer's sampler tells none, and TRL computes them itself) and
    `env_mask` (1 on sampled tokens), are columns for reward functions: `reward`, `score`,
    `success`, `terminated`, `truncated`, `turns`, `stop_reason`.

    Raises ValueError for the layout "turns": TRL takes one row of tokens for each prompt.
    """
    if setup.layout != "chat":
        raise ValueError(
            "TRL takes one row of tokens for each prompt, and layout = 'turns' makes one for each "
            "turn: use layout = 'chat'"
        )
    return Rollout(setup, max_tokens)


class Rollout:
    """See `rollout_func`. Holds its environments, and nothing else from call to call."""

    def __init__(self, setup: Setup, max_tokens: int) -> None:
        self._setup = setup
        self._max_tokens = max_tokens
        self._talks: dict[str, list[Conversation]] = defaultdict(list)  # by settings

    def __call__(self, prompts: list[Any], trainer: Any) -> Samples:
        """Play an episode for each prompt. Raises ValueError for a trainer it cannot serve."""
        tokens = ChatTokens(trainer.processing_class)
        _check(trainer, tokens, len(prompts))
        tasks = [NamedTask.in_prompt(prompt, self._setup) for prompt in prompts]
        seats = [
            TokenConversation(
                conversation,
                tokens,
                max_tokens=self._max_tokens,
                reply_tokens=trainer.max_completion_length,
            )
            for conversation in self._conversations(tasks)
        ]
        for seat, task in zip(seats, tasks, strict=True):
            seat.begin(task_id=task.task_id, seed=task.seed)
        told = _play(seats, trainer)
        return _samples([seat.finished() for seat in seats], told)

    def _conversations(self, tasks: Sequence[NamedTask]) -> list[Conversation]:
        """One for each task, of those made before as far as they go."""
        taken: dict[str, int] = defaultdict(int)
        chosen: list[Conversation] = []
        for task in tasks:
            settings = task.setup.row("")["settings"]
            pool = self._talks[settings]
            if taken[settings] == len(pool):
                pool.append(task.setup.conversation())
            chosen.append(pool[taken[settings]])
            taken[settings] += 1
        return chosen


def _play(seats: Sequence[TokenConversation], trainer: Any) -> bool:
    """Play all to their end. Returns whether the sampler told log-probs."""
    told = True
    while live := [seat for seat in seats if not seat.over]:
        # What TRL's own loop of tool calls uses, and its one call for every way to sample.
        replies, logprobs = trainer._generate_single_turn(
            [list(seat.prompt) for seat in live], None, {}, num_generations=1
        )
        told = logprobs is not None
        prepare(live, replies)
        for place, (seat, reply) in enumerate(zip(live, replies, strict=True)):
            seat.take(reply, _numbers(logprobs[place]) if told else None)
    return told


def _numbers(logprobs: Sequence[float | None]) -> list[float]:
    """vLLM's None is a log-prob that it cannot tell; TRL makes it not-a-number too."""
    return [math.nan if one is None else one for one in logprobs]


def _samples(episodes: Sequence[TokenEpisode], told: bool) -> Samples:
    rows = [episode.row for episode in episodes]
    return {
        "prompt_ids": [list(row.prompt) for row in rows],
        "completion_ids": [list(row.response) for row in rows],
        "logprobs": [list(row.logprobs) for row in rows] if told else None,
        "env_mask": [list(row.mask) for row in rows],
        "reward": [episode.reward for episode in episodes],
        "score": [episode.verdict.score for episode in episodes],
        "success": [episode.verdict.success for episode in episodes],
        "terminated": [episode.terminated for episode in episodes],
        "truncated": [episode.truncated for episode in episodes],
        "turns": [len(episode.rewards) for episode in episodes],
        "stop_reason": [episode.stop_reason for episode in episodes],
    }


def _check(trainer: Any, tokens: ChatTokens, count: int) -> None:
    """What would go wrong without a word, said."""
    if trainer.chat_template_kwargs not in ({}, {"enable_thinking": False}):
        raise ValueError(
            f"chat_template_kwargs = {trainer.chat_template_kwargs} would not be used: plain text "
            "is written with enable_thinking=False and nothing else"
        )
    if tokens.stop not in trainer.eos_token_ids:
        token = tokens.tokenizer.convert_ids_to_tokens(tokens.stop)
        raise ValueError(
            f"the chat template ends a reply with {token!r}, at which this trainer does not stop: "
            f"set tokenizer.eos_token = {token!r}"
        )
    processes = trainer.accelerator.num_processes
    if processes > 1 and _in_step(trainer):
        raise ValueError(
            "episodes end after different numbers of turns, and with a vLLM server, tensor "
            "parallelism, FSDP or DeepSpeed ZeRO-3 every process must sample equally often: use "
            "one process, or vllm_mode='colocate' on plain data parallelism"
        )
    expected = trainer.args.generation_batch_size // processes
    if trainer.model.training and count != expected:
        raise RuntimeError(
            f"TRL gave {count} prompts where {expected} completions are due: this was written for "
            "one prompt a completion, with the members of a group repeated"
        )


def _in_step(trainer: Any) -> bool:
    """Sampling waits for the other processes."""
    if trainer.use_vllm and (
        trainer.vllm_mode == "server" or trainer.vllm_tensor_parallel_size > 1
    ):
        return True
    deepspeed = trainer.accelerator.state.deepspeed_plugin
    return trainer.is_fsdp_enabled or (deepspeed is not None and deepspeed.zero_stage == 3)
