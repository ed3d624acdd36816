"""Where real images come from and how they become batches for the training step.

A source knows its examples by number; the pipeline decides which numbers make up which batch. TensorFlow
serves this room alone, is imported by the first call that needs it, and never sees an accelerator.
"""

from biggan_jax.data.catalogue import open_source
from biggan_jax.data.pipeline import batches
from biggan_jax.data.source import ArraySource, DataError, Source, arrays

__all__ = ["ArraySource", "DataError", "Source", "arrays", "batches", "open_source"]
