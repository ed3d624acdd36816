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


def main(argv: Sequence[str]) -> int:
    """Runs the loop; returns the exit code."""
    del argv
    from biggan_jax.training.loop import train  # here: --help and a misspelt flag need not wait for JAX

    try:
        return train(CONFIG.value, WORKDIR.value)
    except KeyboardInterrupt:  # the second Ctrl-C: an ordinary exit would wait for the threads of a save
        os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    cli.run(main)
