"""A small residual network that learns a data set's classes in well under a minute on two CPU cores.

It judges samples where no published feature network knows the classes. What it has learnt is kept, by the
hash of its training images, so that the scores of one run are all of the same network.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable

import jax
import numpy as np
import safetensors.numpy
from absl import logging
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from rich.console import Console

from biggan_jax.evaluation.networks.classifier_network import (
    ClassifierNetwork,
    ClassifierSettings,
    LabelledImages,
    Variables,
    variable_shapes,
)
from biggan_jax.evaluation.networks.classifier_training import train
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import write_whole, writing
from biggan_jax.runtime.replicas import Replicas, on_local_devices

RECIPE = 2  # part of the cache's key: raised when the network or its training changes in code
PREDICTION_BATCH = 500  # images on each device


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network with what is known of it.

    Attributes:
      variables: parameters and batch norm's averages (flax collections).
      settings: how it was trained.
      resolution: pixels a side of the images it takes; it resizes none.
      num_classes: logits it gives.
      test_images: how many real test images it has labelled…
      test_accuracy: …and the share of them that it labelled rightly.
    """

    variables: Variables
    settings: ClassifierSettings
    resolution: int
    num_classes: int
    test_images: int = 0
    test_accuracy: float = math.nan

    @functools.cached_property
    def hash(self) -> str:
        """Of the weights, 12 hexadecimal digits: scores compare only if these are equal."""
        digest = hashlib.sha256()
        for name, array in sorted(flatten_dict(self.variables, sep="/").items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:12]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits f32[N, num_classes] of images u8[N, H, W, 3]."""
        return self.logits_and_features(images)[0]

    def features(self, images: np.ndarray) -> np.ndarray:
        """What the last layer sees, f32[N, settings.widths[-1]], of images u8[N, H, W, 3]."""
        return self.logits_and_features(images)[1]

    def logits_and_features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once: logits and features.

        Raises:
          ValueError: images of another type or size.
        """
        shape = (self.resolution, self.resolution, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images are {images.dtype}{list(images.shape)}, must be uint8[N, {str(shape)[1:-1]}]"
            )
        parts = [
            (np.zeros((0, self.num_classes), np.float32), np.zeros((0, self.settings.widths[-1]), np.float32))
        ]
        size = prediction_batch()
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            missing = size - len(batch)  # padded: one compiled size serves all
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            both = jax.device_get(self._apply(padded))
            parts.append(tuple(part[: len(batch)] for part in both))
        logits, features = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(features)

    @functools.cached_property
    def _apply(self) -> Callable[[np.ndarray], tuple[jax.Array, jax.Array]]:
        network = ClassifierNetwork(self.num_classes, self.settings.widths)
        return on_local_devices(network.apply, self.variables)


def prediction_batch() -> int:
    """Images that the classifier takes at once, on all devices of this process together.

    As many on each however many devices there are: so it is the same program on each, and gives the same.
    """
    return PREDICTION_BATCH * len(jax.local_devices())


def obtain(
    training: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    folder: epath.PathLike,
    settings: ClassifierSettings,
    console: Console,
) -> Classifier:
    """The classifier of a data set: kept in `folder` from an earlier call with the same arguments, or new.

    Args:
      training: real images u8[N, H, W, 3] and labels i32[N] to learn.
      test: real images and labels that the classifier's accuracy is measured on.
      num_classes: labels are 0 … num_classes - 1.
      folder: where it is kept as `classifier-KEY.safetensors`; is created.
      settings: how it is trained.
      console: where the progress bar goes.

    Raises:
      UserError: there are no images, or the folder cannot be written.
    """
    folder = epath.Path(folder)
    path = folder / f"classifier-{_key(training, test, num_classes, settings)}.safetensors"
    untrained = _untrained(training[0].shape[1], num_classes, settings)
    if path.exists():
        try:
            return _load(path, untrained)
        except Exception as error:  # whatever a damaged file makes safetensors raise
            logging.warning("%s cannot be used (%s): training the classifier anew", path, error)
    for (images, _), name in ((training, "training"), (test, "test")):
        if not len(images):
            raise UserError(f"there are no {name} images for the classifier: choose another split")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)  # before the work, not after it

    console.print(
        f"training the classifier on {len(training[0]):,} real images, once: it is kept as {path}",
        soft_wrap=True,
    )
    trained = train_classifier(training, test, num_classes, settings, console)
    _save(path, trained)
    return trained


def train_classifier(
    training: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    settings: ClassifierSettings,
    console: Console,
) -> Classifier:
    """A classifier, trained and measured; arguments as for `obtain`."""
    variables = train(training, num_classes, settings, console)
    untrained = _untrained(training[0].shape[1], num_classes, settings)
    trained = dataclasses.replace(untrained, variables=variables, test_images=len(test[0]))
    accuracy = float((trained.predict(test[0]).argmax(axis=1) == test[1]).mean())
    return dataclasses.replace(trained, test_accuracy=accuracy)


def broadcast(
    classifier: Classifier | None, resolution: int, num_classes: int, settings: ClassifierSettings
) -> Classifier:
    """The first process's classifier, in all of them; in the others it is None."""
    if jax.process_count() == 1:
        return classifier
    given = classifier or _untrained(resolution, num_classes, settings)
    variables = given.variables
    if classifier is None:
        variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
    variables = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(variables))
    images, accuracy = Replicas().broadcast([given.test_images, given.test_accuracy])
    return dataclasses.replace(given, variables=variables, test_images=images, test_accuracy=accuracy)


def _untrained(resolution: int, num_classes: int, settings: ClassifierSettings) -> Classifier:
    return Classifier(variable_shapes(resolution, num_classes, settings), settings, resolution, num_classes)


def _key(
    training: LabelledImages, test: LabelledImages, num_classes: int, settings: ClassifierSettings
) -> str:
    recipe = {"recipe": RECIPE, "num_classes": num_classes, **dataclasses.asdict(settings)}
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for array in (*training, *test):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:12]


def _save(path: epath.Path, classifier: Classifier) -> None:
    about = {
        "hash": classifier.hash,
        "test_images": classifier.test_images,
        "test_accuracy": classifier.test_accuracy,
    }
    tensors = flatten_dict(classifier.variables, sep="/")
    metadata = {name: json.dumps(value) for name, value in about.items()}
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def _load(path: epath.Path, untrained: Classifier) -> Classifier:
    content = path.read_bytes()  # it may be in a bucket, where safetensors opens nothing itself
    tensors = safetensors.numpy.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = {name: json.loads(value) for name, value in header["__metadata__"].items()}
    expected = flatten_dict(untrained.variables, sep="/")
    if {name: x.shape for name, x in tensors.items()} != {name: x.shape for name, x in expected.items()}:
        raise ValueError("its tensors are of another network")
    weights_hash = about.pop("hash")
    classifier = dataclasses.replace(untrained, variables=unflatten_dict(tensors, sep="/"), **about)
    if classifier.hash != weights_hash:
        raise ValueError("its weights are not those that were saved")
    return classifier
