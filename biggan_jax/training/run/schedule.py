"""The schedule of a run: the tasks that are due after each call. An interval of 0 means never."""

from typing import NamedTuple

from ml_collections import ConfigDict

MOST_EPOCHS = 100_000  # without a warning; the paper's runs are of some hundreds


class Due(NamedTuple):
    """The tasks that are due after one call of the compiled program.

    Attributes:
      row: Whether rows of metrics are due.
      sheet: Whether a sheet of samples is due.
      evaluation: Whether an evaluation is due.
      checkpoint: Whether a checkpoint is due.
    """

    row: bool
    sheet: bool
    evaluation: bool
    checkpoint: bool

    @property
    def anything(self) -> bool:
        """Whether the host needs the results of the call."""
        return self.row or self.sheet or self.checkpoint


def due_after(config: ConfigDict, before: int, step: int) -> Due:
    """Returns the tasks that are due after a call that did the steps after `before` up to `step`."""
    finished = step == config.total_steps

    def at(every: int) -> bool:
        return every > 0 and (finished or step % every == 0)

    evaluation = at(config.evaluation.every)
    return Due(
        row=finished or step // config.log_every > before // config.log_every,
        sheet=at(config.sample_every),
        evaluation=evaluation,
        # An evaluation takes minutes, in which the run may be stopped: its state is saved first.
        checkpoint=finished or at(config.checkpoint_every) or evaluation,
    )


def checks_singular_values(config: ConfigDict, step: int) -> bool:
    """Returns whether the row of a step is the first since a multiple of `collapse.check_every`."""
    every, before = config.collapse.check_every, (step - 1) // config.log_every
    return every > 0 and step // every > before * config.log_every // every


def steps_of_call(config: ConfigDict, step: int) -> int:
    """Returns how many steps the next call does.

    Calls end at multiples of `steps_per_call`, wherever the run was resumed.
    """
    return min(config.steps_per_call - step % config.steps_per_call, config.total_steps - step)


def warn_of_epochs(config: ConfigDict, num_examples: int) -> str | None:
    """Returns a warning if the run would see each image more often than anyone could mean.

    Args:
      config: The whole config.
      num_examples: Number of training images.
    """
    epochs = config.total_steps * config.d_steps * config.batch_size // num_examples
    if epochs <= MOST_EPOCHS:
        return None
    return (
        f"warning: config.total_steps = {config.total_steps:,} are {epochs:,} epochs of {num_examples:,} "
        "images: is this meant?"
    )
