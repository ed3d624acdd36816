"""Differentiable augmentation of all that D sees, against overfitting (Zhao et al. 2020, arXiv 2006.10738).

Real and generated images are changed at random in the same ways, in D's updates and in G's, and G's gradient
flows back through the changes. Ranges and rounding are those of the authors' released code.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


def augment(images: jax.Array, keys: jax.Array, names: Sequence[str]) -> jax.Array:
    """Changes every image at random, by its own key alone, so the batch may be cut in any way.

    What a policy draws from a key does not depend on which others are in use. Results may leave [-1, 1], and
    gaps are filled with 0 (mid-grey), both as in the paper.

    Args:
      images: [N, H, W, 3] in [-1, 1], of bfloat16 or wider; computing is in float32 or wider.
      keys: typed JAX keys [N], one an image.
      names: of policies in `POLICIES`, applied in this order; none leaves the images as they are.

    Returns:
      Images of the same shape and type, differentiable in `images`.

    Raises:
      ValueError: a policy that is not in `POLICIES`.
    """
    for policy in names:
        if policy not in POLICIES:
            raise ValueError(f"augmentation policy {policy!r}: choose from {tuple(POLICIES)}")

    def augment_one(image: jax.Array, key: jax.Array) -> jax.Array:
        # float32 whatever the images are, and with them all that is computed with them.
        draws = jax.random.uniform(key, (len(POLICIES), DRAWS), jnp.float32)
        draws_of = dict(zip(POLICIES, draws, strict=True))
        for policy in names:
            image = POLICIES[policy](image, draws_of[policy])
        return image

    return jax.vmap(augment_one)(images, keys).astype(images.dtype)


def _color(image: jax.Array, draws: jax.Array) -> jax.Array:
    """Brightness by up to ±0.5, then saturation times up to 2, then contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = draws
    image = image + (brightness - 0.5)
    image = _scale_about(image.mean(axis=-1, keepdims=True), image, 2 * saturation)
    return _scale_about(image.mean(), image, 0.5 + contrast)


def _scale_about(center: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    return (image - center) * factor + center


def _translation(image: jax.Array, draws: jax.Array) -> jax.Array:
    """Moves the image by up to an eighth of each side.

    By products with two matrices of zeros and ones, one batched product each: slices at an offset of each
    image's own become a loop over the batch on TPUs, and another in the gradient.
    """
    height, width, _ = image.shape
    down, right, _ = draws
    rows = _shift(down, height, image.dtype)
    columns = _shift(right, width, image.dtype)
    # At full precision, a product with ones and zeros moves values without rounding them.
    image = jnp.einsum("ij,jwc->iwc", rows, image, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("ij,hjc->hic", columns, image, precision=jax.lax.Precision.HIGHEST)


def _shift(draw: jax.Array, size: int, dtype: jnp.dtype) -> jax.Array:
    """Matrix `[size, size]` that moves a vector by -reach … reach places and fills up with zeros."""
    reach = (size + 4) // 8  # a half rounds up
    offset = _integer(draw, 2 * reach + 1) - reach
    return jax.nn.one_hot(jnp.arange(size) - offset, size, dtype=dtype)


def _cutout(image: jax.Array, draws: jax.Array) -> jax.Array:
    """Blanks a rectangle of half the sides; its centre is anywhere, so it may reach over the edge."""
    height, width, _ = image.shape
    y_center, x_center, _ = draws
    inside = _interval(y_center, height)[:, None] & _interval(x_center, width)
    return jnp.where(inside[:, :, None], 0, image)


def _interval(draw: jax.Array, size: int) -> jax.Array:
    """Which of `size` places lie in an interval of half that length."""
    length = (size + 1) // 2
    # An even length has its centre between two places: the two edges make one position more.
    center = _integer(draw, size + 1 - length % 2)
    distance = jnp.arange(size) - (center - length // 2)
    return (distance >= 0) & (distance < length)


def _integer(draw: jax.Array, count: int) -> jax.Array:
    """One of 0 … count - 1, all equally likely."""
    return jnp.floor(draw * count).astype(jnp.int32)


# Each takes one image, [H, W, 3], and DRAWS uniform numbers in [0, 1), which are all its randomness.
DRAWS = 3
POLICIES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
