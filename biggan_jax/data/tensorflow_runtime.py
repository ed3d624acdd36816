"""Imports TensorFlow for the input pipeline: late, without messages, and without access to accelerators."""

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from biggan_jax.runtime.errors import UserError


@functools.cache
def import_tensorflow() -> ModuleType:
    """Imports TensorFlow on the first call, and hides GPUs and TPUs from it, which JAX uses.

    Returns:
      The module tensorflow.

    Raises:
      UserError: TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up messages among the progress lines
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it prints to stderr, and nothing here uses it
    try:
        with _without_keras():
            import tensorflow as tf
    except ModuleNotFoundError as error:
        raise UserError(
            f"this needs TensorFlow, which is not installed ({error}): pip install tensorflow-cpu, "
            "or tensorflow if your platform has no such package"
        ) from error

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Keeps TensorFlow from importing Keras, and Matplotlib with it, which takes a fifth of its start.

    Nothing here uses Keras. TensorFlow looks for the older package of Keras instead, and `tf.keras` still
    loads on its first use.
    """
    name = "TF_USE_LEGACY_KERAS"
    if name in os.environ or "keras" in sys.modules:  # the user's choice
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


@functools.cache
def import_tfds() -> ModuleType:
    """Imports TensorFlow Datasets after TensorFlow, as `import_tensorflow` does; returns the module."""
    import_tensorflow()
    # It warns about each folder that does not exist, and about its own deprecated names.
    logging.getLogger("absl").addFilter(_not_a_warning_of_tfds)
    import tensorflow_datasets

    return tensorflow_datasets


def _not_a_warning_of_tfds(record: logging.LogRecord) -> bool:
    of_tfds = f"{os.sep}tensorflow_datasets{os.sep}" in record.pathname  # we share its logger
    return record.levelno >= logging.ERROR or not of_tfds
