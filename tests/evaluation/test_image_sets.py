"""Sets of images: the same images however they are asked for, and never too many at once."""

import types

import numpy as np
import pytest
from blob_runs import make_config, open_blobs, random_state
from blobs import make_blobs

from biggan_jax.data.records import RecordSource
from biggan_jax.evaluation import image_sets
from biggan_jax.evaluation.image_sets import (
    GeneratedImages,
    ImagesInMemory,
    RealImages,
    gather_images,
    load_images,
)
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import prepare_generator


@pytest.fixture(scope="module")
def drawn():
    config = make_config()
    state = random_state(config)
    return GeneratedImages(
        Sampler(prepare_generator(config, state.ema_params, state.generator.u), batch_size=16), 50, 3, seed=4
    )


def of_files():
    """The blobs as a source that reads them one by one."""
    images, labels = make_blobs(300, seed=1)
    fields = {name: getattr(open_blobs("blobs", resolution=16), name) for name in ("name", "class_names")}
    return RecordSource(
        **fields,
        description="blobs in files",
        num_examples=300,
        resolution=16,
        records=list(range(300)),
        parse=lambda number: (number, labels[number]),
        decode=lambda number, _: images[number],
    )


def whole(images):
    parts = list(images.batches(range(images.count), 7))
    assert max(len(part.images) for part in parts) == 7
    assert [part.start for part in parts] == list(range(0, images.count, 7))
    return np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])


@pytest.mark.parametrize("kind", ["drawn", "given", "real", "files"])
def test_parts_at_any_place_and_single_images_are_those_of_the_whole(kind, drawn):
    images = {
        "drawn": drawn,
        "given": ImagesInMemory(*make_blobs(50, seed=2)),
        "real": RealImages(open_blobs("blobs", resolution=16), 50),
        "files": RealImages(of_files(), 50),
    }[kind]
    pixels, labels = whole(images)
    (part,) = images.batches(range(13, 31), 100)
    np.testing.assert_array_equal(part.images, pixels[13:31])
    np.testing.assert_array_equal(part.labels, labels[13:31])
    numbers = [49, 3, 3, 20, 4]
    np.testing.assert_array_equal(images.at(numbers), pixels[numbers])
    for found in (load_images(images), gather_images(images)):
        np.testing.assert_array_equal(found[0], pixels)
        np.testing.assert_array_equal(found[1], labels)


def test_samples_take_their_labels_in_turn(drawn):
    assert whole(drawn)[1].tolist() == [i % 3 for i in range(50)]


def test_images_in_files_and_in_memory_are_the_same_set():
    for most in (0, 50):
        for from_file, from_memory in zip(
            whole(RealImages(of_files(), most)),
            whole(RealImages(open_blobs("blobs", resolution=16), most)),
            strict=True,
        ):
            np.testing.assert_array_equal(from_file, from_memory)


def test_a_part_of_a_source_is_a_random_one_without_repetition():
    source = open_blobs("blobs", resolution=16)
    part = whole(RealImages(source, 100))[0].reshape(100, -1)
    everything = source.images.reshape(300, -1)
    rows = [int(np.flatnonzero((everything == image).all(axis=1))[0]) for image in part]
    assert len(set(rows)) == 100 and rows == sorted(rows)
    assert 120 < np.mean(rows) < 180 and max(rows) > 250  # not the first hundred
    np.testing.assert_array_equal(whole(RealImages(source))[0], source.images)


def test_more_images_than_memory_is_for_are_refused_before_any_is_made(monkeypatch):
    monkeypatch.setattr(image_sets, "IN_MEMORY_BYTES", 49 * 16 * 16 * 3)
    nobody = types.SimpleNamespace(resolution=16, sample=lambda *_: pytest.fail("drew"))
    for whole_set in (load_images, gather_images):
        with pytest.raises(UserError, match="50 images of 16 px do not fit in memory.*take at most 49"):
            whole_set(GeneratedImages(nobody, 50, 3, 0))
