"""A network that learns Fashion-MNIST in a second: random features of thumbnails, and a linear layer by least
squares. It recognises about four images in five.
"""

import hashlib

import numpy as np

from biggan_jax.evaluation.scores.patch_shuffling import thumbnails

HIDDEN, FEATURES, SHARPNESS = 512, 32, 8.0


class QuickNetwork:
    """Logits f64[N, classes] and features f64[N, FEATURES] of images u8[N, H, W, 3].

    Args:
      images: to learn, u8[N, H, W, 3].
      labels: i32[N]; the network knows these classes, in ascending order.
      patch: pixels a side of the parts that it sees one by one, and whose logits and features it averages;
        None for the whole image.
    """

    def __init__(self, images, labels, patch=None):
        self.patch, self.results = patch, {}
        known = np.unique(labels)
        parts = self._parts(images)
        random = np.random.default_rng(0)
        inputs = thumbnails(parts)[:, ::3]
        self.mean = inputs.mean(axis=0)
        self.mixing = random.standard_normal((inputs.shape[1], HIDDEN)) / 2
        self.offset = random.standard_normal(HIDDEN)
        hidden = self._hidden(parts)
        self.centre = hidden.mean(axis=0)
        centred = hidden - self.centre
        gram = centred.T @ centred
        targets = np.repeat(labels, len(parts) // len(images))[:, None] == known
        self.head = np.linalg.solve(gram + np.eye(HIDDEN), centred.T @ (targets - 1 / len(known)))
        self.directions = np.linalg.eigh(gram)[1][:, -FEATURES:]

    def logits_and_features(self, images):
        """Computes both once for equal images: many tests score the same sets."""
        key = hashlib.blake2b(np.ascontiguousarray(images)).digest()
        if key not in self.results:
            self.results[key] = self._compute(images)
        return self.results[key]

    def _compute(self, images):
        centred = self._hidden(self._parts(images)) - self.centre
        logits, features = SHARPNESS * centred @ self.head, centred @ self.directions
        return tuple(x.reshape(len(images), -1, x.shape[1]).mean(axis=1) for x in (logits, features))

    def _parts(self, images):
        if self.patch is None:
            return images
        n, size, patch = len(images), images.shape[1], self.patch
        cut = images.reshape(n, size // patch, patch, size // patch, patch, 3).swapaxes(2, 3)
        return cut.reshape(-1, patch, patch, 3)

    def _hidden(self, parts):
        return np.maximum((thumbnails(parts)[:, ::3] - self.mean) @ self.mixing + self.offset, 0)
