"""Samples that are to be judged, of a run, an export or a file, and where they come from."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from biggan_jax.evaluation.image_sets import GeneratedImages, ImageSet, ImagesInMemory
from biggan_jax.exports.export_files import read_export
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sample_file import read_samples
from biggan_jax.sampling.sampler import Sampler, largest_batch
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.sampling.truncation import TruncationKind
from biggan_jax.training.run.provenance import ON_THIS_MACHINE
from biggan_jax.training.run.saved_run import best_step, restore, saved_config


class SampleSet(NamedTuple):
    """Samples.

    Attributes:
      images: the samples.
      origin: what every score of them carries.
      draw: as many by the same generator at another truncation; None for those of a file.
    """

    images: ImageSet
    origin: dict[str, Any]
    draw: Callable[[float], GeneratedImages] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleSource:
    """What samples are drawn by.

    Attributes:
      model: the `model` section of its config.
      truncation_kind: how its truncations are meant, see `sampling.truncation`.
      truncation: the one where none is asked for.
      source: of the images that it has learnt from, as `data.source` has it; None if that is not known.
      split: of the source.
      random_flip: whether it has learnt from mirrored images too.
      rows, columns: of a picture of its samples, at most.
      said: what it is, for the person who waits.
      origin: what every score of its samples carries, with `truncation`, `seed`, `num_samples`.
      open: what draws at a truncation.
    """

    model: ConfigDict
    truncation_kind: TruncationKind
    truncation: float
    source: str | None
    split: str
    random_flip: bool
    rows: int = 8
    columns: int = 10
    said: str
    origin: dict[str, Any]
    open: Callable[[float], Sampler]

    def subject(self, count: int, classes: int, truncation: float | None, seed: int) -> SampleSet:
        """So many samples, of all classes alike."""
        truncation = self.truncation if truncation is None else truncation

        def draw(truncation: float) -> GeneratedImages:
            return GeneratedImages(self.open(truncation), count, classes, seed, truncation)

        origin = {"truncation": truncation, "seed": seed, "num_samples": count}
        return SampleSet(draw(truncation), self.origin | origin, draw)


def open_run(workdir: epath.Path, step: int | Literal["best"] | None) -> SampleSource:
    """The averaged generator of a run's checkpoint of this step, the best or the newest, with standing
    statistics.

    Raises:
      UserError: there is no such run or checkpoint.
    """
    config = saved_config(workdir)
    step = best_step(workdir, config) if step == "best" else step
    restored, sampling = restore(workdir, config, step), config.sampling

    def open_at(truncation: float) -> Sampler:
        params, u = restored.state.ema_params, restored.state.generator.u
        return Sampler(prepare_generator(config, params, u, [truncation]), batch_size=sampling.batch_size)

    statistics = {"passes": sampling.standing_passes, "batch_size": sampling.batch_size}
    return SampleSource(
        model=config.model,
        truncation_kind="threshold",
        truncation=0.0,
        source=config.data.source,
        split=config.data.split,
        random_flip=config.data.random_flip,
        rows=sampling.samples_per_class,
        columns=sampling.max_classes,
        said=f"step {restored.step:,}, after {sampling.standing_passes} passes for batch norm's statistics",
        origin={
            "step": restored.step,
            "weights": "average (EMA)",
            "statistics": {"mode": "standing"} | statistics,
            "resolution": config.model.resolution,
        },
        open=open_at,
    )


def open_export(folder: Path) -> SampleSource:
    """The generator of an export, with the statistics that it holds.

    Raises:
      UserError: it is none, or damaged.
    """
    exported = read_export(folder)
    model, provenance = exported.model, exported.provenance
    sampler = Sampler(exported, batch_size=largest_batch(model, jax.local_devices()[0]))
    data = provenance.get("data", {})
    source = data.get("source")
    if source and source.partition(":")[0] in ON_THIS_MACHINE:
        source = None  # an export has no paths of the machine that made it
    stored = provenance.get("statistics", {"mode": "stored"})
    return SampleSource(
        model=model,
        truncation_kind=exported.truncation_kind,
        truncation=sampler.truncation,
        source=source,
        split=data.get("split", "train"),
        random_flip=False,  # as far as is known
        said=f"the export {folder.name}",
        origin={
            "file": str(folder),
            "weights": {key: provenance[key] for key in ("format", "step", "files") if key in provenance},
            "statistics": stored | {"truncations": list(sampler.truncations)},
            "truncation_kind": exported.truncation_kind,
            "resolution": model.resolution,
        },
        open=lambda _: sampler,
    )


def open_file(path: Path) -> SampleSet:
    """Samples of an .npz, which does not say how they were drawn.

    Raises:
      UserError: there is no such file, or what it holds is no samples, or they are not square, or
        not of values up to 255.
    """
    images, labels = read_samples(path)
    count, height, width = images.shape[:3]
    if height != width:
        raise UserError(f"{path} holds images of {height} × {width} pixels: they must be square")
    if images.max() == 1:
        raise UserError(
            f"{path} holds uint8 images without a value above 1, as if cast from numbers from 0 to 1: "
            "write (x * 255).round().astype(uint8) of those"
        )
    origin = {
        "file": str(path),
        "statistics": None,
        "truncation": None,
        "num_samples": count,
        "resolution": height,
    }
    return SampleSet(ImagesInMemory(images, labels), origin, None)


def refuse_other_labels(path: Path, labels: np.ndarray | None, classes: int, reference: str) -> None:
    """Raises UserError if a file has labels that are no classes of the reference."""
    if labels is not None and labels.max() >= classes:
        raise UserError(
            f"{path} holds labels up to {labels.max()}, but {reference} has {classes} classes: leave the "
            "labels (arr_1) out, or compare with another --reference"
        )
