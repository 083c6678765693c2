"""How fast is the model side? Tokens per second of sampling and of one update, beside plain ways.

    python benchmarks/train_speed.py                   # a table on the screen, under three minutes
    python benchmarks/train_speed.py --device cuda --write

Everything is measured in one run, the ways taking turns, on the same tokens: replies have a fixed
length and no stop token. On a CPU the clock counts CPU-seconds of this process with one thread, so
that other work on the machine disturbs little; on a GPU it counts seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from results import RESULTS, processor, write_section
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentgym_train.batch import Batch, Row, TokenSpan, TrajectoryRows, collate
from agentgym_train.models.policy import Policy
from agentgym_train.models.sampler import Ask, LocalSampler, Sampling
from agentgym_train.models.tiny import TinySettings, make_model, train_tokenizer


@dataclass(frozen=True)
class Case:
    """One piece of work and the ways to do it; the first way is what the others are held against.

    tokens: what each way gets done, in tokens.
    """

    title: str
    tokens: int
    ways: dict[str, Callable[[], None]]


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    model = _tiny(args)
    cases = [_decoding(model, rows, args) for rows in args.rows]
    cases += [_conversations(model, args), _update(model, "0.4 M, 600 tokens", args)]
    cases.append(_update(_wide(args), f"0.4 M and {args.wide} tokens", args))
    lines = [line for case in cases for line in _rows(case, args)]
    table = "\n".join([*_heading(args), *lines])
    print(table)
    if args.write:
        write_section("train_speed", table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 16, 64], help="decoded at once")
    parser.add_argument("--prompt", type=int, default=300, help="tokens of a first prompt")
    parser.add_argument("--reply", type=int, default=32, help="tokens of a reply")
    parser.add_argument("--observation", type=int, default=60, help="tokens of a later observation")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--group", type=int, default=8, help="conversations from one prompt")
    parser.add_argument("--wide", type=int, default=32_000, help="the larger vocabulary")
    parser.add_argument("--write", action="store_true", help=f"put the table in {RESULTS.name}")
    return parser.parse_args()


def _tiny(args: argparse.Namespace) -> Any:
    words = [f"thing{chr(97 + i % 26)} {i}" for i in range(400)]
    tokenizer = train_tokenizer([word for word in words for _ in range(2)], 600)
    model = make_model(TinySettings(seed=args.seed), tokenizer).to(args.device)
    model.tokenizer = tokenizer
    return model


def _wide(args: argparse.Namespace) -> Any:
    small = _tiny(args)
    config = Qwen3Config(**{**small.config.to_dict(), "vocab_size": args.wide})
    model = Qwen3ForCausalLM(config).to(args.device)
    model.tokenizer = small.tokenizer
    return model


def _decoding(model: Any, rows: int, args: argparse.Namespace) -> Case:
    """New tokens behind prompts that no one has read yet."""
    dice = np.random.default_rng(args.seed)
    prompts = [dice.integers(300, 500, args.prompt).tolist() for _ in range(rows)]
    sampler = LocalSampler(model, model.tokenizer)
    sampling = Sampling(max_tokens=args.reply, stop=())

    def ours() -> None:
        sampler.forget()
        sampler.reply([Ask(i, prompt, (i,)) for i, prompt in enumerate(prompts)], sampling)

    return Case(
        f"sampling: {rows} different prompts of {args.prompt}, {args.reply} new tokens each",
        rows * args.reply,
        {
            "`generate` of transformers": lambda: _generate(model, prompts, args),
            "ours": ours,
        },
    )


def _conversations(model: Any, args: argparse.Namespace) -> Case:
    """A group's conversations, turn by turn; each reply and an observation is appended."""

    def play(reply: Callable[[list[list[int]], int], list[list[int]]]) -> None:
        dice = np.random.default_rng(args.seed)
        first = dice.integers(300, 500, args.prompt).tolist()
        prompts = [list(first) for _ in range(args.group)]
        for turn in range(args.turns):
            for prompt, said in zip(prompts, reply(prompts, turn), strict=True):
                prompt += said + dice.integers(300, 500, args.observation).tolist()

    def sampled_by(sampler: LocalSampler) -> Callable[[], None]:
        sampling = Sampling(max_tokens=args.reply, stop=())

        def reply(prompts: list[list[int]], turn: int) -> list[list[int]]:
            asks = [Ask(i, prompt, (i, turn)) for i, prompt in enumerate(prompts)]
            return [list(one.tokens) for one in sampler.reply(asks, sampling)]

        def run() -> None:
            sampler.forget()
            play(reply)

        return run

    return Case(
        f"rollout: {args.group} conversations of one prompt of {args.prompt}, {args.turns} turns, "
        f"replies of {args.reply}, observations of {args.observation}",
        args.group * args.turns * args.reply,
        {
            "`generate`, prompt read every turn": lambda: play(
                lambda prompts, _: _generate(model, prompts, args)
            ),
            'ours, cache = "none"': sampled_by(LocalSampler(model, model.tokenizer, cache="none")),
            'ours, cache = "kept"': sampled_by(LocalSampler(model, model.tokenizer)),
        },
    )


def _generate(model: Any, prompts: list[list[int]], args: argparse.Namespace) -> list[list[int]]:
    ids = torch.tensor(prompts, device=args.device)
    model.eval()
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        min_new_tokens=args.reply,
        max_new_tokens=args.reply,
        pad_token_id=0,
    )
    return out[:, ids.shape[1] :].tolist()


def _update(model: Any, name: str, args: argparse.Namespace) -> Case:
    """Forward and backward of one update on rows as long as the rollout's conversations."""
    batch = _batch(args)
    policy = Policy(model, model.tokenizer)
    parts = batch.micro_batches(torch.arange(len(batch.length)), 4096)

    def ours(entropy: bool) -> None:
        model.zero_grad(set_to_none=True)
        for part in parts:
            live = policy.live(batch.padded(part), entropy=entropy)
            loss = live.logprob.sum() if live.entropy is None else live.entropy.sum()
            loss.backward()

    def plain() -> None:
        """All positions through the output layer, then a softmax over the vocabulary."""
        model.train()
        model.zero_grad(set_to_none=True)
        for part in parts:
            padded = batch.padded(part).to(args.device)
            mask = torch.arange(padded.ids.shape[1], device=args.device) < padded.length[:, None]
            out = model(input_ids=padded.ids, attention_mask=mask.long(), use_cache=False)
            logprobs = out.logits[:, :-1].log_softmax(-1)
            of_next = logprobs.gather(2, padded.ids[:, 1:, None])[..., 0]
            of_next[padded.row, padded.column - 1].sum().backward()

    return Case(
        f"update, forward and backward: {len(batch.length)} rows, {len(batch.ids)} tokens of which "
        f"{len(batch)} sampled; {name}",
        len(batch.ids),
        {
            "plain: every position scored at once": plain,
            "ours": lambda: ours(False),
            "ours, entropy too": lambda: ours(True),
        },
    )


def _batch(args: argparse.Namespace) -> Batch:
    dice = np.random.default_rng(args.seed)
    trajectories = []
    for member in range(args.group):
        turns = int(dice.integers(args.turns // 2, args.turns + 1))
        stride = args.reply + args.observation
        spans = [
            TokenSpan(turn, start, start + args.reply)
            for turn in range(turns)
            for start in [args.prompt + turn * stride]
        ]
        row = Row(dice.integers(300, 500, args.prompt + turns * stride).tolist(), spans)
        trajectories.append(
            TrajectoryRows(
                group=0,
                rows=[row],
                places=range(turns),
                valid=[True] * turns,
                episode_return=float(member % 2),
                success=member % 2 == 1,
            )
        )
    return collate(trajectories)


def _rows(case: Case, args: argparse.Namespace) -> list[str]:
    """Measure a case; one line per way. Ratios are of medians, against the first way."""
    taken: dict[str, list[float]] = {name: [] for name in case.ways}
    for repeat in range(args.repeats + 1):
        for name, run in case.ways.items():
            seconds = _seconds(run, args.device)
            if repeat:  # the first one warms up
                taken[name].append(seconds)
    base = statistics.median(next(iter(taken.values())))
    lines = []
    for name, seconds in taken.items():
        rates = [case.tokens / one for one in seconds]
        middle = statistics.median(seconds)
        title = "" if lines else case.title
        lines.append(
            f"| {title} | {name} | {case.tokens / middle:,.0f} | "
            f"{min(rates):,.0f} - {max(rates):,.0f} | {base / middle:.2f} |"
        )
    return lines


def _seconds(run: Callable[[], None], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _heading(args: argparse.Namespace) -> list[str]:
    machine = torch.cuda.get_device_name() if args.device == "cuda" else processor()
    clock = "second" if args.device == "cuda" else "CPU-second"
    return [
        "## Speed of the model side",
        "",
        f"`python benchmarks/train_speed.py --device {args.device}`: {machine}, {args.threads} "
        f"thread(s), torch {torch.__version__}, transformers {transformers.__version__}, float32, "
        f"Qwen3 with width 128 and 2 layers (0.4 M parameters, random), seed {args.seed}, "
        f"{args.repeats} repeats taking turns after one to warm up. Tokens per {clock}: median, "
        "and lowest to highest. Sampling and rollout count sampled tokens (prompts are read within "
        "the time); updates count all tokens read.",
        "",
        f"| work | way | tokens per {clock} | lowest - highest | times the first |",
        "|---|---|---:|---:|---:|",
    ]


if __name__ == "__main__":
    main()
