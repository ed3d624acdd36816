"""What is said of samples: scores, and a section for each blind spot, from what a network saw of them."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from biggan_jax.evaluation import scoring, shuffled_patches
from biggan_jax.evaluation.image_sets import RealImages, load_images
from biggan_jax.evaluation.networks import classifier
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.extraction import ExtractedFeatures
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.report import blind_spots
from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.evaluation.scores.memorisation import Memorisation
from biggan_jax.evaluation.scoring import Score
from biggan_jax.runtime.errors import UserError


class Comparison(NamedTuple):
    """What the network saw.

    Attributes:
      statistics: of the training images' features.
      training: real images that the generator learns from, or None where there are only the statistics.
      held_out: real images that it does not, or None.
      samples: the samples.
      shapes: what shuffling patches does to them, or why that is not known.
    """

    statistics: FeatureStatistics
    training: ExtractedFeatures | None
    held_out: ExtractedFeatures | None
    samples: ExtractedFeatures
    shapes: shuffled_patches.ShuffledPatches | str


class Assessment(NamedTuple):
    """What is said.

    Attributes:
      scores: by name, which ends in the network's.
      notes: what the reader should know of them.
      sections: one for each blind spot.
      rows: one for each class.
      confusion: counts by class asked for and class recognised, or None.
      memory: the samples nearest to training images, or None.
    """

    scores: dict[str, Score]
    notes: list[str]
    sections: list[blind_spots.Section]
    rows: list[dict[str, Any]]
    confusion: list[list[int]] | None
    memory: Memorisation | None


def assess_by_statistics(compared: Comparison, network: str) -> Assessment:
    """The verdict where the reference has no images."""
    samples = compared.samples
    scores = scoring.distance_scores(compared.statistics, samples)
    notes = ["The reference is statistics without images: FID and IS are all that can be had."]
    why_not = dict.fromkeys(blind_spots.TITLES, "the reference is statistics, without images")
    nothing = blind_spots.Findings(None, None, None)
    sections = blind_spots.sections(nothing, None, network, (), 0, "", why_not)
    return Assessment(_named(scores, network), notes + _warnings(scores), sections, [], None, None)


def assess(compared: Comparison, reference: Reference, network: str, recognises: bool) -> Assessment:
    """The verdict where the reference has images.

    Args:
      compared: what the network saw.
      reference: the images' sources.
      network: its name.
      recognises: whether the network has learnt the reference's classes from its training images.
    """
    training, held_out, samples = compared.training, compared.held_out, compared.samples
    names, notes = reference.training.class_names, []
    if samples.labels is not None and samples.labels.max() >= len(names):
        samples = dataclasses.replace(samples, labels=None)
        notes.append(f"The run has more classes than {reference.training.name}: nothing is said by class.")
    # Of images that it has learnt, the classifier is surer than of others: for it, some are held out.
    real = held_out or training
    scores = scoring.image_scores(compared.statistics, training, samples, held_out)
    findings = blind_spots.examine(training, held_out, samples, len(names))
    if findings.labels:
        scores["is"] |= {"meaningful": findings.labels.meaningful, "share_of_real": findings.labels.share}
    rows, confusion = [], None
    if samples.labels is not None:
        labelled, rows, confusion = scoring.class_scores(
            training, samples, held_out, findings.variety, names, network, recognises
        )
        scores |= labelled

    why_not = dict.fromkeys(blind_spots.TITLES, "no real images were held out")
    shapes = compared.shapes
    if isinstance(shapes, str):
        shapes, why_not[3] = None, shapes
    if samples.logits is None:
        why_not |= dict.fromkeys((1, 2), f"{network} gives no logits")
        notes.append(f"{network} gives no logits, so there is no IS.")
    if samples.labels is None:
        why_not[4] = "the samples have no labels of these classes"
    sections = blind_spots.sections(
        findings,
        shapes,
        network,
        names,
        present=len(np.unique(real.labels)),
        searched=_searched(len(training), reference.training.num_examples),
        why_not=why_not,
    )
    return Assessment(
        _named(scores, network), notes + _warnings(scores), sections, rows, confusion, findings.memory
    )


def classification_accuracy(
    images: np.ndarray,
    labels: np.ndarray,
    reference: Reference,
    most: int,
    settings: ClassifierSettings,
    trained_on_real: Classifier | None,
    console: Console,
) -> dict[str, Score]:
    """CAS (Ravuri & Vinyals 2019, arXiv 1905.10887): the share of held-out real images that a classifier
    recognises which has learnt from samples alone.

    Args:
      images: the samples, u8[N, H, W, 3].
      labels: the classes that were asked for, i32[N].
      reference: has images that were held out.
      most: of them, at most; 0 for all.
      settings: of the classifier.
      trained_on_real: one that has learnt from real images instead, to compare with, or None.
      console: where the progress bar goes.
    """
    test = load_images(RealImages(reference.held_out, most))
    classes = reference.training.num_classes
    learnt = classifier.train_classifier((images, labels), test, classes, settings, console)
    score: Score = {"value": learnt.test_accuracy, "count": len(images), "test_images": learnt.test_images}
    if trained_on_real:
        score["held_out"] = {
            "value": trained_on_real.test_accuracy,
            "count": reference.training.num_examples,
            "test_images": trained_on_real.test_images,
        }
    return {"cas@classifier": score | {"learnt": {"weights_hash": learnt.hash}}}


def refuse_cas(labelled: bool, reference: Reference | None) -> None:
    """Raises UserError where there can be no CAS."""
    if reference is None or reference.held_out is None:
        raise UserError("--cas tests on real images that were held out, and there are none: leave it out")
    if not labelled:
        raise UserError("--cas learns from the samples' labels, and the file has none (arr_1): leave it out")


def _named(scores: dict[str, Score], network: str) -> dict[str, Score]:
    return {f"{name}@{network}": score for name, score in scores.items()}


def _warnings(scores: dict[str, Score]) -> list[str]:
    return [scores["fid"]["sentence"]] if scores["fid"]["too_few"] else []


def _searched(looked_at: int, total: int) -> str:
    if looked_at < total:
        return f"{looked_at:,} of the {total:,} training images"
    return f"the {total:,} training images"
