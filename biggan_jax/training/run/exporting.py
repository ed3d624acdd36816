"""Exports a run's checkpoint: standing statistics, class names, provenance, model card; then verifies it."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax
from etils import epath
from rich.console import Console

from biggan_jax.exports.export_files import refuse_used, write_export
from biggan_jax.exports.model_card import CARD, model_card
from biggan_jax.exports.stablehlo import PROGRAM, sampler_program
from biggan_jax.exports.verification import verify
from biggan_jax.training.run.averaged_generator import averaged_generator
from biggan_jax.training.run.provenance import provenance
from biggan_jax.training.run.saved_run import best_step, saved_config

# Close enough: interpolating between two of them changes images less than gathering statistics again, from
# other latents, does.
TRUNCATIONS = (0.25, 0.5, 0.75, 1.0, 1.5, 0.0)


def export_run(
    workdir: epath.Path,
    step: int | Literal["best"] | None,
    output: Path,
    console: Console,
    *,
    truncations: Sequence[float] | None = None,
    stablehlo: bool = False,
) -> None:
    """Exports the averaged generator of a run.

    Args:
      workdir: Directory of the run.
      step: Step of the checkpoint, "best", or None for the newest.
      output: Folder of the export.
      console: Console for progress and summary.
      truncations: Thresholds to store statistics for; None for `TRUNCATIONS`, or 0 if latents are not normal.
      stablehlo: Whether to add the sampler as a program.

    Raises:
      UserError: The run or checkpoint does not exist, the latents do not allow a truncation, or the export
        cannot be written. An export that generates other images than the run is an error too, and is removed.
    """
    _enable_cpu()
    refuse_used(output)  # before the work, not after it
    config = saved_config(workdir)
    if truncations is None:
        truncations = TRUNCATIONS if config.model.latent_distribution == "normal" else (0.0,)
    exported = averaged_generator(
        workdir,
        config,
        best_step(workdir, config) if step == "best" else step,
        truncations,
        console,
        functools.partial(provenance, workdir, config),
    )
    program = sampler_program(exported) if stablehlo else None
    others = {CARD: model_card(exported, program).encode()} | ({PROGRAM: program} if program else {})

    def check(folder: Path) -> None:
        console.print("loading it in a fresh process")
        verify(folder, exported)

    write_export(output, exported, others, check)
    for path in sorted(output.iterdir()):
        console.print(f"  {path.name:<24}{path.stat().st_size / 1e6:>10,.1f} MB")
    console.print(f"written to {output}; a fresh process generates the same images from it")


def _enable_cpu() -> None:
    """Enables JAX's CPU backend, on which `verify` compares, where only an accelerator was enabled."""
    platforms = getattr(jax.config, "jax_platforms", None)
    if platforms and "cpu" not in platforms.split(","):
        jax.config.update("jax_platforms", f"{platforms},cpu")
