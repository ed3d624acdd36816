"""TensorFlow as the input pipeline uses it: imported late, quiet, and blind to accelerators."""

import functools
import logging
import os
from types import ModuleType

from biggan_jax.runtime.errors import UserError


@functools.cache
def import_tensorflow() -> ModuleType:
    """Imports TensorFlow on the first call and hides GPUs and TPUs from it: they belong to JAX.

    Raises:
      UserError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up chatter among the progress lines
    os.environ.setdefault(
        "TF_ENABLE_ONEDNN_OPTS", "0"
    )  # announces itself on stderr, and nothing here uses it
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise UserError(
            f"this takes TensorFlow, which is not installed ({error}): pip install tensorflow-cpu, "
            "or tensorflow where there is no such package"
        ) from error

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


@functools.cache
def import_tfds() -> ModuleType:
    """Imports TensorFlow Datasets, and TensorFlow before it, as `import_tensorflow` does."""
    import_tensorflow()
    # Warns of each folder that it looks for in vain and of its own deprecated names.
    logging.getLogger("absl").addFilter(_not_a_warning_of_tfds)
    import tensorflow_datasets

    return tensorflow_datasets


def _not_a_warning_of_tfds(record: logging.LogRecord) -> bool:
    of_tfds = f"{os.sep}tensorflow_datasets{os.sep}" in record.pathname  # its logger is ours too
    return record.levelno >= logging.ERROR or not of_tfds
