"""Samples that are to be judged, of a run or of a file, and where they come from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from biggan_jax.cli import UserError
from biggan_jax.config import default_config, validate
from biggan_jax.evaluation.image_sets import Drawn, Given, ImageSet
from biggan_jax.evaluation.scores.sample_file import read_samples
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.training.checkpoints import Checkpoints, Restored
from biggan_jax.training.state import abstract_state
from biggan_jax.training.workdir import flatten


class Subject(NamedTuple):
    """Samples.

    Attributes:
      images: the samples.
      origin: what every score of them carries.
      draw: as many of the same run at another truncation; None for those of a file.
    """

    images: ImageSet
    origin: dict[str, Any]
    draw: Callable[[float], Drawn] | None


def of_run(
    config: ConfigDict, restored: Restored, *, count: int, classes: int, truncation: float, seed: int
) -> Subject:
    """Samples of a checkpoint's averaged generator, with standing statistics."""
    sampling = config.sampling

    def draw(truncation: float) -> Drawn:
        sampler = Sampler(config, restored.state.ema_params, restored.state.generator.u, truncation)
        return Drawn(sampler, count, classes, seed, config.model.resolution)

    origin = {
        "step": restored.step,
        "weights": "average (EMA)",
        "statistics": {
            "mode": "standing",
            "passes": sampling.standing_passes,
            "batch_size": sampling.batch_size,
        },
        "truncation": truncation,
        "seed": seed,
        "num_samples": count,
        "resolution": config.model.resolution,
    }
    return Subject(draw(truncation), origin, draw)


def of_file(path: Path) -> Subject:
    """Samples of an .npz, which does not say how they were drawn.

    Raises:
      UserError: there is no such file, or what it holds is no samples, or they are not square.
    """
    images, labels = read_samples(path)
    count, height, width = images.shape[:3]
    if height != width:
        raise UserError(f"{path} holds images of {height} × {width} pixels: they must be square")
    origin = {
        "file": str(path),
        "statistics": None,
        "truncation": None,
        "num_samples": count,
        "resolution": height,
    }
    return Subject(Given(images, labels), origin, None)


def refuse_other_labels(path: Path, labels: np.ndarray | None, classes: int, reference: str) -> None:
    """Raises UserError if a file has labels that are no classes of the reference."""
    if labels is not None and labels.max() >= classes:
        raise UserError(
            f"{path} holds labels up to {labels.max()}, but {reference} has {classes} classes: leave the "
            "labels (arr_1) out, or compare with another --reference"
        )


def saved_config(workdir: epath.Path) -> ConfigDict:
    """The config of the run in `workdir`.

    Raises:
      UserError: there is none, or it is not one of this version's.
    """
    path = workdir / "config.json"
    try:
        saved = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"--workdir={workdir}: no run here (there is no config.json); give the --workdir of "
            "python -m biggan_jax.train"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({error}); start the training command again, which writes it"
        ) from error
    config = default_config()
    try:
        config.update_from_flattened_dict(flatten(saved))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is of another version of this package: {error}") from error
    validate(config)
    return config


def restore(workdir: epath.Path, config: ConfigDict, step: int | None) -> Restored:
    """The run's checkpoint of this step, or the newest that can be read.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    folder = workdir / "checkpoints"
    restored = None
    if folder.is_dir():
        checkpoints = Checkpoints(folder, config, read_only=True)
        if step is None:
            restored = checkpoints.restore_latest(abstract_state(config))
        elif step in checkpoints.steps:
            restored = _restore_step(checkpoints, config, step)
        elif checkpoints.steps:
            listed = ", ".join(map(str, checkpoints.steps))
            raise UserError(f"--step={step}: the checkpoints in {folder} are of the steps {listed}")
        checkpoints.close()
    if restored is None:
        raise UserError(
            f"--workdir={workdir}: the run has no checkpoint yet; let it train to its first (config."
            "checkpoint_every), or stop it with Ctrl-C, which saves one"
        )
    return restored


def _restore_step(checkpoints: Checkpoints, config: ConfigDict, step: int) -> Restored:
    try:
        return checkpoints.restore(step, abstract_state(config))
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes orbax or its libraries raise
        raise UserError(f"--step={step}: its checkpoint cannot be read ({error}); choose another") from error
