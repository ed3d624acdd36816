"""Judges samples, of a run or of a file: looks at them and at real images, and says what was seen."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from etils import epath
from PIL import Image
from rich.console import Console

from biggan_jax.evaluation import assessment, scoring, shuffled_patches
from biggan_jax.evaluation.assessment import Assessment, Comparison
from biggan_jax.evaluation.image_sets import RealImages, gather_images, refuse_too_many
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.reference import Reference, open_network, open_reference
from biggan_jax.evaluation.report import blind_spots, pictures
from biggan_jax.evaluation.report.truncation_curve import plot, truncation_curve
from biggan_jax.evaluation.sample_sources import (
    SampleSet,
    SampleSource,
    open_export,
    open_file,
    open_run,
    refuse_other_labels,
)
from biggan_jax.evaluation.scores.statistics_file import read_statistics, write_statistics
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sample_file import write_samples
from biggan_jax.sampling.sheets import png
from biggan_jax.sampling.truncation import refuse_impossible

ROWS, COLUMNS = 8, 10  # of the picture of a file's samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is to be judged, and by what: the flags of biggan_jax.evaluate, which say more.

    Attributes:
      workdir: of a run; of this, `weights` and `samples` one is given, the others are None.
      weights: of an export.
      samples: a file of samples.
      step: of the checkpoint, "best" for the best one's; None for the newest.
      reference: a data source, or a file of statistics; None for the run's own data.
      network: `classifier`, or as for `features.open_feature_network`.
      num_samples: over all classes.
      truncation: of the latents; None for none.
      truncations: further ones, for the curve.
      seed: of the latents.
      train_split: real images that the generator learns from; None for the run's own.
      test_split: real images that it does not; None for what the reference has.
      reference_images: of each of the two, at most; 0 for all.
      cas: whether to train a classifier on the samples.
      folder: where what comes out is put; the classifier is kept in its folder `evaluation`.
      save_samples: where to write the samples, or None.
      save_statistics: where to write the real images' statistics, or None.
    """

    workdir: epath.Path | None = None
    weights: Path | None = None
    samples: Path | None = None
    step: int | Literal["best"] | None = None
    reference: str | None = None
    network: str = "classifier"
    num_samples: int = 2_000
    truncation: float | None = None
    truncations: tuple[float, ...] = ()
    seed: int = 0
    train_split: str | None = None
    test_split: str | None = None
    reference_images: int = 50_000
    cas: bool = False
    folder: epath.Path
    save_samples: Path | None = None
    save_statistics: Path | None = None


class EvaluationResult(NamedTuple):
    """What `evaluate` found."""

    report: dict[str, Any]  # what evaluation.json holds
    pictures: dict[str, bytes]  # PNG files, by name


def evaluate(request: EvaluationRequest, console: Console) -> EvaluationResult | None:
    """Judges what `request` names; all processes take part, and the first gets the judgement.

    Raises:
      UserError: no run or no checkpoint in the workdir, files or data that are missing or don't fit, too few
        samples, no weights of the network, or a folder that cannot be written.
    """
    first = jax.process_index() == 0
    drawer, subject = None, None
    if request.workdir:
        drawer = open_run(request.workdir, request.step)
    elif request.weights:
        drawer = open_export(request.weights)
    else:
        subject = open_file(request.samples)
    _refuse_impossible(request, drawer)
    resolution = drawer.model.resolution if drawer else subject.origin["resolution"]
    reference = _open_reference(request, drawer, resolution)
    if request.cas:
        assessment.refuse_cas(subject is None or subject.images.labelled, reference)
    if drawer:
        classes = _classes(request, drawer, reference)
    elif reference:
        classes = reference.training.num_classes
        refuse_other_labels(request.samples, subject.images.labels, classes, reference.training.name)
    settings = ClassifierSettings(random_flip=bool(drawer and drawer.random_flip))
    network, classifier = open_network(
        request.network,
        reference,
        resolution,
        request.folder / "evaluation" if first else None,
        settings,
        console,
    )
    if drawer:
        console.print(f"drawing {request.num_samples:,} samples of {drawer.said}")
        subject = drawer.subject(request.num_samples, classes, request.truncation, request.seed)

    keep = request.cas or request.save_samples is not None
    if keep:
        refuse_too_many(subject.images)
    compared = _look(request, reference, subject, network, console)
    kind = drawer.truncation_kind if drawer else "threshold"  # samples of a file have no truncations
    curve = truncation_curve(network, subject.draw, request.truncations, compared.statistics, kind, console)
    samples = gather_images(subject.images) if keep else None
    if not first:
        return None
    if request.save_samples:
        write_samples(request.save_samples, *samples)
    if request.save_statistics:
        write_statistics(request.save_statistics, compared.statistics, _signature(network))
    if reference:
        said = assessment.assess(compared, reference, network.name, recognises=classifier is not None)
    else:
        said = assessment.assess_by_statistics(compared, network.name)
    if request.cas:
        said.scores.update(
            assessment.classification_accuracy(
                *samples, reference, request.reference_images, settings, classifier, console
            )
        )
    pairs = blind_spots.suspicious_pairs(said.memory) if said.memory else []
    found = _report(request, reference, compared, subject, network, classifier, said, pairs, curve)
    return EvaluationResult(
        found, _pictures(request, reference, subject, drawer, found, pairs, curve, network.name)
    )


def _refuse_impossible(request: EvaluationRequest, drawer: SampleSource | None) -> None:
    if request.samples and request.save_samples:
        raise UserError(f"--save_samples={request.save_samples}: they are in {request.samples} already")
    wanted = [("truncation", request.truncation)] if request.truncation is not None else []
    for name, value in wanted + [("truncations", value) for value in request.truncations]:
        if drawer is None:
            raise UserError(f"--{name}={value:g}: samples of a file are drawn already; leave it out")
        refuse_impossible(drawer.truncation_kind, value, drawer.model.latent_distribution)


def _open_reference(
    request: EvaluationRequest, drawer: SampleSource | None, resolution: int
) -> Reference | None:
    """Real images, or None where the reference is a file of statistics."""
    own = request.reference is None
    if own and not (drawer and drawer.source):
        given = f"--weights={request.weights}" if drawer else f"--samples={request.samples}"
        raise UserError(
            f"{given}: say what to compare them with: --reference=SOURCE, such as fashion_mnist or "
            "folder:PATH, or --reference=FILE.npz"
        )
    if not own and request.reference.endswith(".npz"):
        return None
    try:
        reference = open_reference(
            drawer.source if own else request.reference,
            resolution,
            drawer.model.num_classes if own else None,
            request.train_split or (drawer.split if own else "train"),
            request.test_split,
        )
    except UserError as error:
        if drawer:
            raise
        raise UserError(f"to compare with the {resolution} px of {request.samples}: {error}") from error
    held_out = reference.held_out
    if held_out and held_out.num_examples < scoring.LEAST_TO_COMPARE:
        raise UserError(
            f"{held_out.name} has {held_out.num_examples} images that are held out, too few to compare with: "
            f"name {scoring.LEAST_TO_COMPARE} or more by --test_split"
        )
    return reference


def _classes(request: EvaluationRequest, drawer: SampleSource, reference: Reference | None) -> int:
    """How many classes the samples are drawn of."""
    own = reference and request.reference is None
    classes = reference.training.num_classes if own else drawer.model.num_classes
    least = max(2 * classes, scoring.LEAST_TO_COMPARE)
    if request.num_samples < least:
        raise UserError(
            f"--num_samples={request.num_samples}: diversity takes two samples of each of the {classes} "
            f"classes, and IS ten of all; give {least} or more"
        )
    return classes


def _look(
    request: EvaluationRequest,
    reference: Reference | None,
    subject: SampleSet,
    network: FeatureNetwork,
    console: Console,
) -> Comparison:
    """Looks at everything, with the other processes."""
    if reference is None:
        statistics = read_statistics(Path(request.reference), network.features_dim, _signature(network))
        return Comparison(
            statistics, None, None, extract_features(network, subject.images, "samples", console), ""
        )
    most, resolution = request.reference_images, subject.images.resolution
    training = RealImages(reference.training, most)
    held_out = RealImages(reference.held_out, most) if reference.held_out else None
    # Where the network has learnt the training images, as the classifier has, some are held out.
    shapes: shuffled_patches.ShuffledPatches | str | None
    shapes = shuffled_patches.reason_not_measured(
        resolution, subject.images.count, (held_out or training).count
    )
    watched = shapes is None
    of_real, of_samples = (
        [shuffled_patches.ShuffledPatchesCollector(network, resolution, seed)] * watched for seed in (0, 1)
    )
    seen_held_out = None
    if held_out:
        seen_held_out = extract_features(network, held_out, "real images, held out", console, *of_real)
    seen = extract_features(network, training, "real images", console, *([] if held_out else of_real))
    samples = extract_features(network, subject.images, "samples", console, *of_samples)
    if watched:
        shapes = shuffled_patches.compare_shuffled_patches(
            network.name, of_real[0].statistics(), of_samples[0].statistics()
        )
    return Comparison(scoring.features_statistics(seen.features), seen, seen_held_out, samples, shapes)


def _report(
    request: EvaluationRequest,
    reference: Reference | None,
    compared: Comparison,
    subject: SampleSet,
    network: FeatureNetwork,
    classifier: Classifier | None,
    said: Assessment,
    pairs: list[tuple[int, int, float]],
    curve: list[dict[str, Any]],
) -> dict[str, Any]:
    """What evaluation.json holds."""
    origin = subject.origin | {"network": network.identity}
    found = origin | {
        "reference": _describe(request, reference, compared),
        "scores": {name: origin | score for name, score in said.scores.items()},
        "notes": said.notes,
        "beyond_is": said.sections,
        "nearest": [
            {"sample": sample, "training_image": training, "relative_distance": distance}
            for sample, training, distance in pairs
        ],
        "classes": said.rows,
        "confusion": said.confusion,
        "truncations": [origin | point for point in curve],
    }
    if classifier:
        found["classifier"] = {
            "hash": classifier.hash,
            "resolution": classifier.resolution,
            "test_accuracy": classifier.test_accuracy,
            "test_images": classifier.test_images,
        }
    return scoring.strict(found)


def _describe(
    request: EvaluationRequest, reference: Reference | None, compared: Comparison
) -> dict[str, Any]:
    if reference is None:
        return {"source": request.reference, "images": compared.statistics.count}
    return {
        "source": reference.training.name,
        "training": reference.training.description,
        "images": len(compared.training),
        "held_out": reference.held_out and reference.held_out.description,
        "held_out_images": len(compared.held_out) if compared.held_out else 0,
    }


def _pictures(
    request: EvaluationRequest,
    reference: Reference | None,
    subject: SampleSet,
    drawer: SampleSource | None,
    found: dict[str, Any],
    pairs: list[tuple[int, int, float]],
    curve: list[dict[str, Any]],
    network: str,
) -> dict[str, bytes]:
    """What is drawn, by the files' names."""
    pages: dict[str, Image.Image] = {}
    rows, columns = ROWS, COLUMNS
    if drawer:
        rows, columns = drawer.rows, drawer.columns
    shown = pictures.shown_classes(found["classes"], columns)
    if shown:
        labels = subject.images.labels
        numbers = [np.flatnonzero(labels == label)[:rows].tolist() for label in shown]
        images = subject.images.at([number for row in zip(*numbers, strict=False) for number in row])
        pages["evaluation.png"] = pictures.picture(
            images.reshape(-1, len(shown), *images.shape[1:]), shown, found
        )
    if pairs:
        samples, nearest, distances = zip(*pairs, strict=True)
        training = RealImages(reference.training, request.reference_images)
        both = np.stack([subject.images.at(samples), training.at(nearest)])
        pages["nearest.png"] = pictures.nearest_sheet(both, found["beyond_is"][4], distances)
    drawn = {name: png(page) for name, page in pages.items()}
    return drawn | ({"truncations.png": plot(curve, network)} if curve else {})


def _signature(network: FeatureNetwork) -> str:
    """The network's name and hash, as files of statistics have them."""
    return f"{network.name} {network.weights_hash}"
