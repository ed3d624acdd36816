"""The classification accuracy score (CAS, Ravuri & Vinyals 2019, arXiv 1905.10887).

A classifier is trained on samples alone. CAS is the share of held-out images that it recognises.
"""

import numpy as np
from rich.console import Console

from biggan_jax.evaluation.image_sets import RealImages, load_images
from biggan_jax.evaluation.networks import classifier
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.reference import Reference
from biggan_jax.evaluation.scores.inputs import ClassificationAccuracy
from biggan_jax.runtime.errors import UserError


def measure_classification_accuracy(
    images: np.ndarray,
    labels: np.ndarray,
    reference: Reference,
    most: int,
    settings: ClassifierSettings,
    trained_on_real: Classifier | None,
    console: Console,
) -> ClassificationAccuracy:
    """Trains a classifier on samples and measures its accuracy on held-out images.

    Args:
      images: Samples, u8[N, H, W, 3].
      labels: Requested classes, i32[N].
      reference: Reference with held-out images.
      most: Largest number of held-out images; 0 takes all.
      settings: Settings of the classifier.
      trained_on_real: Classifier that was trained on real images, for comparison, or None.
      console: Console for the progress bar.
    """
    assert reference.held_out is not None
    test_images, test_labels = load_images(RealImages(reference.held_out, most))
    assert test_labels is not None
    classes = reference.training.num_classes
    trained = classifier.train_classifier(
        (images, labels), (test_images, test_labels), classes, settings, console
    )
    real = None
    if trained_on_real:
        real = ClassificationAccuracy(
            trained_on_real.test.accuracy,
            reference.training.num_examples,
            trained_on_real.test.images,
            trained_on_real.hash,
        )
    return ClassificationAccuracy(trained.test.accuracy, len(images), trained.test.images, trained.hash, real)


def refuse_impossible_accuracy(labelled: bool, reference: Reference | None) -> None:
    """Raises UserError if CAS cannot be measured.

    Args:
      labelled: Whether the samples have labels.
      reference: Reference, or None for a file of statistics.
    """
    if reference is None or reference.held_out is None:
        raise UserError("--cas tests on held-out images, and the reference has none: leave --cas out")
    if reference.training.num_classes < 2:
        raise UserError("--cas: a classifier of one class recognises every image: leave --cas out")
    if not labelled:
        raise UserError(
            "--cas trains on the labels of the samples, and the file has none (arr_1): leave --cas out"
        )
