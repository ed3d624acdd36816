"""The classifier's network and the settings of its training.

It is the feature network for data sets whose classes no published network knows.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

COARSEST_STEM = 16  # pixels a side of the first convolution's input

LabelledImages = tuple[np.ndarray, np.ndarray]  # u8[N, H, W, 3] and labels i32[N]
Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """Settings of the classifier and its training; the defaults need 45 s of CPU time.

    Attributes:
      widths: Channels at 16×16, 8×8 and 4×4. CPUs are fastest with few channels early and many late.
      images_seen: Total number of training images, so that the time does not depend on the size of the set.
      batch_size: Images per step.
      learning_rate: Highest learning rate of Muon, for the kernels; Adam trains the rest at a third of it.
      weight_decay: Weight decay of the kernels.
      label_smoothing: Share of the target that is spread over all classes.
      random_flip: Whether half of the images are mirrored, as in the training of the generator.
      seed: Seed of the initial weights and of the order of the images.
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
    """ResNet with pre-activation and one residual block at each resolution below that of the stem.

    Resolution is halved by gathering 2×2 pixels into channels and a matrix product, which costs less than a
    strided convolution.

    Attributes:
      num_classes: Number of logits.
      widths: Channels at each resolution.
    """

    num_classes: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, images: jax.Array, training: bool = False) -> tuple[jax.Array, jax.Array]:
        """Returns logits f32[N, num_classes] and features f32[N, widths[-1]] of images u8[N, H, W, 3].

        Args:
          images: u8[N, H, W, 3].
          training: Whether batch norm uses batch statistics and updates its averages.
        """
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
    """Moves space to depth: [N, H, W, C] → [N, ⌈H/size⌉, ⌈W/size⌉, size² · C].

    The bottom and the right are padded with zeros if `size` does not divide H or W.
    """
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, -x.shape[2] % size), (0, 0)))
    n, h, w, c = x.shape
    x = x.reshape(n, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // size, w // size, size * size * c)


def variable_shapes(resolution: int, num_classes: int, settings: ClassifierSettings) -> Variables:
    """Returns the shapes and types of the variables of the network."""
    image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.uint8)
    return jax.eval_shape(ClassifierNetwork(num_classes, settings.widths).init, jax.random.key(0), image)
