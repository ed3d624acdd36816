r"""Trains BigGAN, from the beginning or from the last checkpoint in the workdir.

  python -m biggan_jax.train --config=fashion_mnist --workdir=runs/fashion_mnist
  python -m biggan_jax.train --config=cifar10 --workdir=runs/narrow --config.model.channels=32
  python -m biggan_jax.train --config=imagenet128 --workdir=runs/imagenet128 \
      --config.batch_size=256 --config.checkpoint_every=500

The run writes config.json, metrics.jsonl, tensorboard/, curves.png, samples/ and checkpoints/ into the
workdir. The same command again continues from the last checkpoint, on any number of devices and hosts, or
says that the run is finished. Ctrl-C, SIGTERM and SIGHUP save a checkpoint before the command exits.

With --dry_run the command lists the data that it would read, writes 64 training images to dry_run.png in the
workdir as the networks would receive them, measures how fast images arrive, and stops.

On several hosts, run the same command on each. TPU slices and SLURM (srun, one task for each GPU) give JAX
the place of each process, and on one machine launch/local.py does. Elsewhere give it by flags:

  python -m biggan_jax.train --config=imagenet128 --workdir=gs://bucket/runs/imagenet128 \
      --coordinator_address=first-host:1234 --num_processes=4 --process_id=0

Only the first process writes into the workdir.

Exit codes: 0 the run is finished; 2 a user error, such as a wrong flag or a collapsed run; 75 the state is
saved after SIGTERM, or another process was lost, and the same command continues the run; 130 the state is
saved after Ctrl-C.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from biggan_jax.runtime import cli, command_flags
from biggan_jax.runtime.errors import EXIT_INTERRUPTED

CONFIG = cli.define_config()
WORKDIR = command_flags.path(
    "workdir",
    "Directory of the run, or gs://BUCKET/DIRECTORY; the command creates it",
    required=True,
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "List the data, write 64 training images, measure how fast images arrive, and stop"
)
PLACE = cli.define_processes()


def main(argv: Sequence[str]) -> int:
    """Trains, or does the dry run; returns the exit code."""
    del argv
    from biggan_jax.runtime import processes  # here: --help and a misspelt flag need not wait for JAX

    processes.join(*PLACE())
    if DRY_RUN.value:
        from biggan_jax.training.run.dry_run import dry_run as run
    else:
        from biggan_jax.training.run.loop import train

        run = functools.partial(train, open_evaluation=_open_evaluation)

    try:
        with processes.fail_fast():
            return run(CONFIG.value, WORKDIR.value)
    except KeyboardInterrupt:  # the second Ctrl-C: an ordinary exit would wait for the threads of a save
        os._exit(EXIT_INTERRUPTED)


def _open_evaluation(*arguments: Any) -> Any:
    from biggan_jax.evaluation.during_training import TrainingEvaluation  # here: most runs don't need it

    return TrainingEvaluation(*arguments)


if __name__ == "__main__":
    cli.run(main)
