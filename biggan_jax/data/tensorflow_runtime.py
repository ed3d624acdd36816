"""TensorFlow as the input pipeline uses it: imported late, quiet, and blind to accelerators."""

import functools
import os
from types import ModuleType


@functools.cache
def import_tensorflow() -> ModuleType:
    """Imports TensorFlow on the first call and hides GPUs and TPUs from it: they belong to JAX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up chatter among the progress lines
    os.environ.setdefault(
        "TF_ENABLE_ONEDNN_OPTS", "0"
    )  # announces itself on stderr, and nothing here uses it
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf
