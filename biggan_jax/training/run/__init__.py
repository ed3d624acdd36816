"""A run: its loop, workdir, checkpoints, initial weights and exports."""
