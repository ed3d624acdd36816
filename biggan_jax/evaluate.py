"""Judges a run: are its samples recognised as the class asked for, and do those of one class differ?

  python -m biggan_jax.evaluate --workdir=runs/demo
  python -m biggan_jax.evaluate --workdir=runs/demo --num_samples=10000 --truncation=0.5
  python -m biggan_jax.evaluate --workdir=runs/imagenet64 --train_split='train[:50000]' \\
      --test_split='validation[:10000]'

The newest checkpoint's averaged generator draws as many samples of each class, with standing statistics. A
small classifier, which the first call trains on the real images (under a minute for Fashion-MNIST on two CPU
cores) and keeps in the workdir, labels them. The scores are named after it, because they compare only with
scores of the same classifier, and beside them stands what share of real test images it recognises:

  recognised@classifier   share of samples that it takes for the class asked for
  diversity@classifier    distance between two samples of a class, real images being 1; near 0, every sample
                          of the class is the same picture. Above 1 with few recognised, they are no class

Prints a table, writes it to evaluation.json and draws evaluation.png in the workdir.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from biggan_jax import cli

WORKDIR = flags.DEFINE_string("workdir", None, "the run's directory", required=True)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 2_000, "samples over all classes", lower_bound=1)
TRUNCATION = flags.DEFINE_float(
    "truncation", 0.0, "draw latents beyond this threshold again; 0 = untruncated", lower_bound=0.0
)
SEED = flags.DEFINE_integer("seed", 0, "of the samples' latents", lower_bound=0)
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", None, "real images the classifier learns from (default: those the run learns from)"
)
TEST_SPLIT = flags.DEFINE_string("test_split", "test", "real images to compare with")


def main(argv: Sequence[str]) -> int:
    """Judges the run and shows what was found; returns the exit code."""
    del argv
    from rich.console import Console  # here: --help and a misspelt flag need not wait for JAX

    from biggan_jax.evaluation.judge import judge
    from biggan_jax.evaluation.report import picture, table
    from biggan_jax.sampling.sheets import png
    from biggan_jax.training.workdir import write_whole

    workdir, console = Path(WORKDIR.value).absolute(), Console(highlight=False)
    report, samples, config = judge(
        workdir,
        num_samples=NUM_SAMPLES.value,
        truncation=TRUNCATION.value,
        seed=SEED.value,
        train_split=TRAIN_SPLIT.value,
        test_split=TEST_SPLIT.value,
        console=console,
    )
    console.print(table(report))
    page = picture(samples, report, config.sampling.samples_per_class, config.sampling.max_classes)
    write_whole(workdir / "evaluation.json", json.dumps(report, indent=2, allow_nan=False).encode())
    write_whole(workdir / "evaluation.png", png(page))
    console.print(f"written: {workdir / 'evaluation.json'} and {workdir / 'evaluation.png'}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run(main)
