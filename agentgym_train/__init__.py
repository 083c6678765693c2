"""Training of language-model agents: rollouts, credit, updates.

The modules in reading order: `rollout`, `layout`, `batch`, `algorithms`, `update`, `train`.
Arithmetic without settings is in `signals`; arithmetic with settings is in `parts`.
"""
