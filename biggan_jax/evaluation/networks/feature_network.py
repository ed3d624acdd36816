"""Feature networks: what every score sees of an image, and by which name, size, resize rule and weights."""

import dataclasses
import hashlib
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from biggan_jax.evaluation.networks import classifier as classifiers
from biggan_jax.evaluation.networks import inception, inception_weights
from biggan_jax.evaluation.networks.classifier import Classifier
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.replicas import on_local_devices

NetworkOutput = tuple[np.ndarray, np.ndarray | None]  # features f32[N, D]; logits f32[N, K], or None

CPU_BATCH, ACCELERATOR_BATCH = 16, 64  # images a device
FUNCTION_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network that turns images into features, with what a score has to say about it.

    Attributes:
      name: part of the score's name; networks with different weights never share one.
      input_size: pixels a side it looks at, or None if it takes images as they come.
      resize: in words, how images of other sizes become that.
      weights_hash: hexadecimal digits.
      features_dim: D.
      logits_classes: K, or None if it gives no logits.
      batch_size: images that it takes at once.
      compute: u8[batch_size, H, W, 3] → features and logits.
    """

    name: str
    input_size: int | None
    resize: str
    weights_hash: str
    features_dim: int
    logits_classes: int | None
    batch_size: int
    compute: Callable[[np.ndarray], NetworkOutput]

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        """Features f32[N, features_dim] and logits f32[N, logits_classes], or None, of u8[N, H, W, 3].

        Any number of images: the last batch is filled up, so that one compiled program serves all.

        Raises:
          ValueError: images of another type or shape.
          UserError: the network gives what it did not promise, or numbers that are not finite.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are {images.dtype}{list(images.shape)}, must be uint8[N, H, W, 3]")
        widths = {"features": self.features_dim, "logits": self.logits_classes}
        parts = {kind: [np.zeros((0, width), np.float32)] for kind, width in widths.items() if width}
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            missing = self.batch_size - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
            judged = dict(zip(widths, self.compute(padded), strict=True))
            for kind in parts:
                parts[kind].append(self._checked(kind, judged[kind], widths[kind])[: len(batch)])
        joined = {kind: np.concatenate(arrays) for kind, arrays in parts.items()}
        return joined["features"], joined.get("logits")

    def _checked(self, kind: str, part: np.ndarray, width: int) -> np.ndarray:
        part = np.asarray(part, np.float32)
        if part.shape != (self.batch_size, width):
            raise UserError(
                f"the network {self.name} gives {kind} of shape {list(part.shape)} for {self.batch_size} "
                f"images, not {[self.batch_size, width]}"
            )
        if not np.isfinite(part).all():
            raise UserError(f"the network {self.name} gives {kind} that are not finite")
        return part

    @property
    def identity(self) -> dict[str, Any]:
        """What every score carries, as JSON holds it."""
        return {
            "network": self.name,
            "input_size": self.input_size,
            "resize": self.resize,
            "weights_hash": self.weights_hash,
        }


def open_feature_network(spec: str, resolution: int, console: Console) -> FeatureNetwork:
    """The network that `spec` names; that of the reference set itself is `from_classifier`'s.

    Args:
      spec: `inception`, `inception:PATH` (a .pth or .safetensors file), or `module:function`, as for
        `from_function`.
      resolution: pixels a side of the images to come; a function is tried out on two of them.
      console: where the progress of a download goes.

    Raises:
      UserError: there is no such network, or no weights for it.
    """
    kind, _, rest = spec.partition(":")
    if kind == "inception":
        return from_inception(inception_weights.obtain(Path(rest) if rest else None, console))
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", spec):
        return from_function(spec, _import(spec), resolution)
    raise UserError(
        f"there is no feature network {spec!r}: choose inception, inception:PATH, classifier, or "
        "module:function for one of your own"
    )


def from_inception(weights: inception_weights.Weights, batch_size: int | None = None) -> FeatureNetwork:
    """Inception-v3 on all devices of this process, each with its part of a batch.

    Args:
      weights: of `inception_weights.obtain`.
      batch_size: images on all devices together, a multiple of their number; by default what suits them.
    """
    devices = jax.local_devices()
    a_device = CPU_BATCH if devices[0].platform == "cpu" else ACCELERATOR_BATCH
    apply = on_local_devices(inception.Inception().apply, weights.variables)
    published = weights.sha256 == inception_weights.SHA256
    return FeatureNetwork(
        name="inception" if published else f"inception-{weights.sha256[:8]}",
        input_size=inception.INPUT_SIZE,
        resize=inception.RESIZE,
        weights_hash=weights.sha256,
        features_dim=inception.FEATURES,
        logits_classes=inception.CLASSES,
        batch_size=batch_size or a_device * len(devices),
        compute=lambda images: jax.device_get(apply(images)),
    )


def from_classifier(classifier: Classifier) -> FeatureNetwork:
    """The classifier that was trained on the reference set; it takes images of its own size only."""

    def compute(images: np.ndarray) -> NetworkOutput:
        logits, features = classifier.logits_and_features(images)
        return features, logits

    return FeatureNetwork(
        name="classifier",
        input_size=classifier.resolution,
        resize="none",
        weights_hash=classifier.hash,
        features_dim=classifier.settings.widths[-1],
        logits_classes=classifier.num_classes,
        batch_size=classifiers.prediction_batch(),
        compute=compute,
    )


def from_function(name: str, function: Callable[[np.ndarray], Any], resolution: int) -> FeatureNetwork:
    """A network of the user's own.

    Args:
      name: what its scores are called by.
      function: u8[N, H, W, 3] → features [N, D], or features and logits ([N, D], [N, K]). Its attributes
        `input_size`, `resize` and `weights_hash`, where it has them, go into the scores; in place of the
        last, the hash of the file that defines the function, which can't tell weights apart.
      resolution: pixels a side of the two images that it is tried out on.

    Raises:
      UserError: it fails on them, or gives something else.
    """

    def compute(images: np.ndarray) -> NetworkOutput:
        try:
            given = function(images)
            features, logits = given if isinstance(given, tuple) else (given, None)
            if logits is not None:
                logits = np.asarray(logits, np.float32)
            return np.asarray(features, np.float32), logits
        except Exception as error:
            kind = f"uint8{list(images.shape)}"
            raise UserError(f"the network {name} fails on {kind}: {type(error).__name__}: {error}") from error

    features, logits = compute(np.zeros((2, resolution, resolution, 3), np.uint8))
    for kind, part in (("features", features), ("logits", logits)):
        if part is not None and (part.ndim != 2 or len(part) != 2):
            raise UserError(
                f"the network {name} gives {kind} of shape {list(part.shape)} for 2 images, not [2, D]"
            )
    return FeatureNetwork(
        name=name,
        input_size=getattr(function, "input_size", None),
        resize=getattr(function, "resize", "the function's own"),
        weights_hash=getattr(function, "weights_hash", None) or _hash_of_code(function),
        features_dim=features.shape[1],
        logits_classes=None if logits is None else logits.shape[1],
        batch_size=FUNCTION_BATCH,
        compute=compute,
    )


def _import(spec: str) -> Callable[[np.ndarray], Any]:
    module, name = spec.split(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UserError(
            f"the feature network {spec} cannot be imported: {type(error).__name__}: {error}; the module "
            "must be in the current directory, installed, or in $PYTHONPATH"
        ) from error
    if not callable(function):
        raise UserError(f"the feature network {spec} is a {type(function).__name__}, not a function")
    return function


def _hash_of_code(function: Callable[[np.ndarray], Any]) -> str:
    module = importlib.import_module(getattr(function, "__module__", None) or type(function).__module__)
    path = getattr(module, "__file__", None)
    return f"code-{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}" if path else "unknown"
