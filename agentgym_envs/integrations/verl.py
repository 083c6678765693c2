# pyright: reportMissingImports=false
"""verl: our environments as an agent loop, and task files that its data set reads.

    write_parquet(Setup(env_id="AgentGym/ALFWorld-v0"), "train.parquet", reply_tokens=512)

Each row names `agentgym` as its agent loop, so that verl's trainer plays it here. Importing this
module registers the loop; with agentgym_train installed, `import verl` does so by itself.

What verl keeps apart, it gets apart: `terminated`, `truncated` and `success` are three extra
fields. `reward_score` is the sum of the environment's rewards, on the last token; the rewards of
single turns are the extra field `turn_rewards`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from agentgym_envs.drivers import ChatTokens, Setup, TokenConversation, TokenEpisode
from agentgym_envs.integrations.needs import require
from agentgym_envs.types import Task

require("verl", (0, 9), (0, 10))

from verl.experimental.agent_loop.agent_loop import (  # noqa: E402
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
    register,
)
from verl.workers.rollout.replica import TokenOutput  # noqa: E402

NAME = "agentgym"
_OURS = ({}, {"enable_thinking": False})  # what ChatTokens asks of every chat template


@register(NAME)
class AgentGymLoop(AgentLoopBase):
    """Plays the task of a data set row, token in, token out, as one trajectory.

    The conversation grows by what was sampled and is never tokenised again. Needs the layout
    "chat": verl takes one trajectory a row.
    """

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Play a row (its columns are the keywords) to its end or to `rollout.response_length`.

        Extra fields: `turn_spans` (first, last + 1 in the response of each turn's sampled tokens),
        `turn_rewards`, `turn_valid`, `turn_observations` (what each turn answered), `terminated`,
        `truncated`, `success`, `score`, `stop_reason` ("length" where the tokens ran out, "depth"
        where `depth` ended it), `depth`, `reward_extra_info`, which verl's validation averages,
        and for a row with a `hint` `privileged_logprobs` [R], what the policy would have thought
        of its own response had it read the hint first.

        Raises ValueError for a row that is not ours, for another layout, for a first prompt over
        `rollout.prompt_length`, and where `raw_prompt` is not what the environment begins with;
        RuntimeError where the server aborted a reply.
        """
        watch = _Watch()
        talk = await watch.stepping(self._conversation, kwargs)
        try:
            output = await self._play(talk, watch, sampling_params, kwargs)
        finally:
            await watch.stepping(talk.conversation.env.close)
        if kwargs.get("hint"):
            logprobs = await self._privileged(kwargs, output.response_ids)
            output.extra_fields["privileged_logprobs"] = logprobs
        return output

    async def _play(
        self,
        talk: TokenConversation,
        watch: "_Watch",
        sampling_params: dict[str, Any],
        row: Mapping[str, Any],
    ) -> AgentLoopOutput:
        prompt = await watch.stepping(_begin, talk, row)
        self._check(prompt, talk, row)
        request, depth = self._request(row), self.depth(row)
        room, told = self.rollout_config.response_length, []
        while not talk.over and room > 0 and len(told) != depth:
            limit = min(room, int(row.get("reply_tokens") or room))
            reply = await watch.sampling(
                self.server_manager.generate(
                    request_id=request,
                    prompt_ids=list(talk.prompt),
                    sampling_params={**sampling_params, "max_tokens": limit},
                )
            )
            await watch.stepping(talk.take, reply.token_ids, reply.log_probs or None)
            told.append(bool(reply.log_probs) or not reply.token_ids)
            room = len(prompt) + self.rollout_config.response_length - len(talk.prompt)
        cut = "" if talk.over else "depth" if len(told) == depth else "length"
        output = self._output(talk, watch, cut, all(told))
        output.extra_fields["depth"] = depth
        return output

    def depth(self, row: Mapping[str, Any]) -> int | None:
        """How many turns to play at most; None: as many as the environment allows."""
        return None

    async def _privileged(self, row: Mapping[str, Any], response: list[int]) -> list[float]:
        """Log-probs [R] of the response under the policy that reads the row's hint first.

        By the rollout server: at temperature 1, with its weights of this moment. It reads the hint
        on top of prompt and response, so `rollout.max_model_len` must have room for it.
        """
        *before, last = (dict(message) for message in row["raw_prompt"])
        hinted = [*before, {**last, "content": f"{row['hint']}{last['content']}"}]
        prompt = ChatTokens(self.tokenizer).opening(hinted)
        output: TokenOutput = await self.server_manager.generate(
            request_id=uuid4().hex,
            prompt_ids=[*prompt, *response],
            sampling_params={
                "max_tokens": 1,
                "temperature": 1.0,
                "prompt_logprobs": 0,
                "detokenize": False,
            },
        )
        # verl's servers put the log-prob of token t + 1 at t
        told = output.extra_fields["prompt_logprobs"][len(prompt) - 1 : -1]
        return [float(logprob) for (logprob,) in told]

    def _conversation(self, row: Mapping[str, Any]) -> TokenConversation:
        setup = Setup.of(row)
        if setup.layout != "chat":
            raise ValueError(
                f"verl takes one trajectory a row, and the layout {setup.layout!r} makes one row "
                "a turn: write the task file with Setup(layout='chat')"
            )
        if dict(self.apply_chat_template_kwargs) not in _OURS:
            raise ValueError(
                "prompts are written with enable_thinking=False and nothing else, but "
                f"data.apply_chat_template_kwargs is {dict(self.apply_chat_template_kwargs)}: "
                "leave it empty"
            )
        return TokenConversation(setup.conversation(), ChatTokens(self.tokenizer))

    def _check(
        self, prompt: tuple[int, ...], talk: TokenConversation, row: Mapping[str, Any]
    ) -> None:
        limit = self.rollout_config.prompt_length
        if len(prompt) > limit:
            raise ValueError(
                f"the first prompt of task {row['task_id']!r} has {len(prompt)} tokens, more than "
                f"rollout.prompt_length = {limit}: raise data.max_prompt_length"
            )
        expected = [dict(message) for message in row["raw_prompt"]]
        if expected != [dict(message) for message in talk.conversation.messages]:
            raise ValueError(
                f"task {row['task_id']!r} does not begin with the row's prompt: the task file was "
                "written with another version or other data; write it again"
            )

    def _request(self, row: Mapping[str, Any]) -> str:
        """One id for all turns of an episode, so that its server keeps the prefix."""
        if self.rollout_config.full_determinism:
            return f"det-{row.get('priority', 0)}"
        return uuid4().hex

    def _output(
        self, talk: TokenConversation, watch: "_Watch", cut: str, has_logprobs: bool
    ) -> AgentLoopOutput:
        played = talk.finished()
        row = played.row
        return AgentLoopOutput(
            prompt_ids=list(row.prompt),
            response_ids=list(row.response),
            response_mask=list(row.mask),
            response_logprobs=list(row.logprobs) if has_logprobs else None,
            reward_score=played.reward,
            num_turns=len(talk.conversation.messages),
            metrics=watch.metrics(),
            extra_fields={**watch.fields, **_facts(played, cut)},
        )


def _begin(talk: TokenConversation, row: Mapping[str, Any]) -> tuple[int, ...]:
    return talk.begin(task_id=str(row["task_id"]), seed=int(row["seed"]))


def _facts(played: TokenEpisode, cut: str) -> dict[str, Any]:
    """What there is to say of an episode; cut: what ended it if not the environment."""
    truncated = played.truncated or bool(cut)
    numbers = {
        "success": float(played.verdict.success),
        "score": float(played.verdict.score),
        "terminated": float(played.terminated),
        "truncated": float(truncated),
    }
    return {
        "turn_spans": [list(span) for span in played.row.spans],
        "turn_rewards": list(played.rewards),
        "turn_valid": [turn.valid for turn in played.episode.turns],
        "turn_observations": [turn.observation for turn in played.episode.turns],
        "terminated": played.terminated,
        "truncated": truncated,
        "success": played.verdict.success,
        "score": played.verdict.score,
        "stop_reason": cut or played.stop_reason,
        "reward_extra_info": numbers,
        # the two fields that verl's own loops always set
        "turn_scores": list(played.rewards),
        "tool_rewards": [],
    }


@dataclass
class _Watch:
    """What an episode cost, and what the server told along with its replies."""

    generating: float = 0.0
    playing: float = 0.0
    preempted: int = -1
    fields: dict[str, Any] = field(default_factory=dict)

    async def sampling(self, reply: Awaitable[TokenOutput]) -> TokenOutput:
        start = time.perf_counter()
        output = await reply
        self.generating += time.perf_counter() - start
        if output.stop_reason == "aborted":
            raise RuntimeError("the server aborted a reply: half a reply cannot be played")
        if output.num_preempted is not None:
            self.preempted = max(self.preempted, 0) + output.num_preempted
        latest = output.extra_fields.get("max_global_steps")
        self.fields = {**output.extra_fields, **self.fields}
        if latest is not None:
            self.fields["max_global_steps"] = latest
        return output

    async def stepping(self, play: Callable[..., Any], *what: Any) -> Any:
        """In a thread: an engine may be slow, and other episodes must go on."""
        start = time.perf_counter()
        done = await asyncio.to_thread(play, *what)
        self.playing += time.perf_counter() - start
        return done

    def metrics(self) -> AgentLoopMetrics:
        return AgentLoopMetrics(
            generate_sequences=self.generating,
            tool_calls=self.playing,
            num_preempted=self.preempted,
        )


def write_parquet(
    setup: Setup,
    path: Path | str,
    count: int | None = None,
    *,
    seed: int = 0,
    reply_tokens: int = 0,
    agent: str = NAME,
    hints: Callable[[Task], str] | None = None,
) -> int:
    """Write the first `count` tasks of the environment's split (None: all) for verl's data set.

    Columns: ours (`Setup.row`), `prompt` (what the policy reads first), `data_source` (the
    environment's id), `reward_model` and `extra_info` (with the row's `index`) as verl wants them,
    `agent_name`, `reply_tokens` (the longest reply; 0: as long as the response has room) and
    `hint`. The groups are verl's: `rollout.n` attempts at each row. Returns the number of rows.

    agent: the agent loop's name in verl. hints: for algorithms whose teacher is the policy itself
    with skills in its prompt: the text to put at the start of the user's first message.

    Raises ValueError for the layout "turns", of which verl cannot take the several rows.
    """
    import pyarrow
    import pyarrow.parquet

    if setup.layout != "chat":
        raise ValueError(f"verl takes one trajectory a row: layout {setup.layout!r} is not for it")
    talk, rows = setup.conversation(), []
    for index, row in enumerate(setup.rows(count, seed)):
        prompt = talk.begin(task_id=row["task_id"], seed=seed)
        theirs = {
            "prompt": prompt,
            "data_source": setup.env_id,
            # the loop brings its own score, and a ground truth here would be a leaked answer
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": index, "split": str(talk.info["split"])},
            "agent_name": agent,
        }
        ours = {"reply_tokens": reply_tokens, "hint": hints(talk.env.task) if hints else ""}
        rows.append({**theirs, **ours, **row})
    talk.env.close()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), str(path))
    return len(rows)
