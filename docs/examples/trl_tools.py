"""GRPO with TRL: the model calls an environment's actions as tools.

python docs/examples/trl_tools.py                             # tiny random model, on a CPU
python docs/examples/trl_tools.py --model Qwen/Qwen3-0.6B --steps 200
"""

import argparse

import torch
from tiny_qwen import model_and_tokenizer  # beside this file
from trl import GRPOConfig, GRPOTrainer

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.trl import success, task_dataset, tools_factory


def main(arguments: list[str] | None = None) -> GRPOTrainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", help="a model's name or folder; default: a tiny random one")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", default="runs/trl-tools")
    options = parser.parse_args(arguments)

    setup = Setup(env_id="AgentGym/WebShop-v0", settings={"difficulty": "tiny", "max_turns": 8})
    model, tokenizer = model_and_tokenizer(options.model, setup)
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        environment_factory=tools_factory(setup),  # has the reward too
        reward_funcs=[success],  # in the log, but of weight 0
        train_dataset=task_dataset(setup, 64),
        args=GRPOConfig(
            reward_weights=[0.0],
            num_generations=4,  # a group
            per_device_train_batch_size=8,  # completions
            max_completion_length=4096 if options.model else 128,  # of a whole episode
            chat_template_kwargs={"enable_thinking": False},
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
