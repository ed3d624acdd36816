"""TensorFlow leaves the accelerators to JAX, and says so where it is missing."""

import subprocess
import sys

import pytest

from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.runtime.errors import UserError


def test_accelerators_are_hidden_from_tensorflow(monkeypatch):
    """Otherwise it would take the memory that the training step needs."""
    tf = import_tensorflow()
    hidden = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: hidden.append((kind, devices))
    )
    import_tensorflow.__wrapped__()
    assert hidden == [("GPU", []), ("TPU", [])]


def test_a_machine_without_tensorflow_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match="not installed .*: pip install tensorflow-cpu"):
        import_tensorflow.__wrapped__()


def test_warnings_of_others_are_still_heard_when_tfds_is_imported():
    script = (
        "from absl import logging; from biggan_jax.data.tensorflow_runtime import import_tfds; import_tfds();"
        "logging.warning('a checkpoint was skipped')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "a checkpoint was skipped" in result.stderr
