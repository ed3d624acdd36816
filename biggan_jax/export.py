"""Exports the generator of a run to a folder that needs neither the run nor the training code.

  python -m biggan_jax.export --workdir=runs/demo --output=exports/garments
  python -m biggan_jax.export --workdir=runs/demo --step=2800 --output=exports/step2800 --truncations=0.5,1,0
  python -m biggan_jax.export --workdir=gs://bucket/runs/demo --best --output=exports/best --stablehlo

The export holds the averaged weights, divided by their spectral norms, standing statistics of batch norm at
each of --truncations, the names of the classes, the config and step of the run, and a model card. Between the
truncations, statistics are interpolated. To sample from the export:

  import biggan_jax
  images = biggan_jax.load("exports/garments").sample(["Sandal", 7], truncation=0.5)

The statistics of one truncation take config.sampling.standing_passes forward passes of
config.sampling.batch_size images. That is seconds on an accelerator, and half an hour on a CPU for a network
of 128 px; a bar shows the progress.

--stablehlo adds sampler.stablehlo: the sampler as a program that JAX runs without this package on CPUs, CUDA
GPUs and TPUs. The model card shows how.

The command loads the export in a new process, which must generate the same images, byte for byte. If they
differ, or the command is stopped, no export remains.

Exit codes: 0 exported; 2 a user error; 130 after Ctrl-C.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, UserError

WORKDIR = command_flags.path("workdir", "Directory of the run, or gs://BUCKET/DIRECTORY", required=True)
STEP = command_flags.integer("step", None, "Step of the checkpoint (default: the newest)", ranges.STEP)
BEST = flags.DEFINE_bool("best", False, "Take the checkpoint that is best by config.checkpoints.metric")
OUTPUT = command_flags.path(
    "output", "Folder of the export, on this machine; it must not exist yet", required=True
)
TRUNCATIONS = command_flags.numbers(
    "truncations",
    None,
    "Truncations to store standing statistics at, 0 = untruncated (default: 0.25,0.5,0.75,1,1.5,0; for "
    "latents that are not normal, 0)",
    ranges.TRUNCATION,
    "0.5,1,0",
)
STABLEHLO = flags.DEFINE_bool("stablehlo", False, "Add the sampler as a StableHLO program, sampler.stablehlo")


def main(argv: Sequence[str]) -> int:
    """Exports the generator; returns the exit code."""
    del argv
    if BEST.value and STEP.value is not None:
        raise UserError(f"--best and --step={STEP.value}: give one of them")
    if "://" in OUTPUT.value:
        raise UserError(
            f"--output={OUTPUT.value}: give a folder on this machine, and copy the export from there"
        )
    from rich.console import Console  # here: --help and a misspelt flag need not wait for JAX

    from biggan_jax.runtime.files import resolve_directory
    from biggan_jax.runtime.ownership import owning_output
    from biggan_jax.training.run.exporting import export_run

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        with owning_output(Path(OUTPUT.value)):
            export_run(
                resolve_directory(WORKDIR.value),
                "best" if BEST.value else STEP.value,
                Path(OUTPUT.value),
                console,
                truncations=TRUNCATIONS.value,
                stablehlo=STABLEHLO.value,
            )
    except KeyboardInterrupt:
        console.print("interrupted: there is no export")
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    cli.run(main)
