"""The classifier that this room's tests share: trained once."""

import pytest
from blobs import SETTINGS, make_blobs
from rich.console import Console

from biggan_jax.evaluation.classifier import obtain


@pytest.fixture(scope="session")
def blobs():
    """Training and test images with labels."""
    return make_blobs(300, seed=1), make_blobs(150, seed=2)


@pytest.fixture(scope="session")
def kept(tmp_path_factory, blobs):
    """A folder, and the classifier that was trained into it with `SETTINGS`."""
    folder = tmp_path_factory.mktemp("kept")
    return folder, obtain(*blobs, 3, folder, SETTINGS, Console(quiet=True))
