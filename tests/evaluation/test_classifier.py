"""The classifier: what it learns, what it keeps, and what it refuses."""

import dataclasses
import logging
import shutil

import jax
import numpy as np
import pytest
from blobs import SETTINGS, SIZE, make_blobs
from rich.console import Console

from biggan_jax.evaluation.networks import classifier
from biggan_jax.evaluation.networks.classifier import obtain
from biggan_jax.evaluation.networks.classifier_network import ClassifierSettings, gather_pixels
from biggan_jax.runtime.errors import UserError

TRAINING, TEST = make_blobs(300, seed=1), make_blobs(150, seed=2)


def get(folder, training=TRAINING, test=TEST, settings=SETTINGS):
    return obtain(training, test, 3, folder, settings, Console(quiet=True))


@pytest.fixture
def training_count(monkeypatch):
    """Counts trainings, which it replaces by initial weights."""
    count = []

    def initial(data, num_classes, settings, console):
        count.append(settings)
        network = classifier.ClassifierNetwork(num_classes, settings.widths)
        return jax.device_get(network.init(jax.random.key(0), data[0][:1]))

    monkeypatch.setattr(classifier, "train", initial)
    return count


def test_it_learns_classes_that_are_easy_to_tell(kept):
    trained = kept[1]
    assert trained.test.accuracy >= 0.99
    assert trained.test.images == len(TEST[0])
    images, labels = make_blobs(90, seed=3)
    assert (trained.predict(images).argmax(axis=1) == labels).mean() >= 0.97


def test_an_untrained_network_would_not_pass_for_one_that_learnt(tmp_path, training_count):
    assert get(tmp_path).test.accuracy < 0.5


def test_logits_are_the_last_layer_of_the_features(kept):
    logits, features = kept[1].logits_and_features(TEST[0])
    head = kept[1].variables["params"]["head"]
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(kept[1].predict(TEST[0]), logits)
    np.testing.assert_array_equal(kept[1].features(TEST[0]), features)


def test_an_images_logits_do_not_depend_on_the_batch_it_comes_in(kept, monkeypatch):
    together = kept[1].predict(TEST[0][:7])
    monkeypatch.setattr(classifier, "PREDICTION_BATCH", 3)
    np.testing.assert_allclose(kept[1].predict(TEST[0][:7]), together, rtol=1e-4, atol=1e-5)
    assert kept[1].predict(TEST[0][:0]).shape == (0, 3)


def test_it_gives_the_same_on_one_device_and_on_four(kept, monkeypatch):
    devices, trained = jax.local_devices(), dataclasses.replace(kept[1])
    assert len(devices) == 4
    monkeypatch.setattr(classifier, "PREDICTION_BATCH", 30)
    on_four = trained.logits_and_features(TEST[0])
    assert len(trained._apply(TEST[0][:120])[0].addressable_shards) == 4
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    for one, four in zip(dataclasses.replace(trained).logits_and_features(TEST[0]), on_four, strict=True):
        np.testing.assert_array_equal(one, four)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, widths=(8,), images_seen=200)
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "cache of the first"))
    first = get(tmp_path / "first", settings=settings)
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "cache of the second"))
    second = get(tmp_path / "second", settings=settings)
    assert first.hash == second.hash
    assert get(tmp_path, settings=dataclasses.replace(settings, seed=1)).hash != first.hash


def test_what_was_kept_is_used_again_and_gives_identical_logits(kept, no_training):
    folder, trained = kept
    again = get(folder)
    np.testing.assert_array_equal(again.predict(TEST[0]), trained.predict(TEST[0]))
    assert (again.hash, again.test.accuracy, again.test.images) == (
        trained.hash,
        trained.test.accuracy,
        trained.test.images,
    )


def test_what_is_in_the_cache_is_copied_to_a_new_folder_and_not_trained_again(
    tmp_path, own_cache, training_count
):
    first = get(tmp_path / "first")
    (kept,), (cached,) = (tmp_path / "first").iterdir(), (own_cache / "classifiers").iterdir()
    again = get(tmp_path / "second")
    (copy,) = (tmp_path / "second").iterdir()
    assert len(training_count) == 1 and again.hash == first.hash
    assert kept.name == cached.name == copy.name
    assert kept.read_bytes() == cached.read_bytes() == copy.read_bytes()


def test_a_damaged_classifier_beside_the_run_is_replaced_from_the_cache(tmp_path, caplog, training_count):
    first = get(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:100])
    assert get(tmp_path).hash == first.hash and path.read_bytes() == content
    assert len(training_count) == 1 and path.name in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch, caplog, training_count):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "file"))
    get(tmp_path / "folder")
    assert "not kept in the cache" in caplog.text
    get(tmp_path / "folder")
    assert len(training_count) == 1


@pytest.mark.slow
def test_one_changed_pixel_label_or_setting_trains_anew(kept, tmp_path, training_count):
    folder = shutil.copytree(kept[0], tmp_path / "kept")
    pixel, label = TRAINING[0].copy(), TRAINING[1].copy()
    pixel[5, 4, 3, 2] ^= 1
    label[5] = (label[5] + 1) % 3
    test_pixel = TEST[0].copy()
    test_pixel[0, 0, 0, 0] ^= 1
    get(folder, training=(pixel, TRAINING[1]))
    get(folder, training=(TRAINING[0], label))
    get(folder, test=(test_pixel, TEST[1]))
    get(folder, settings=dataclasses.replace(SETTINGS, label_smoothing=0.0))
    assert len(training_count) == 4
    get(folder)
    assert len(training_count) == 4


@pytest.mark.parametrize("damage", ["cut short", "empty", "a flipped bit", "another network"])
def test_a_broken_file_is_trained_anew_with_a_warning(kept, tmp_path, caplog, training_count, damage):
    (good,) = kept[0].glob(f"classifier-{classifier._key(TRAINING, TEST, 3, SETTINGS)}.safetensors")
    content = bytearray(good.read_bytes())
    if damage == "cut short":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    elif damage == "a flipped bit":
        content[-5] ^= 4
    else:
        get(tmp_path, settings=dataclasses.replace(SETTINGS, widths=(8, 8)))
        content = next(tmp_path.iterdir()).read_bytes()
        training_count.clear()
    (tmp_path / good.name).write_bytes(content)
    training_count.clear()
    with caplog.at_level(logging.WARNING):
        get(tmp_path)
    assert good.name in caplog.text and "trained again" in caplog.text
    assert len(training_count) == 1
    caplog.clear()
    get(tmp_path)  # the broken file was replaced
    assert not caplog.text and len(training_count) == 1


@pytest.mark.slow
def test_mirroring_is_learnt_only_if_asked_for(tmp_path):
    random = np.random.default_rng(0)

    def halves(count):
        """Class 0 is bright on the left; class 1 is dark."""
        labels = (np.arange(count) % 2).astype(np.int32)
        images = random.integers(0, 60, (count, SIZE, SIZE, 3)).astype(np.uint8)
        images[labels == 0, :, : SIZE // 2] += 150
        return images, labels

    training, test = halves(200), halves(50)
    mirrored = test[0][test[1] == 0][:, :, ::-1]
    settings = dataclasses.replace(SETTINGS, widths=(8, 8), images_seen=1_000, random_flip=True)
    flipped = obtain(training, test, 2, tmp_path, settings, Console(quiet=True))
    plain = dataclasses.replace(settings, random_flip=False)
    unflipped = obtain(training, test, 2, tmp_path, plain, Console(quiet=True))
    with_mirroring, without = (
        (logits[:, 0] - logits[:, 1]).mean()
        for logits in (flipped.predict(mirrored), unflipped.predict(mirrored))
    )
    assert with_mirroring > without + 0.5


def test_gathering_pixels_loses_none_and_keeps_neighbours_together():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    gather_images = np.asarray(gather_pixels(x, 2))
    assert gather_images.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(gather_images[1, 1, 2], x[1, 2:4, 4:6].reshape(-1))


def test_what_a_whole_number_of_squares_does_not_cover_is_filled_up_with_zeros():
    x = np.arange(1, 1 + 3 * 5).reshape(1, 3, 5, 1)
    gather_images = np.asarray(gather_pixels(x, 2))
    assert gather_images.shape == (1, 2, 3, 4)
    np.testing.assert_array_equal(gather_images[0, 0, 0], [1, 2, 6, 7])
    np.testing.assert_array_equal(gather_images[0, 1, 2], [15, 0, 0, 0])
    assert gather_images.sum() == x.sum()


@pytest.mark.parametrize("size", [1, 16, 30, 32, 64, 100, 128, 299])
def test_every_resolution_ends_in_features_of_the_same_width(size):
    network = classifier.ClassifierNetwork(5, ClassifierSettings().widths)
    images = jax.ShapeDtypeStruct((2, size, size, 3), np.uint8)
    logits, features = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x)[0], images)
    assert logits.shape == (2, 5) and features.shape == (2, 64)


def test_images_of_another_type_or_size_are_refused(kept):
    with pytest.raises(ValueError, match="float32"):
        kept[1].predict(TEST[0].astype(np.float32) / 255)
    with pytest.raises(ValueError, match=r"\[150, 8, 8, 3\]"):
        kept[1].predict(TEST[0][:, ::2, ::2])


def test_a_folder_that_cannot_be_written_is_found_out_before_training(tmp_path, no_training):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        get(tmp_path / "file")


def test_an_empty_split_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="split of test images .* is empty"):
        get(tmp_path, test=(TEST[0][:0], TEST[1][:0]))
