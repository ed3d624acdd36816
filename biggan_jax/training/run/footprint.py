"""Changes of a config with which a run needs less memory."""

from ml_collections import ConfigDict


def smaller(config: ConfigDict) -> str:
    """Returns the changes with which a step needs less memory, without those that the config has already.

    Args:
      config: The whole config.
    """
    changes = [f"raise config.micro_batches (now {config.micro_batches})"]
    if not config.model.remat:
        changes.append("set config.model.remat=True")
    if config.model.dtype != "bfloat16":
        changes.append("set config.model.dtype='bfloat16'")
    if config.steps_per_call > 1:
        changes.append(f"lower config.steps_per_call (now {config.steps_per_call})")
    return f"{', '.join(changes)}, or lower config.batch_size (now {config.batch_size})"


def smaller_evaluation(config: ConfigDict) -> str:
    """Returns the changes with which an evaluation during the run needs less memory."""
    return (
        f"lower config.sampling.batch_size (now {config.sampling.batch_size}) or "
        f"config.evaluation.num_samples (now {config.evaluation.num_samples})"
    )
