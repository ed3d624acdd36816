"""A run: the loop, its workdir, its checkpoints, where it starts and what it exports."""
