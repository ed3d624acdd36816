"""Encoded pictures of any size to square ones: crop the long edge, then resize by area.

As Brock et al. 2019 (arXiv 1809.11096) prepare ImageNet.
"""

from typing import TYPE_CHECKING

from biggan_jax.data.tensorflow_runtime import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf


def decode_square(encoded: "tf.Tensor", resolution: int) -> "tf.Tensor":
    """JPEG, PNG or single GIF bytes (a string scalar) to u8[resolution, resolution, 3]."""
    tf = import_tensorflow()
    # Takes PNG and GIF too. The accurate transform, unlike the default, gives the pixels that Pillow gives.
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return crop_and_resize(image, resolution)


def crop_and_resize(image: "tf.Tensor", resolution: int) -> "tf.Tensor":
    """The centred square of u8[H, W, 3], each new pixel the mean of the area it covers, rounded to u8."""
    tf = import_tensorflow()
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    resized = tf.image.resize(square[None], [resolution, resolution], method=tf.image.ResizeMethod.AREA)[0]
    return tf.ensure_shape(tf.cast(tf.round(resized), tf.uint8), [resolution, resolution, 3])
