"""What the training step is fed: the order over processes, epochs and restarts, and the mirroring."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest

from biggan_jax.data import ArraySource, DataError, arrays, batches, order
from biggan_jax.data.records import RecordSource

EXAMPLES = 60
BATCH = {"batch_size": 12, "d_steps": 2, "seed": 0, "random_flip": True}
STEPS = 2 * EXAMPLES // (BATCH["batch_size"] * BATCH["d_steps"])  # two epochs


@pytest.fixture(scope="module")
def source() -> ArraySource:
    """Random pictures; an example's label tells little, so its number stands in two of its corners."""
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 4, 4, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = images[:, 0, -1, 0] = np.arange(EXAMPLES)
    return ArraySource(
        name="numbered",
        description="",
        num_examples=EXAMPLES,
        class_names=("a", "b", "c"),
        resolution=4,
        images=images,
        labels=(np.arange(EXAMPLES) % 3).astype(np.int32),
    )


def take(count: int, *args, **kwargs) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches(*args, **kwargs), count))


def numbers(batch: dict[str, np.ndarray]) -> np.ndarray:
    return batch["images"][..., 0, 0, 0]


def assert_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(actual["images"], expected["images"])
    np.testing.assert_array_equal(actual["labels"], expected["labels"])


def test_batches_have_the_shapes_and_types_that_the_step_expects(source):
    (batch,) = take(1, source, **BATCH)
    assert batch["images"].shape == (2, 12, 4, 4, 3) and batch["images"].dtype == np.uint8
    assert batch["labels"].shape == (2, 12) and batch["labels"].dtype == np.int32


def test_images_keep_their_labels(source):
    for batch in take(STEPS, source, **BATCH):
        np.testing.assert_array_equal(batch["labels"], numbers(batch) % 3)


def test_every_image_comes_once_an_epoch_though_batches_cross_its_end(source):
    """60 examples in batches of 7: epochs end within batches."""
    ragged = BATCH | {"batch_size": 7, "d_steps": 3}
    sequence = np.concatenate([numbers(batch).reshape(-1) for batch in take(9, source, **ragged)])
    first, second = sequence[:EXAMPLES], sequence[EXAMPLES : 2 * EXAMPLES]
    np.testing.assert_array_equal(np.sort(first), np.arange(EXAMPLES))
    np.testing.assert_array_equal(np.sort(second), np.arange(EXAMPLES))
    assert (first != second).any() and (first != np.arange(EXAMPLES)).any()


@pytest.mark.parametrize("process_count", [1, 2, 3])
def test_processes_together_see_what_one_process_sees(source, process_count):
    alone = take(STEPS, source, **BATCH)
    parts = [
        take(STEPS, source, **BATCH, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step, expected in enumerate(alone):
        together = {
            key: np.concatenate([part[step][key] for part in parts], axis=1) for key in ("images", "labels")
        }
        assert_equal(together, expected)


def test_a_resumed_run_goes_on_with_the_same_images_and_flips(source):
    unbroken = take(8, source, **BATCH)
    for actual, expected in zip(take(3, source, **BATCH, start_step=5), unbroken[5:], strict=True):
        assert_equal(actual, expected)


def test_resuming_late_costs_nothing(source):
    next(batches(source, **BATCH))
    start = time.monotonic()
    next(batches(source, **BATCH, start_step=10**12))
    assert time.monotonic() - start < 5


def test_seeds_give_different_orders(source):
    orders = [numbers(take(1, source, **BATCH | {"seed": seed})[0]) for seed in (0, 1)]
    assert (orders[0] != orders[1]).mean() > 0.5


def test_flips_are_half_of_all_and_only_left_to_right(source):
    flipped = []
    for batch in take(50, source, **BATCH):
        for image in batch["images"].reshape(-1, 4, 4, 3):
            original = source.images[image[0, 0, 0]]
            mirror = (image == original[:, ::-1]).all()
            assert mirror or (image == original).all()
            flipped.append(mirror)
    assert abs(np.mean(flipped) - 0.5) * 2 * np.sqrt(len(flipped)) < 4


def test_each_place_of_the_run_has_the_example_and_the_flip_of_its_position(source):
    taken = np.concatenate([batch["images"].reshape(-1, 4, 4, 3) for batch in take(20, source, **BATCH)])
    examples = order.examples(BATCH["seed"], np.arange(len(taken)), EXAMPLES)
    flips = order.flips(BATCH["seed"], 0, len(taken))
    originals = source.images[examples]
    np.testing.assert_array_equal(taken[~flips], originals[~flips])
    np.testing.assert_array_equal(taken[flips], originals[flips][:, :, ::-1])


def test_random_flip_off_gives_the_images_as_they_are(source):
    (batch,) = take(1, source, **BATCH | {"random_flip": False})
    np.testing.assert_array_equal(batch["images"], source.images[numbers(batch)])


def test_a_source_smaller_than_a_batch_repeats_within_it(source):
    """One step spans more than one epoch: positions 0 … 159 of 60 examples."""
    (batch,) = take(1, source, **BATCH | {"batch_size": 80})
    assert np.bincount(numbers(batch).reshape(-1)).tolist().count(0) == 0
    assert np.bincount(numbers(batch).reshape(-1)).max() == 3


def test_a_batch_that_processes_cannot_share_is_refused(source):
    with pytest.raises(DataError, match=r"batch_size = 12 .* 5 processes: choose a multiple of 5"):
        batches(source, **BATCH, process_index=0, process_count=5)


def test_arrays_are_the_sources_own_in_its_order(source):
    images, labels = arrays(source)
    np.testing.assert_array_equal(images, source.images)
    np.testing.assert_array_equal(labels, source.labels)


def test_arrays_of_a_source_too_large_for_memory_are_refused():
    large = RecordSource(
        name="large",
        description="",
        num_examples=10**9,
        class_names=("a",),
        resolution=128,
        records=(),
        parse=lambda record: (record, record),
    )
    with pytest.raises(DataError, match="1,000,000,000 images of 128 px, too many"):
        arrays(large)


def test_labels_outside_of_the_classes_are_refused(source):
    with pytest.raises(DataError, match="labels from 0 to 2, but its 2 classes"):
        ArraySource(
            name="short",
            description="",
            num_examples=EXAMPLES,
            class_names=("a", "b"),
            resolution=4,
            images=source.images,
            labels=source.labels,
        )


def test_importing_the_room_imports_neither_tensorflow_nor_jax():
    code = "import sys, biggan_jax.data; sys.exit('tensorflow' in sys.modules or 'jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
