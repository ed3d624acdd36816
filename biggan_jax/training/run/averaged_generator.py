"""The averaged generator of a checkpoint, with standing statistics, class names and provenance."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict
from rich.console import Console

from biggan_jax.runtime.progress import counting
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.sampling.truncation import refuse_impossible
from biggan_jax.training.run.checkpoints import Restored
from biggan_jax.training.run.saved_run import class_names, restore


def averaged_generator(
    workdir: epath.Path,
    config: ConfigDict,
    step: int | None,
    truncations: Sequence[float],
    console: Console,
    provenance: Callable[[Restored], dict[str, Any]] = lambda _: {},
) -> ExportedGenerator:
    """Restores the generator and gathers its standing statistics, with a progress bar.

    Args:
      workdir: Directory of the run.
      config: Config of the run.
      step: Step of the checkpoint; None for the newest.
      truncations: Thresholds to gather statistics at.
      console: Console for progress.
      provenance: Function of the checkpoint to its provenance.

    Raises:
      UserError: The checkpoint does not exist, or the latents do not allow a truncation.
    """
    sampling, truncations = config.sampling, tuple(dict.fromkeys(truncations))
    for truncation in truncations:
        refuse_impossible("threshold", truncation, config.model.latent_distribution)
    restored = restore(workdir, config, step)
    # Errors here come before the work.
    names, origin = class_names(workdir, config, restored), provenance(restored)
    count = "1 truncation" if len(truncations) == 1 else f"{len(truncations)} truncations"
    console.print(
        f"step {restored.step:,}: statistics at {count}, {sampling.standing_passes} passes of "
        f"{sampling.batch_size} images for each"
    )
    passes = len(truncations) * sampling.standing_passes
    with counting("gathering statistics", passes, unit="passes", console=console, lines=False) as advance:
        exported = prepare_generator(
            config,
            restored.state.ema_params,
            restored.state.generator.u,
            truncations,
            advance=advance,
        )
    return dataclasses.replace(exported, class_names=names, provenance=origin)
