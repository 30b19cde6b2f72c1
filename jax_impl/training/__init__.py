"""Training state, optimiser, step, checkpoints and reports."""
