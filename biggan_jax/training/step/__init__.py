"""The training step of one replica: losses, penalties, augmentation, state and update."""
