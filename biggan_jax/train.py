"""Trains BigGAN as a config says, from the beginning or from where a stopped run left its workdir.

  python -m biggan_jax.train --config=configs/fashion_mnist.py --workdir=runs/fashion_mnist
  python -m biggan_jax.train --config=configs/cifar10.py --workdir=runs/narrow --config.model.channels=32
  python -m biggan_jax.train --config=configs/imagenet128.py --workdir=runs/imagenet128 \\
      --config.batch_size=256 --config.checkpoint_every=500

With --dry_run it says what it would read, draws 64 images as the networks would see them (dry_run.png in the
workdir), measures how fast they come, and stops.

On several hosts, run the same command on each: TPU slices and SLURM (srun, one task for each GPU) tell JAX
the rest. Elsewhere say it; on one machine, launch/local.py does:

  python -m biggan_jax.train --config=configs/imagenet128.py --workdir=gs://bucket/imagenet128 \\
      --coordinator_address=first-host:1234 --num_processes=4 --process_id=0

The workdir gets config.json, metrics.jsonl, tensorboard/, curves.png, samples/ and checkpoints/; of several
hosts the first alone writes it. The same command again goes on from the last checkpoint, on any number of
devices and hosts, or says that the run is finished. Ctrl-C and SIGTERM save first.

Exit codes: 0 finished, 2 an error that you can put right (a collapse is one), 75 saved after SIGTERM or
another process was lost, and to be started again, 130 saved after Ctrl-C.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_INTERRUPTED

CONFIG = cli.define_config()
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "where the run keeps everything, a directory or gs://BUCKET/DIRECTORY; is created",
    required=True,
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "say what would be read, draw 64 images of it, measure how fast it comes, and stop"
)
PLACE = cli.define_processes()


def main(argv: Sequence[str]) -> int:
    """Runs the loop; returns the exit code."""
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
