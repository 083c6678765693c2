#!/usr/bin/env bash
# Train in verl: our environments as its agent loop, our algorithms as its estimators and losses.
#
# Needs verl 0.9 with vLLM and GPUs, and was not run by us: what runs in our tests, on a CPU, is
# verl's own worker with this agent loop, its `compute_advantage` and its loss with our algorithms,
# its data set on these files and its settings with these overlays. Its training loop is its own.
#
#   pip install "verl[vllm]==0.9.1" -e '.[train]'
#   ALGORITHM=atod STUDENT=Qwen/Qwen3-1.7B TEACHER=path/to/trained-4B bash docs/examples/verl.sh
#
# ALGORITHM: grpo, gigpo, opd, tcod, sod, atod.  TASKS: the first so many; default: all.
# With `hints` in the task files (see below) also: sdar, skill_sd, opsd, grpo_opsd, rlsd. A hint is
# read on top of prompt and response: give rollout.max_model_len room for it.
set -euo pipefail
algorithm=${ALGORITHM:-grpo}
student=${STUDENT:-Qwen/Qwen3-1.7B}

# verl is silent about a plug-in that does not load: ask aloud first.
agentgym-train doctor verl

# Task files. TCOD plays training episodes to a depth that grows, and validates in full.
python - "$algorithm" <<'PYTHON'
import os
import sys

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.verl import write_parquet

agent = "agentgym_tcod" if sys.argv[1] == "tcod" else "agentgym"
# For sdar, skill_sd, opsd, grpo_opsd and rlsd: hints=lambda task: "Skills ...\n\n" as well.
tasks = int(os.environ.get("TASKS", 0)) or None
for split, loop, count in (("train", agent, tasks), ("valid_seen", "agentgym", tasks or 128)):
    setup = Setup(
        env_id="AgentGym/ALFWorld-v0",
        settings={"split": split, "max_turns": 50, "reward_scale": 10.0},
    )
    rows = write_parquet(setup, f"{split}.parquet", count, reply_tokens=512, agent=loop)
    print(f"{split}.parquet: {rows} tasks")
PYTHON

overlays=$(python -c "from agentgym_train.integrations.verl import overlay_folder as f; print(f())" | tail -1)
teacher=()
if [[ -n "${TEACHER:-}" ]]; then
    teacher=("distillation.teacher_models.teacher_model.model_path=$TEACHER")
fi

# The overlay holds the paper's settings; whatever follows it on the line wins.
python -m verl.trainer.main_ppo \
    --config-dir "$overlays" "+agentgym=$algorithm" \
    data.train_files="$PWD/train.parquet" data.val_files="$PWD/valid_seen.parquet" \
    actor_rollout_ref.model.path="$student" \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    trainer.n_gpus_per_node="${GPUS:-8}" \
    "${teacher[@]}" "$@"
