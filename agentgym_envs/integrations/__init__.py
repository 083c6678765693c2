"""The environments in other people's stacks: one module each, loaded only when imported."""
