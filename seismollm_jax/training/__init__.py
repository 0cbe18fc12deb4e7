"""The training run and its checkpoints."""
