"""The fingerprint of a run's images: what changes it, what is refused, and what may change without harm."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from biggan_jax.data import ArraySource, DataError, open_source
from biggan_jax.data.fingerprint import Fingerprint, compare, fingerprint, moved_classes, refuse_changes
from biggan_jax.data.records import RecordSource

NAMES = ("cat", "dog", "fox")


def array_source(count=200, names=NAMES, name="pictures", seed=0, size=8):
    rng = np.random.default_rng(seed)
    return ArraySource(
        name=name,
        description=f"{count} pictures",
        num_examples=count,
        class_names=tuple(names),
        resolution=size,
        images=rng.integers(0, 256, (1_000, size, size, 3), np.uint8)[:count],
        labels=np.arange(count, dtype=np.int32) % len(names),
    )


@pytest.fixture
def folder(tmp_path):
    """Three classes of four pictures, whose scan is kept in a cache of its own."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
            picture.save(tmp_path / "set" / name / f"{number}.png")
    return tmp_path / "set"


def opened(folder, split="train"):
    return open_source(f"folder:{folder}", split, resolution=8)


@pytest.mark.parametrize(
    ("split", "other"),
    {
        "the split": ("test", {}),
        "the source": ("train", {"name": "paintings"}),
        "the order of classes": ("train", {"class_names": ("dog", "cat", "fox")}),
        "a class's name": ("train", {"class_names": ("cat", "dog", "zebra")}),
        "the number of images": ("train", {"num_examples": 199}),
        "a label": ("train", {"labels": np.zeros(200, np.int32)}),
        "an image": ("train", {"images": np.zeros((200, 8, 8, 3), np.uint8)}),
    }.values(),
)
def test_the_hash_changes_with_each_part(split, other):
    source = array_source()
    if "num_examples" in other:
        other |= {"images": source.images[:199], "labels": source.labels[:199]}
    changed = fingerprint(dataclasses.replace(source, **other), split)
    assert changed.sha256 != fingerprint(source, "train").sha256
    assert fingerprint(array_source(), "train") == fingerprint(source, "train")


def test_a_fingerprint_survives_json():
    saved = fingerprint(array_source(), "train")
    assert Fingerprint.from_json(json.loads(json.dumps(saved.to_json()))) == saved
    damaged = [saved.to_json() | {name: None} for name in ("class_names", "images", "sample")]
    for other in (None, {}, [], "text", {"format": 0}, *damaged, saved.to_json() | {"sample": [2**64]}):
        assert Fingerprint.from_json(other) is None


def test_equal_images_are_no_change():
    source = array_source()
    assert compare(fingerprint(source, "train"), source, "train") == ([], [])


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (array_source(names=("dog", "cat", "fox")), "another order: label 0 was 'cat', is 'dog'"),
        (array_source(names=("cat", "dog", "zebra")), "other classes: 'fox' → 'zebra'"),
        (array_source(names=(*NAMES, "owl")), "3 classes → 4"),
        (array_source(count=199), "fewer images: 200 images → 199"),
        (array_source(seed=1), "another set: 64 of 64 sampled images are not in it"),
        (array_source(seed=1, count=300), "another set: 64 of 64 sampled images are not in it"),
        (array_source(seed=1, name="tfds:other"), r"not in it \(pictures, train → tfds:other, train\)"),
    ],
)
def test_another_set_is_refused_with_what_differs_and_allowed_by_the_flag(now, said):
    saved = fingerprint(array_source(), "train")
    with pytest.raises(
        DataError, match=f"(?s)the run has learnt from other .*{said}.*--config.data.allow_ch"
    ):
        refuse_changes(saved, now, "train", owner="the run", allowed=False)
    assert refuse_changes(saved, now, "train", owner="the run", allowed=True)


def test_one_exchanged_image_is_refused():
    source = array_source()
    images = source.images.copy()
    images[np.argmax(source.keys)] = 0  # none of the sampled ones
    changes = compare(fingerprint(source, "train"), dataclasses.replace(source, images=images), "train")
    assert changes.refused == ["as many images, but some are others or in another place"]


def test_more_images_in_known_classes_are_said_in_one_line_and_allowed():
    saved = fingerprint(array_source(), "train")
    (line,) = refuse_changes(saved, array_source(count=300), "train", owner="the run", allowed=False)
    assert line == "images: 100 more images in the known classes (200 images → 300)"


def test_a_part_of_more_images_may_include_images_that_were_held_out():
    saved = fingerprint(array_source(), "train[:90%]")
    (line,) = refuse_changes(saved, array_source(300), "train[:90%]", owner="the run", allowed=False)
    assert line.endswith("which may include images held out until now")


def test_an_image_that_left_the_training_part_is_refused_as_it_may_be_held_out_now():
    saved = fingerprint(array_source(), "train[:90%]")
    source = array_source(count=300)
    rows = np.delete(np.arange(300), np.argmin(source.keys[:200]))
    now = dataclasses.replace(
        source, num_examples=299, images=source.images[rows], labels=source.labels[rows]
    )
    (change,) = compare(saved, now, "train[:90%]").refused
    assert change.endswith("1 of 64 sampled images are not in it any more, and may be held out")


def test_of_an_older_checkpoint_only_recorded_names_are_compared():
    (line,) = refuse_changes((), array_source(), "train", owner="the run", allowed=False)
    assert line.endswith(
        "the run is of an older version and has no fingerprint of its images: nothing was compared"
    )
    (line,) = refuse_changes(NAMES, array_source(), "train", owner="the run", allowed=False)
    assert line.endswith("only the names of its classes were compared")
    with pytest.raises(DataError, match="other classes: 'fox' → 'zebra'"):
        refuse_changes(("cat", "dog", "fox"), array_source(names=("cat", "dog", "zebra")), "train",
                       owner="the run", allowed=False)  # fmt: skip


def test_a_renamed_class_folder_is_refused(folder):
    """`cat` renamed to `zebra` permuted the labels of a run without a word."""
    saved = fingerprint(opened(folder), "train")
    (folder / "cat").rename(folder / "zebra")
    assert compare(saved, opened(folder), "train").refused[0] == "other classes: 'cat' → 'zebra'"


def test_a_moved_copy_of_a_folder_is_the_same_set_and_a_further_picture_is_harmless(folder, tmp_path):
    saved = fingerprint(opened(folder), "train")
    shutil.copytree(folder, tmp_path / "copies" / "set")
    assert compare(saved, opened(tmp_path / "copies" / "set"), "train") == ([], [])
    shutil.copytree(folder, tmp_path / "other_name")
    (line,) = compare(saved, opened(tmp_path / "other_name"), "train").harmless
    assert line == "the same images under another name: folder:set, train → folder:other_name, train"
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "5.png")
    changes = compare(saved, opened(folder), "train")
    assert changes == ([], ["1 more image in the known classes (12 images → 13)"])
    (folder / "fox" / "0.png").unlink()
    (folder / "fox" / "1.png").unlink()
    assert "fewer images: 12 images → 11" in compare(saved, opened(folder), "train").refused


def test_a_replaced_picture_under_the_same_name_is_another_set(folder):
    saved = fingerprint(opened(folder), "train")
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "1.png")
    Image.new("RGB", (9, 9)).save(folder / "cat" / "0.png")
    assert compare(saved, opened(folder), "train").refused


def test_a_set_too_large_to_be_read_is_known_by_spaced_examples_and_its_name():
    def large(count, first=0, name="tfds:large"):
        records = [(bytes([number % 256, number // 256]), 0) for number in range(first, first + count)]
        return RecordSource(
            name=name,
            description=f"{count} pictures",
            num_examples=count,
            class_names=("all",),
            resolution=8,
            records=records,
            parse=lambda record: record,
        )

    saved = fingerprint(large(1000), "train")
    assert saved.sample == ()
    assert compare(saved, large(1000), "train") == ([], [])
    assert compare(saved, large(1200), "train").harmless == [
        "200 more images in the known classes (1,000 images → 1,200)"
    ]
    for other in (large(1000, first=1), large(1200, name="tfds:other")):
        assert "another set, by its content" in compare(saved, other, "train").refused[0]
    assert compare(saved, large(900), "train").refused == ["fewer images: 1,000 images → 900"]


def test_only_a_class_known_by_name_can_have_moved():
    assert moved_classes(NAMES, ("dog", "cat")) == "'dog' has label 1 there and label 0 here"
    assert moved_classes(NAMES, ("cat", "dog")) == moved_classes(NAMES, ("n01", "n02")) == ""
