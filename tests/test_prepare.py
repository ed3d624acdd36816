"""The command that writes a prepared set: what it writes, interruptions, refusals, and the way back in."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biggan_jax.data import (
    ArraySource,
    DataError,
    arrays,
    batches,
    open_source,
    prepared,
    shard_examples,
    writing,
)
from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.records import RecordSource
from biggan_jax.data.shards import STATE
from biggan_jax.data.verification import verify_prepared
from biggan_jax.data.writing import write_prepared
from biggan_jax.runtime.errors import UserError

RESOLUTION = 16
PICTURES = 40


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory) -> None:
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def small_shards(monkeypatch) -> None:
    """Five shards of eight pictures."""
    monkeypatch.setattr(shard_examples, "SHARD_BYTES", 8 * (RESOLUTION**2 * 3 + shard_examples.RECORD_BYTES))


@pytest.fixture
def pictures(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        path = (
            tmp_path / "pictures" / ("cat", "dög")[number % 2] / f"{number}.{('png', 'jpg')[number % 3 % 2]}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (*rng.integers(20, 40, 2), 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def prepare(pictures: Path, output: Path, resolution: int = RESOLUTION, max_refused: float = 0.01):
    sources = open_splits(f"folder:{pictures}", resolution, max_refused)
    return write_prepared(sources, str(output), max_refused)


def command(pictures: Path, output: Path) -> list[str]:
    arguments = [f"--source=folder:{pictures}", f"--resolution={RESOLUTION}", f"--output={output}"]
    return [sys.executable, "-m", "biggan_jax.prepare", *arguments]


def open_prepared(output: Path, resolution: int = RESOLUTION):
    return open_source(f"prepared:{output}", resolution=resolution)


def content_of(source) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), label) for image, label in zip(*map(list, arrays(source)), strict=True)]


def test_what_comes_back_is_what_the_folder_gives_bit_for_bit(pictures, tmp_path, small_shards):
    summary = prepare(pictures, tmp_path / "out")
    source = open_prepared(tmp_path / "out")
    folder = open_source(f"folder:{pictures}", resolution=RESOLUTION)
    assert content_of(source) == content_of(folder)
    assert source.class_names == folder.class_names == ("cat", "dög")
    assert summary.images == {"train": PICTURES} and summary.classes == 2 and not summary.refused
    shards = list((tmp_path / "out").glob("*.array_record-?????-of-00005"))
    assert len(shards) == 5 and sum(shard.stat().st_size for shard in shards) == summary.bytes


def test_batches_by_random_access_are_those_of_the_folder(pictures, tmp_path, small_shards, monkeypatch):
    prepare(pictures, tmp_path / "out")
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    sources = open_prepared(tmp_path / "out"), open_source(f"folder:{pictures}", resolution=RESOLUTION)
    assert isinstance(sources[0], RecordSource)
    order = {"batch_size": 10, "d_steps": 2, "seed": 3, "random_flip": True}
    for a, b in itertools.islice(zip(*(batches(source, **order) for source in sources), strict=False), 4):
        np.testing.assert_array_equal(a["images"], b["images"])
        np.testing.assert_array_equal(a["labels"], b["labels"])


def test_tfds_itself_reads_the_set_with_its_splits_and_what_it_says_of_itself(pictures, tmp_path):
    import tensorflow_datasets as tfds

    prepare(pictures, tmp_path / "out")
    builder = tfds.builder_from_directory(tmp_path / "out")
    examples = builder.as_data_source("train[:50%]")
    assert len(examples) == PICTURES // 2
    expected = content_of(open_source(f"folder:{pictures}", resolution=RESOLUTION))
    assert [(example["image"].tobytes(), example["label"]) for example in examples] == expected[
        : PICTURES // 2
    ]
    assert builder.info.features["label"].names == ["cat", "dög"]
    assert (
        "as Pillow's BOX filter" in builder.info.metadata["resize"]
        and builder.info.metadata["resolution"] == RESOLUTION
    )


def test_the_checksums_are_those_of_the_shards(pictures, tmp_path, small_shards):
    import hashlib

    prepare(pictures, tmp_path / "out")
    for shard in (tmp_path / "out").glob("*.array_record-?????-of-00005"):
        said = json.loads(Path(f"{shard}.json").read_text())
        assert said["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest() and said["examples"] == 8


def test_a_finished_set_is_left_as_it_is(pictures, tmp_path):
    first = prepare(pictures, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    second = prepare(pictures, tmp_path / "out")
    assert second.was_finished and not first.was_finished and second.images == first.images
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_an_output_that_holds_something_else_is_refused(pictures, tmp_path):
    prepare(pictures, tmp_path / "out")
    with pytest.raises(
        DataError, match=r"holds folder:.* at 16 px \(train 40\), but the command writes .* at 32 px"
    ):
        prepare(pictures, tmp_path / "out", resolution=32)
    next((pictures / "cat").iterdir()).unlink()
    with pytest.raises(DataError, match=r"different: splits, pictures\): give a new folder"):
        prepare(pictures, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(DataError, match="other is not empty: give a new folder"):
        prepare(pictures, tmp_path / "other")


def test_after_an_interruption_only_the_missing_shards_are_written(
    pictures, tmp_path, small_shards, monkeypatch
):
    prepare(pictures, tmp_path / "whole")
    write_shard, count = shard_examples.write_shard, itertools.count()

    def interrupted(file, parts, refused):
        generator = write_shard(file, parts, refused)
        if next(count) == 2:
            next(generator)
            raise KeyboardInterrupt
        return (yield from generator)

    monkeypatch.setattr(shard_examples, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(pictures, tmp_path / "out")
    with pytest.raises(DataError, match="was not finished: run the command that began it again"):
        open_prepared(tmp_path / "out")
    shards = sorted((tmp_path / "out").glob("prepared*of-00005"))
    assert len(shards) == 2
    before = [shard.stat().st_mtime_ns for shard in shards]
    monkeypatch.setattr(shard_examples, "write_shard", write_shard)
    prepare(pictures, tmp_path / "out")
    assert [shard.stat().st_mtime_ns for shard in shards] == before
    assert content_of(open_prepared(tmp_path / "out")) == content_of(open_prepared(tmp_path / "whole"))
    assert not list((tmp_path / "out").glob(".*.part"))


def test_a_shard_that_lost_bytes_is_written_anew(pictures, tmp_path, small_shards):
    prepare(pictures, tmp_path / "out")
    state = tmp_path / "out" / STATE
    plan = json.loads(state.read_text())["plan"]
    state.write_text(json.dumps({"plan": plan, "finished": False}))
    shard = min((tmp_path / "out").glob("prepared*of-00005"))
    shard.write_bytes(shard.read_bytes()[:-10])
    prepare(pictures, tmp_path / "out")
    expected = content_of(open_source(f"folder:{pictures}", resolution=RESOLUTION))
    assert content_of(open_prepared(tmp_path / "out")) == expected


def flip(file: Path, place: float = 0.3) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)


def shards_of(output: Path) -> list[Path]:
    return sorted(output.glob("prepared*of-00005"))


def damage_a_record(output: Path, number: int = 0) -> None:
    """Damages one record of a shard: it has no compression, so its pixels are found in the file."""
    pixels = arrays(open_prepared(output))[0][number].tobytes()
    (shard,) = [shard for shard in shards_of(output) if pixels in shard.read_bytes()]
    content = shard.read_bytes()
    shard.write_bytes(content.replace(pixels, bytes([pixels[0] ^ 1]) + pixels[1:]))


def test_a_resumed_preparation_writes_a_shard_with_a_flipped_bit_anew(
    pictures, tmp_path, small_shards, caplog
):
    prepare(pictures, tmp_path / "out")
    before = {shard: shard.read_bytes() for shard in shards_of(tmp_path / "out")}
    first, last = shards_of(tmp_path / "out")[0], shards_of(tmp_path / "out")[-1]
    flip(first)
    last.unlink()  # so that the set is not finished
    prepare(pictures, tmp_path / "out")
    assert {shard: shard.read_bytes() for shard in shards_of(tmp_path / "out")} == before
    assert f"{first} has changed since it was written (SHA-256); it is written anew" in caplog.text


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("prepared_images-train.array_record-00003-of-00005", flip, "its SHA-256 differs"),
        ("prepared_images-train.array_record-00003-of-00005", Path.unlink, "missing, cut short"),
        ("prepared_images-train.array_record-00003-of-00005.json", flip, "missing, cut short"),
        ("label.labels.txt", flip, "its SHA-256 differs"),
        ("dataset_info.json", Path.unlink, "missing"),
    ],
)
def test_verify_names_a_damaged_file_and_the_same_command_writes_it_anew(
    pictures, tmp_path, small_shards, name, damage, reason
):
    prepare(pictures, tmp_path / "out")
    assert verify_prepared(str(tmp_path / "out")).shards == 5
    file = tmp_path / "out" / name
    damage(file)
    with pytest.raises(DataError, match=rf"run the command that wrote the set again.*\n  .*: {reason}"):
        verify_prepared(str(tmp_path / "out"))
    file.unlink(missing_ok=True)
    prepare(pictures, tmp_path / "out")
    assert verify_prepared(str(tmp_path / "out")).unverified == []


def test_a_set_with_damaged_metadata_is_refused_before_its_labels_are_used(pictures, tmp_path):
    prepare(pictures, tmp_path / "out")
    labels = tmp_path / "out" / "label.labels.txt"
    labels.write_text(labels.read_text().replace("cat", "bat"))
    with pytest.raises(DataError, match="the metadata of prepared:.* is damaged .label.labels.txt in"):
        open_prepared(tmp_path / "out")


@pytest.mark.parametrize("content", ["", "[]", '{"finished": true}', "[" * 5000])
def test_a_set_whose_plan_is_damaged_is_refused(pictures, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / STATE).write_text(content)
    for use in (open_prepared, lambda output: prepare(pictures, output), verify_prepared):
        with pytest.raises(DataError, match="preparation.json is damaged .*prepare the set again"):
            use(tmp_path / "out")


def test_a_set_of_an_older_version_is_read_and_said_to_be_partly_unverified(pictures, tmp_path, caplog):
    prepare(pictures, tmp_path / "out")
    state = json.loads((tmp_path / "out" / STATE).read_text())
    old = {name: state[name] for name in ("plan", "finished", "summary")}
    (tmp_path / "out" / STATE).write_text(json.dumps(old))
    assert len(content_of(open_prepared(tmp_path / "out"))) == PICTURES
    assert "its metadata could not be verified" in caplog.text
    assert verify_prepared(str(tmp_path / "out")).unverified == ["dataset_info.json and other metadata"]


def test_a_damaged_record_in_a_running_pipeline_is_replaced_with_a_warning(
    pictures, tmp_path, small_shards, monkeypatch, caplog
):
    prepare(pictures, tmp_path / "out")
    expected = content_of(open_prepared(tmp_path / "out"))
    damage_a_record(tmp_path / "out")
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    order = {"batch_size": 20, "d_steps": 1, "seed": 3, "random_flip": False}
    found = set()
    for batch in itertools.islice(batches(open_prepared(tmp_path / "out"), **order), 2):
        found |= {image.tobytes() for image in batch["images"][0]}
    assert found == {image for image, _ in expected[1:]}
    assert "its record is damaged" in caplog.text and "the next picture replaces it" in caplog.text


def test_a_set_with_many_damaged_records_ends_the_run_with_the_list(pictures, tmp_path, small_shards):
    prepare(pictures, tmp_path / "out")
    flip(shards_of(tmp_path / "out")[2], place=0.0)
    shard = shards_of(tmp_path / "out")[1]
    shard.write_bytes(shard.read_bytes()[:70_000])
    with pytest.raises(DataError, match=r"of 40 pictures are unusable, which is more than 1.00%.*\n  "):
        open_prepared(tmp_path / "out")


def test_pictures_that_go_bad_are_left_out_and_listed_with_those_that_were_bad(
    pictures, tmp_path, small_shards
):
    (pictures / "cat" / "bad.jpg").touch()
    sources = open_splits(f"folder:{pictures}", RESOLUTION, 0.1)
    (pictures / sources["train"].records[9][0]).unlink()
    summary = write_prepared(sources, str(tmp_path / "out"), 0.1)
    assert summary.images == {"train": PICTURES - 1} and len(summary.refused) == 2
    listed = (tmp_path / "out" / "refused.txt").read_text()
    assert "cat/bad.jpg\tempty\n" in listed and "No such file" in listed
    expected = content_of(open_source(f"folder:{pictures}", resolution=RESOLUTION, max_refused=0.1))
    assert content_of(open_prepared(tmp_path / "out")) == expected


def test_too_many_bad_pictures_stop_it_with_the_list(pictures, tmp_path):
    sources = open_splits(f"folder:{pictures}", RESOLUTION, 0.1)
    for path, _ in sources["train"].records[:10]:
        (pictures / path).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"of 40 pictures are unusable so far, more than 10.00%.*\n  "):
        write_prepared(sources, str(tmp_path / "out"), 0.1)


def test_too_little_room_is_said_before_anything_is_written(pictures, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(
        DataError, match="has 0.00 GB free, but the set needs another 0.00 GB: free some space"
    ):
        prepare(pictures, tmp_path / "out")


def test_a_disk_that_fills_up_is_said_and_the_rest_is_written_later(pictures, tmp_path):
    """A limit on the size of files fails as a full disk does."""
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    limit += "import runpy; runpy.run_module('biggan_jax.prepare', run_name='__main__')"
    arguments = command(pictures, tmp_path / "out")[3:]
    full = subprocess.run([sys.executable, "-c", limit, *arguments], capture_output=True, text=True)
    assert full.returncode == 2 and "cannot write" in full.stderr and "free some space" in full.stderr
    assert "Traceback" not in full.stderr
    assert prepare(pictures, tmp_path / "out").images == {"train": PICTURES}


def test_a_process_that_was_killed_is_taken_over(pictures, tmp_path):
    """Wherever it is hit: what is there is whole, or is written again."""
    process = subprocess.Popen(command(pictures, tmp_path / "out"), stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert prepare(pictures, tmp_path / "out").images == {"train": PICTURES}
    assert len(content_of(open_prepared(tmp_path / "out"))) == PICTURES


def test_a_process_that_was_killed_at_its_first_write_is_taken_over(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    for name in (".lock", ".preparation.json.part"):
        (tmp_path / "out" / name).touch()
    assert prepare(pictures, tmp_path / "out").images == {"train": PICTURES}


def test_the_command_says_what_it_wrote_and_how_to_train_with_it(pictures, tmp_path):
    (pictures / "cat" / "bad.jpg").touch()
    done = subprocess.run(command(pictures, tmp_path / "out"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == [
        f"finished: {tmp_path / 'out'}",
        "images   train 40",
        "classes  2",
        f"bytes    {sum(path.stat().st_size for path in (tmp_path / 'out').glob('*-of-00001')):,}",
    ]
    assert "refused  1\n  cat/bad.jpg: empty" in done.stdout
    assert f"prepared:{tmp_path / 'out'} --config.model.num_classes=2" in done.stdout


@pytest.mark.parametrize("name", ["fashion_mnist_10k", "prepared:x", "folder:", "cifar10"])
def test_sources_that_need_no_preparation_are_refused(name):
    with pytest.raises(DataError, match="give tfds:NAME or folder:PATH"):
        open_splits(name, RESOLUTION, 0.01)


def test_a_prepared_set_of_another_resolution_is_refused_with_the_remedy(pictures, tmp_path):
    prepare(pictures, tmp_path / "out")
    assert isinstance(open_prepared(tmp_path / "out"), ArraySource)
    with pytest.raises(DataError, match="pictures of 16 px, not 32: set model.resolution=16, or prepare"):
        open_prepared(tmp_path / "out", resolution=32)


def test_what_is_no_prepared_set_is_refused_with_the_remedy():
    with pytest.raises(DataError, match="write it with 'python -m biggan_jax.prepare"):
        open_source("prepared:/nowhere", resolution=16)


def test_two_processes_do_not_write_the_same_set(pictures, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is at work there"):
            prepare(pictures, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [".lock"]
