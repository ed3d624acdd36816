"""Images of given latents: exactly the generator's, and every file that is none of latents is refused."""

import io

import numpy as np
import pytest
from rich.console import Console
from tiny_exports import CLASSES, LATENT, SIZE, make_exported

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling import latents_file
from biggan_jax.sampling.latents_file import read_latents, write_images
from biggan_jax.sampling.sampler import Sampler

Z = np.random.default_rng(0).normal(size=(5, LATENT))
LABELS = np.array([2, 0, 1, 1, 0])


@pytest.fixture(scope="module")
def sampler():
    return Sampler(make_exported(), batch_size=2)


@pytest.mark.parametrize("labels", [LABELS, np.eye(CLASSES)[LABELS] / 2 + 1 / 6])
def test_images_are_those_of_the_latents_and_labels_or_weights(labels, sampler, tmp_path, monkeypatch):
    monkeypatch.setattr(latents_file, "BYTES_AT_ONCE", 2 * 12 * SIZE**2)  # two images
    np.savez(tmp_path / "latents.npz", z=Z, labels=labels)
    z, read = read_latents(tmp_path / "latents.npz", sampler)
    write_images(tmp_path / "images.npz", sampler, z, read, 0.5, Console(file=io.StringIO()))
    with np.load(tmp_path / "images.npz", allow_pickle=False) as file:
        assert file.files == ["images"]
        images = file["images"]
    assert images.dtype == np.float32 and images.shape == (5, SIZE, SIZE, 3)
    wanted = sampler.images(np.float32(Z), labels if labels.ndim == 2 else LABELS, 0.5, "float32")
    np.testing.assert_array_equal(images, wanted)
    assert images.std() > 0.1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": Z}, "has no 'labels', only z: write it with numpy.savez"),
        ({"latents": Z, "labels": LABELS}, "has no 'z', only latents, labels"),
        ({"z": Z[:, 1:], "labels": LABELS}, r"z is float64\[5, 5\], must be floating-point numbers \[N, 6\]"),
        ({"z": Z.astype(int), "labels": LABELS}, r"z is int64\[5, 6\]"),
        ({"z": Z[:0], "labels": LABELS[:0]}, r"z is float64\[0, 6\]"),
        ({"z": Z, "labels": LABELS[1:]}, r"labels is int64\[4\], must be integers \[5\]"),
        ({"z": Z, "labels": np.ones(5)}, r"labels is float64\[5\], must be .* weights .* \[5, 3\]"),
        ({"z": Z, "labels": np.array(list("abcde"))}, r"labels is <U1\[5\]"),
        ({"z": Z, "labels": LABELS + 1}, "holds labels from 1 to 3, must be 0 to 2"),
        ({"z": Z, "labels": LABELS - 1}, "holds labels from -1 to 1, must be 0 to 2"),
        ({"z": np.full_like(Z, np.inf), "labels": LABELS}, "holds numbers that are not finite"),
        ({"z": np.full_like(Z, 1e303), "labels": LABELS}, r"holds latents up to 1e\+303: give them within"),
        ({"z": Z, "labels": np.full((5, CLASSES), 1e303)}, r"holds weights up to 1e\+303: give them within"),
        ({"z": Z, "labels": np.full(5, 2**40)}, "holds labels from 1099511627776 to"),
        ({"z": Z, "labels": np.array([{}] * 5)}, "'labels' cannot be read"),
    ],
)
def test_a_file_that_is_none_of_latents_is_refused_by_what_is_wrong(arrays, message, sampler, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_latents(tmp_path / "bad.npz", sampler)
