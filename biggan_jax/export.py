"""Makes a run's generator a folder that needs neither the run nor the training code: an export.

  python -m biggan_jax.export --workdir=runs/demo --output=exports/garments
  python -m biggan_jax.export --workdir=runs/demo --step=2800 --output=exports/step2800 --truncations=0.5,1,0
  python -m biggan_jax.export --workdir=gs://bucket/run --best --output=exports/best --stablehlo

It holds the averaged weights, divided by their spectral norms, batch norm's standing statistics at each of
--truncations (between them they are interpolated), the classes' names, what it came of, and a model card:

  import biggan_jax
  images = biggan_jax.load("exports/garments").sample(["Sandal", 7], truncation=0.5)

Statistics of one truncation take config.sampling.standing_passes forward passes of config.sampling.batch_size
images: seconds on an accelerator, but on a CPU half an hour for a network of 128 px, which a bar shows.

--stablehlo adds sampler.stablehlo, the whole sampler as a program that JAX runs without this package on CPUs,
CUDA GPUs and TPUs; the model card shows how.

Once written, the export is loaded in a fresh process, and must draw the same images, byte by byte. If it does
not, or the command is stopped, there is no export.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError

WORKDIR = flags.DEFINE_string(
    "workdir", None, "of a run, a directory or gs://BUCKET/DIRECTORY", required=True
)
STEP = flags.DEFINE_integer("step", None, "of the checkpoint (default: the newest)", lower_bound=0)
BEST = flags.DEFINE_bool("best", False, "take the checkpoint that is best by config.checkpoints.metric")
OUTPUT = flags.DEFINE_string("output", None, "folder of the export; must not exist yet", required=True)
TRUNCATIONS = flags.DEFINE_list(
    "truncations",
    None,
    "store statistics at these; 0 = untruncated (default: 0.25,0.5,0.75,1,1.5,0; of latents that are not "
    "normal, 0)",
)
STABLEHLO = flags.DEFINE_bool("stablehlo", False, "add the sampler as a program, sampler.stablehlo")


def main(argv: Sequence[str]) -> int:
    """Exports and says what came of it; returns the exit code."""
    del argv
    if BEST.value and STEP.value is not None:
        raise UserError(f"--best and --step={STEP.value}: give one of them")
    if "://" in OUTPUT.value:
        raise UserError(f"--output={OUTPUT.value}: give a local folder, and copy it from there")
    truncations = None
    if TRUNCATIONS.value is not None:
        truncations = tuple(map(_truncation, TRUNCATIONS.value or [""]))
    from rich.console import Console  # here: --help and a misspelt flag need not wait for JAX

    from biggan_jax.runtime.files import resolve_directory
    from biggan_jax.training.run.exporting import export_run

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        export_run(
            resolve_directory(WORKDIR.value),
            "best" if BEST.value else STEP.value,
            Path(OUTPUT.value),
            console,
            truncations=truncations,
            stablehlo=STABLEHLO.value,
        )
    except KeyboardInterrupt:
        console.print("interrupted: there is no export")
        return EXIT_INTERRUPTED
    return 0


def _truncation(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"--truncations={text}: give numbers, such as 0.5,1,0; 0 = untruncated")
    return value


if __name__ == "__main__":
    cli.run(main)
