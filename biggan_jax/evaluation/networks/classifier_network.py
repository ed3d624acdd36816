"""The network that judges samples where no published one knows the classes, and how it is to be trained."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

COARSEST_STEM = 16  # pixels a side on which the first convolution works

LabelledImages = tuple[np.ndarray, np.ndarray]  # u8[N, H, W, 3] and labels i32[N]
Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """How the classifier is built and trained; the defaults need 45 s of CPU time.

    Attributes:
      widths: channels at 16×16, 8×8 and 4×4; narrow early and wide late is what CPUs compute fastest.
      images_seen: training images in total, so that the time does not depend on the size of the set.
      batch_size: images a step.
      learning_rate: Muon's highest, for the kernels; Adam trains the rest at a third of it.
      weight_decay: of the kernels.
      label_smoothing: share of the target that goes to all classes alike.
      random_flip: mirror half of the images, left to right; as in the training of the generator to be judged.
      seed: of the initial weights and the order.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    images_seen: int = 90_000
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    random_flip: bool = False
    seed: int = 0


class ClassifierNetwork(nn.Module):
    """ResNet with pre-activation: one residual block at each resolution below the stem's.

    Resolution is halved by gathering 2×2 pixels into channels (a matrix product, which costs less than a
    convolution with stride).
    """

    num_classes: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, images: jax.Array, training: bool = False) -> tuple[jax.Array, jax.Array]:
        """Logits f32[N, num_classes] and features f32[N, widths[-1]] of images u8[N, H, W, 3]."""
        norm = functools.partial(nn.BatchNorm, use_running_average=not training, momentum=0.9)
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), use_bias=False)
        x = norm(use_bias=False, use_scale=False)(images.astype(jnp.float32))
        x = gather_pixels(x, max(1, x.shape[1] // COARSEST_STEM))
        x = conv(self.widths[0])(x)
        for width in self.widths[1:]:
            x = gather_pixels(nn.relu(norm()(x)), 2)
            x = nn.Dense(width, use_bias=False)(x)
            branch = conv(width)(nn.relu(norm()(x)))
            branch = conv(width)(nn.relu(norm()(branch)))
            x = x + branch
        features = nn.relu(norm()(x)).mean(axis=(1, 2))
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")
        return head(features), features


def gather_pixels(x: jax.Array, size: int) -> jax.Array:
    """Space to depth: [N, H, W, C] → [N, ⌈H/size⌉, ⌈W/size⌉, size² · C], with zeros below and to the right
    where `size` does not divide H or W.
    """
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, -x.shape[2] % size), (0, 0)))
    n, h, w, c = x.shape
    x = x.reshape(n, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // size, w // size, size * size * c)


def variable_shapes(resolution: int, num_classes: int, settings: ClassifierSettings) -> Variables:
    """The network's variables, as shapes and types."""
    image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.uint8)
    return jax.eval_shape(ClassifierNetwork(num_classes, settings.widths).init, jax.random.key(0), image)
