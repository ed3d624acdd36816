"""Trains BigGAN as a config says, from the beginning or from where a stopped run left its workdir.

  python -m biggan_jax.train --config=configs/fashion_mnist.py --workdir=runs/fashion_mnist
  python -m biggan_jax.train --config=configs/cifar10.py --workdir=runs/narrow --config.model.channels=32
  python -m biggan_jax.train --config=configs/imagenet128.py --workdir=runs/imagenet128 \\
      --config.batch_size=256 --config.checkpoint_every=500

The workdir gets config.json, metrics.jsonl, tensorboard/, samples/ and checkpoints/. The same command again
goes on from the last checkpoint, or says that the run is finished. Ctrl-C and SIGTERM save first.

Exit codes: 0 finished, 2 an error that you can put right, 75 saved after SIGTERM and to be started again,
130 saved after Ctrl-C.
"""

import os
from collections.abc import Sequence

from absl import flags

from biggan_jax import cli
from biggan_jax.training.interruption import EXIT_INTERRUPTED

CONFIG = cli.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "where the run keeps everything; is created", required=True)


COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT where process 0 of several listens; TPU slices and SLURM know it"
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many processes the run has", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this is, from 0", lower_bound=0)


def main(argv: Sequence[str]) -> int:
    """Runs the loop; returns the exit code."""
    del argv
    from biggan_jax.training import hosts  # here: --help and a misspelt flag need not wait for JAX

    hosts.join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    from biggan_jax.training.loop import train

    try:
        with hosts.parting():
            return train(CONFIG.value, WORKDIR.value)
    except KeyboardInterrupt:  # the second Ctrl-C: an ordinary exit would wait for the threads of a save
        os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    cli.run(main)
