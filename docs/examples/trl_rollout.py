"""GRPO with TRL: the model writes plain text, as an environment's prompt style asks.

python docs/examples/trl_rollout.py                           # tiny random model, on a CPU
python docs/examples/trl_rollout.py --model Qwen/Qwen3-0.6B --steps 200
"""

import argparse

import torch
from tiny_qwen import model_and_tokenizer  # beside this file
from trl import GRPOConfig, GRPOTrainer

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.trl import reward, rollout_func, success, task_dataset


def main(arguments: list[str] | None = None) -> GRPOTrainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", help="a model's name or folder; default: a tiny random one")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", default="runs/trl-rollout")
    options = parser.parse_args(arguments)

    setup = Setup(env_id="AgentGym/ALFWorld-v0", settings={"difficulty": "tiny", "max_turns": 8})
    model, tokenizer = model_and_tokenizer(options.model, setup)
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        rollout_func=rollout_func(setup, max_tokens=8192 if options.model else 1024),
        reward_funcs=[reward, success],
        train_dataset=task_dataset(setup, 64),
        args=GRPOConfig(
            reward_weights=[1.0, 0.0],  # success is in the log only
            num_generations=4,  # a group
            per_device_train_batch_size=8,  # completions
            max_completion_length=256 if options.model else 16,  # of one reply
            max_steps=options.steps,
            learning_rate=1e-6,
            bf16=torch.cuda.is_available(),  # TRL's default, which a CPU refuses
            use_cpu=not torch.cuda.is_available(),
            output_dir=options.out,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
        ),
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
