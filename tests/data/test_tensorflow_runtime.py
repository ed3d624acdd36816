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


def test_tfds_starts_without_keras_and_leaves_others_their_warnings_and_their_environment():
    script = (
        "import os, sys; from absl import logging; before = dict(os.environ);"
        "from biggan_jax.data.tensorflow_runtime import import_tfds; import_tfds();"
        "assert not {'keras', 'matplotlib'} & sys.modules.keys();"
        "assert os.environ.keys() - before.keys() <= {'TF_CPP_MIN_LOG_LEVEL', 'TF_ENABLE_ONEDNN_OPTS',"
        " 'TPU_ML_PLATFORM', 'TF2_BEHAVIOR'}, os.environ.keys() - before.keys();"
        "logging.warning('a checkpoint was skipped')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "a checkpoint was skipped" in result.stderr
