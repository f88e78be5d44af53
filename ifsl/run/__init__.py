"""Training, evaluation, metrics, checkpoints and prediction on folders (chapters 10 to 14)."""
