"""The reference of an evaluation: training images of the generator, and held-out images.

FID, KID, precision, recall, density and coverage compare samples with the training images, as the field does.
The blind spots need held-out images, which neither the generator nor the classifier has learnt from.
"""

import dataclasses
import re
from typing import cast

import jax
from etils import epath
from rich.console import Console

from biggan_jax.data import DataError, Source, open_source
from biggan_jax.evaluation.image_sets import RealImages, load_images, most_in_memory
from biggan_jax.evaluation.learnt_images import refuse_shared_images
from biggan_jax.evaluation.networks import classifier as classifiers
from biggan_jax.evaluation.networks import feature_network
from biggan_jax.evaluation.networks.classifier import Classifier, ClassifierSettings
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.replicas import Replicas

HELD_OUT = ("validation", "test")  # in this order: ImageNet's "test" has no labels


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images that samples are compared with.

    Attributes:
      training: Images that the generator and the classifier learn from.
      held_out: Images of the same data set that neither learns from, or None.
    """

    training: Source
    held_out: Source | None

    def __post_init__(self):
        """Refuses held-out images that are training images too."""
        if self.held_out is not None:
            refuse_shared_images(self.training, self.held_out)


def open_reference(
    name: str,
    resolution: int,
    num_classes: int | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    training: Source | None = None,
) -> Reference:
    """Opens the training images and the held-out images of a data source.

    Args:
      name: Name of the data source, as in the config's `data.source`.
      resolution: Pixels a side.
      num_classes: Number of classes of the model, or None without a model.
      train_split: Split that the generator learns from.
      test_split: Split of held-out images. None takes the split "validation" or "test"; for a train split
        such as train[:90%] it takes the rest.
      training: The train split, if it is open already.

    Raises:
      UserError: The source or a split is missing; the message names the flag.
    """

    def opened(split: str) -> Source:
        return open_source(name, split, resolution=resolution, num_classes=num_classes, fewer_classes=True)

    if training is None:
        try:
            training = opened(train_split)
        except UserError as error:
            raise UserError(f"--train_split={train_split}: {error}") from error
    if test_split is not None:
        try:
            return Reference(training, opened(test_split))
        except UserError as error:
            raise UserError(f"--test_split={test_split}: {error}") from error
    part = re.fullmatch(r"(\w+)\[:(\d+%?)\]", train_split)
    for split in [f"{part[1]}[{part[2]}:]"] if part else HELD_OUT:
        try:
            return Reference(training, opened(split))
        except DataError:
            continue
    return Reference(training, None)


def open_network(
    spec: str,
    reference: Reference | None,
    resolution: int,
    folder: epath.Path | None,
    settings: ClassifierSettings,
    console: Console,
) -> tuple[FeatureNetwork, Classifier | None]:
    """Opens a feature network by name, the same in all processes.

    Args:
      spec: `classifier`, which is trained on the reference if neither `folder` nor the cache has it, or a
        name as for `feature_network.open_feature_network`.
      reference: Real images, or None for a file of statistics.
      resolution: Pixels a side of the images.
      folder: Directory that keeps the classifier; None in all processes but the first.
      settings: Settings of the classifier.
      console: Console for progress.

    Returns:
      The feature network, and the classifier if it is the feature network.

    Raises:
      UserError: The name is unknown, weights are missing, or the classifier has no images to learn from.
    """
    if spec == "classifier":
        if reference is None:
            raise UserError(
                "--network=classifier learns from real images, but --reference has only statistics: name the "
                "network that the statistics come from, such as --network=inception"
            )
        network = obtain_classifier(reference, folder, settings, console)
        return feature_network.from_classifier(network), network
    if jax.process_count() == 1:
        return feature_network.open_feature_network(spec, resolution, console), None
    # The first process goes first, because it may have to download the weights to a shared disk.
    if jax.process_index() > 0:
        Replicas().broadcast(None)
    network = feature_network.open_feature_network(spec, resolution, console)
    if jax.process_index() == 0:
        Replicas().broadcast(None)
    Replicas().broadcast(None)
    return network, None


def obtain_classifier(
    reference: Reference, folder: epath.Path | None, settings: ClassifierSettings, console: Console
) -> Classifier:
    """Returns the classifier of the reference in all processes; the first process trains or reads it.

    The classifier learns from a subset of a source that does not fit in memory.

    Args:
      reference: Real images.
      folder: Directory that keeps the classifier; None in all processes but the first.
      settings: Settings of the classifier.
      console: Console for progress.

    Raises:
      UserError: The reference has no held-out images, or the folder cannot be written.
    """
    refuse_without_held_out(reference)
    source, held_out = reference.training, reference.held_out
    trained = None
    if folder is not None and held_out is not None:
        most = most_in_memory(source.resolution)
        training, test = (
            cast(classifiers.LabelledImages, load_images(RealImages(part, most)))
            for part in (source, held_out)
        )
        trained = classifiers.obtain(training, test, source.num_classes, folder, settings, console)
    return classifiers.broadcast(trained, source.resolution, source.num_classes, settings)


def refuse_without_held_out(reference: Reference) -> None:
    """Raises UserError if the reference has no held-out images to test the classifier on."""
    if reference.held_out is None:
        name = reference.training.name
        raise UserError(
            f"the classifier is tested on held-out images, and {name} has no split {' or '.join(HELD_OUT)}: "
            "train with --config.data.split='train[:90%]', which holds the rest out. To evaluate, name other "
            "images by --test_split or another network by --network"
        )
