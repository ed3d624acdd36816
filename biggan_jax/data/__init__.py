"""Sources of real images, and the pipeline that makes batches of them for the training step.

A source returns examples by number; the pipeline chooses the numbers of each batch. Only this room uses
TensorFlow. The first call that needs it imports it, and it never gets access to an accelerator.
"""

from biggan_jax.data.catalogue import open_source
from biggan_jax.data.pipeline import batches
from biggan_jax.data.source import ArraySource, DataError, Source, arrays

__all__ = ["ArraySource", "DataError", "Source", "arrays", "batches", "open_source"]
