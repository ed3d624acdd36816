"""Differentiable augmentation of D's input, against overfitting (Zhao et al. 2020, arXiv 2006.10738).

Real and generated images are changed at random in the same ways, in D's updates and in G's, and G's gradient
flows through the changes. Ranges and rounding follow the authors' released code.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


def augment(images: jax.Array, keys: jax.Array, names: Sequence[str]) -> jax.Array:
    """Changes every image at random, by its own key alone, so that the batch may be split in any way.

    The random numbers of a policy do not depend on the other policies in use. Results may leave [-1, 1], and
    gaps are filled with 0 (mid-grey), both as in the paper.

    Args:
      images: [N, H, W, 3] in [-1, 1], of bfloat16 or wider; computing is in float32 or wider.
      keys: Typed JAX keys [N], one for each image.
      names: Names of policies in `POLICIES`, applied in this order; without any, images stay unchanged.

    Returns:
      Images of the same shape and type, differentiable in `images`.

    Raises:
      ValueError: A policy is not in `POLICIES`.
    """
    for policy in names:
        if policy not in POLICIES:
            raise ValueError(f"augmentation policy {policy!r}: choose from {tuple(POLICIES)}")

    def augment_one(image: jax.Array, key: jax.Array) -> jax.Array:
        # float32 whatever the type of the images, so that all that follows is at least float32.
        draws = jax.random.uniform(key, (len(POLICIES), DRAWS), jnp.float32)
        draws_of = dict(zip(POLICIES, draws, strict=True))
        for policy in names:
            image = POLICIES[policy](image, draws_of[policy])
        return image

    return jax.vmap(augment_one)(images, keys).astype(images.dtype)


def _color(image: jax.Array, draws: jax.Array) -> jax.Array:
    """Shifts brightness by up to ±0.5, then scales saturation by 0 to 2, then contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = draws
    image = image + (brightness - 0.5)
    image = _scale_about(image.mean(axis=-1, keepdims=True), image, 2 * saturation)
    return _scale_about(image.mean(), image, 0.5 + contrast)


def _scale_about(center: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    return (image - center) * factor + center


def _translation(image: jax.Array, draws: jax.Array) -> jax.Array:
    """Moves the image by up to an eighth of each side.

    It multiplies by two matrices of zeros and ones. Slices at a different offset for each image would become
    a loop over the batch on TPUs, and another one in the gradient.
    """
    height, width, _ = image.shape
    down, right, _ = draws
    rows = _shift(down, height, image.dtype)
    columns = _shift(right, width, image.dtype)
    # At full precision, a product with ones and zeros moves values without rounding them.
    image = jnp.einsum("ij,jwc->iwc", rows, image, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("ij,hjc->hic", columns, image, precision=jax.lax.Precision.HIGHEST)


def _shift(draw: jax.Array, size: int, dtype: jnp.dtype) -> jax.Array:
    """Returns the matrix `[size, size]` that moves a vector by -reach … reach places, zeros moving in."""
    reach = (size + 4) // 8  # a half rounds up
    offset = _integer(draw, 2 * reach + 1) - reach
    return jax.nn.one_hot(jnp.arange(size) - offset, size, dtype=dtype)


def _cutout(image: jax.Array, draws: jax.Array) -> jax.Array:
    """Blanks a rectangle of half the sides; its centre may be anywhere, so it may extend beyond the edge."""
    height, width, _ = image.shape
    y_center, x_center, _ = draws
    inside = _interval(y_center, height)[:, None] & _interval(x_center, width)
    return jnp.where(inside[:, :, None], 0, image)


def _interval(draw: jax.Array, size: int) -> jax.Array:
    """Returns which of `size` places lie in a random interval of half that length."""
    length = (size + 1) // 2
    # An even length has its centre between two places: the two edges make one position more.
    center = _integer(draw, size + 1 - length % 2)
    distance = jnp.arange(size) - (center - length // 2)
    return (distance >= 0) & (distance < length)


def _integer(draw: jax.Array, count: int) -> jax.Array:
    """Returns one of 0 … count - 1, all equally likely."""
    return jnp.floor(draw * count).astype(jnp.int32)


# A policy takes one image, [H, W, 3], and DRAWS uniform numbers in [0, 1), which are all its randomness.
DRAWS = 3
POLICIES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
