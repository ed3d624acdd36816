"""Prepared sets in a bucket, an emulated one: written, copied, cut off on either way, damaged."""

import itertools
from pathlib import Path

import fsspec
import numpy as np
import pytest
from emulated_bucket import emulated_bucket
from PIL import Image

from biggan_jax.data import DataError, bucket, open_source, shard_examples
from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.writing import write_prepared
from biggan_jax.runtime.errors import UserError

pytestmark = pytest.mark.peers

RESOLUTION = 16
PICTURES = 40
SHARDS = [f"prepared_images-train.array_record-{number:05}-of-00005" for number in range(5)]


@pytest.fixture(scope="module")
def emulator():
    pytest.importorskip("gcsfs")
    with emulated_bucket():
        yield fsspec.filesystem("gcs")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    """Five shards of eight pictures."""
    monkeypatch.setattr(shard_examples, "SHARD_BYTES", 8 * (RESOLUTION**2 * 3 + shard_examples.RECORD_BYTES))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        path = folder / ("cat", "dög")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def place(emulator, request) -> str:
    """A new folder in the bucket."""
    return f"gs://bucket/{request.node.name}/set"


def prepare(pictures: Path, place: str):
    return write_prepared(open_splits(f"folder:{pictures}", RESOLUTION, 0.01), place, 0.01)


def open_prepared(place: str):
    return open_source(f"prepared:{place}", resolution=RESOLUTION)


def assert_same(source, pictures: Path) -> None:
    folder = open_source(f"folder:{pictures}", resolution=RESOLUTION).in_memory()
    np.testing.assert_array_equal(source.images, folder.images)
    np.testing.assert_array_equal(source.labels, folder.labels)
    assert source.class_names == folder.class_names


def names(emulator, place: str) -> set[str]:
    return {path.rpartition("/")[2] for path in emulator.ls(place)}


def test_what_comes_back_is_what_the_folder_gives_bit_for_bit(pictures, place, emulator):
    summary = prepare(pictures, place)
    assert summary.images == {"train": PICTURES}
    assert names(emulator, place) == {
        *SHARDS,
        *(f"{shard}.json" for shard in SHARDS),
        *("preparation.json", "dataset_info.json", "features.json", "label.labels.txt", "metadata.json"),
    }
    assert summary.bytes == sum(emulator.size(f"{place}/{shard}") for shard in SHARDS)
    assert_same(open_prepared(place), pictures)
    assert prepare(pictures, place).was_finished


def test_tfds_reads_what_is_in_the_bucket_once_it_is_copied_elsewhere(pictures, place, emulator, tmp_path):
    import tensorflow_datasets as tfds

    prepare(pictures, place)
    emulator.get(f"{place}/", f"{tmp_path}/elsewhere/", recursive=True)
    builder = tfds.builder_from_directory(tmp_path / "elsewhere")
    assert len(builder.as_data_source("train")) == PICTURES


def test_after_an_interruption_only_the_missing_shards_are_written(pictures, place, emulator, monkeypatch):
    write_shard, count = shard_examples.write_shard, itertools.count()

    def interrupted(file, parts, refused):
        generator = write_shard(file, parts, refused)
        if next(count) == 2:
            next(generator)
            raise KeyboardInterrupt
        return (yield from generator)

    monkeypatch.setattr(shard_examples, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(pictures, place)
    assert names(emulator, place) & set(SHARDS) == set(SHARDS[:2])
    with pytest.raises(DataError, match="was not finished: run the command that began it again"):
        open_prepared(place)
    prepare(pictures, place)
    assert next(count) == 6  # three and, at the second call, three
    assert_same(open_prepared(place), pictures)


def test_a_set_is_copied_once(pictures, place, emulator):
    prepare(pictures, place)
    open_prepared(place)
    for shard in SHARDS:
        emulator.rm(f"{place}/{shard}")
    assert_same(open_prepared(place), pictures)


def test_a_copy_that_was_cut_off_goes_on(pictures, place, monkeypatch, cache):
    prepare(pictures, place)
    copy_shard, asked = bucket._copy_shard, []

    def cut_off(shard, *args):
        asked.append(shard.name)
        if shard.name == SHARDS[3] and asked.count(SHARDS[3]) == 1:
            raise ConnectionResetError("the line went dead")
        copy_shard(shard, *args)

    monkeypatch.setattr(bucket, "_copy_shard", cut_off)
    monkeypatch.setattr(bucket, "PARALLEL_SHARDS", 1)
    with pytest.raises(UserError, match=f"cannot read {place}.*the line went dead"):
        open_prepared(place)
    assert_same(open_prepared(place), pictures)
    assert [asked.count(shard) for shard in SHARDS[:4]] == [1, 1, 1, 2]
    assert not list(cache.rglob(".*.part"))


def test_a_set_that_is_written_anew_is_copied_anew(pictures, place, emulator, tmp_path):
    prepare(pictures, place)
    open_prepared(place)
    emulator.rm(place, recursive=True)
    (tmp_path / "one" / "cat").mkdir(parents=True)
    for number in range(9):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / "one" / "cat" / f"{number}.png")
    prepare(tmp_path / "one", place)
    assert_same(open_prepared(place), tmp_path / "one")


def test_a_shard_of_other_bytes_is_never_taken_for_the_set(pictures, place, emulator, cache):
    prepare(pictures, place)
    content = bytearray(emulator.cat_file(f"{place}/{SHARDS[1]}"))
    content[len(content) // 2] ^= 1
    emulator.pipe_file(f"{place}/{SHARDS[1]}", bytes(content))
    for _ in range(2):
        with pytest.raises(DataError, match=rf"{SHARDS[1]} has changed since it was written \(SHA-256\)"):
            open_prepared(place)
    assert not list(cache.rglob(f"*{SHARDS[1]}"))


def test_a_set_that_lost_a_shard_is_refused(pictures, place, emulator):
    prepare(pictures, place)
    emulator.rm(f"{place}/{SHARDS[4]}")
    with pytest.raises(DataError, match="has lost shards: delete it, and prepare it again"):
        open_prepared(place)


def test_too_little_room_for_the_copy_is_said_before_it_begins(pictures, place, monkeypatch):
    prepare(pictures, place)
    monkeypatch.setattr(bucket.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="has 0.00 GB free: free some space, or set BIGGAN_CACHE"):
        open_prepared(place)


def test_a_bucket_that_is_not_there_is_said_with_the_remedy(pictures, emulator):
    with pytest.raises(UserError, match="cannot write .*there is no bucket gs://nobody"):
        prepare(pictures, "gs://nobody/set")
    with pytest.raises(DataError, match="prepared:gs://nobody/set is no prepared set"):
        open_prepared("gs://nobody/set")


@pytest.mark.parametrize("place", ["s3://bucket/set", "gs://"])
def test_what_is_no_place_in_a_bucket_is_refused(pictures, place):
    with pytest.raises(UserError, match="give .*gs://BUCKET/DIRECTORY"):
        prepare(pictures, place)
    with pytest.raises(UserError, match="give .*gs://BUCKET/DIRECTORY"):
        open_prepared(place)
