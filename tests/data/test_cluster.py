"""A prepared set written shard by shard by others: by workers that know only a job, and by Apache Beam."""

import functools
import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biggan_jax.data import DataError, cluster, open_source, shard_examples
from biggan_jax.data.catalogue import open_splits
from biggan_jax.data.cluster import Job, write_prepared_by_beam, write_shard_of
from biggan_jax.data.shard_examples import shards_of
from biggan_jax.data.writing import fingerprint, write_prepared
from biggan_jax.runtime.errors import UserError

RESOLUTION = 16
PICTURES = 40
with_beam = pytest.mark.skipif(
    not importlib.util.find_spec("apache_beam"), reason="takes an environment with apache-beam"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path_factory) -> None:
    """Five shards of eight pictures; nothing remembered."""
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(shard_examples, "SHARD_BYTES", 8 * (RESOLUTION**2 * 3 + shard_examples.RECORD_BYTES))
    cluster._sources.cache_clear()


@pytest.fixture
def pictures(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        path = tmp_path / "pictures" / ("cat", "dög")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def job_of(pictures: Path, output: Path, max_refused: float = 0.01) -> Job:
    name = f"folder:{pictures}"
    return Job(
        name, RESOLUTION, max_refused, fingerprint(open_splits(name, RESOLUTION, max_refused)), str(output)
    )


def work_through(job: Job, place, sources) -> None:
    """What Beam does, in another order."""
    worker = pickle.loads(pickle.dumps(functools.partial(write_shard_of, job)))
    for split, source in sources.items():
        for number in reversed(range(len(shards_of(place, split, source)))):
            worker((split, number))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_workers_write_the_files_that_one_process_writes(pictures, tmp_path):
    sources = open_splits(f"folder:{pictures}", RESOLUTION, 0.01)
    expected = write_prepared(sources, str(tmp_path / "here"), 0.01)
    job = job_of(pictures, tmp_path / "there")
    summary = write_prepared(sources, str(tmp_path / "there"), 0.01, lambda *where: work_through(job, *where))
    assert summary == expected and summary.images == {"train": PICTURES}
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(list((tmp_path / "there").glob("*-of-00005"))) == 5


def test_a_worker_that_sees_other_pictures_writes_nothing(pictures, tmp_path):
    job = job_of(pictures, tmp_path / "out")
    next((pictures / "cat").iterdir()).unlink()
    with pytest.raises(
        DataError, match="has other pictures on a worker: put them where all workers can read them"
    ):
        write_shard_of(job, ("train", 0))
    assert not (tmp_path / "out").exists()


def test_shards_that_no_worker_wrote_are_missed(pictures, tmp_path):
    sources = open_splits(f"folder:{pictures}", RESOLUTION, 0.01)
    with pytest.raises(DataError, match="lacks shards of train: the same command writes them"):
        write_prepared(sources, str(tmp_path / "out"), 0.01, lambda place, sources: None)


def test_bad_pictures_of_all_workers_are_counted_together(pictures, tmp_path):
    """Two of forty, in different shards, are more than one hundredth, though no worker saw two."""
    sources = open_splits(f"folder:{pictures}", RESOLUTION, 0.01)
    job = job_of(pictures, tmp_path / "out")

    def write_with_bad_pictures(place, sources):
        for number in (3, 20):
            (pictures / sources["train"].records[number][0]).write_bytes(b"no picture")
        work_through(job, place, sources)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cluster, "fingerprint", lambda sources: job.fingerprint)
        monkeypatch.setattr(cluster, "_sources", lambda *_: sources)
        with pytest.raises(DataError, match="2 of 40 pictures are unusable so far, more than 1.00%"):
            write_prepared(sources, str(tmp_path / "out"), 0.01, write_with_bad_pictures)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="apache-beam is installed")
def test_without_apache_beam_the_person_is_told_what_to_install(pictures, tmp_path):
    with pytest.raises(UserError, match="needs Apache Beam, .* pip install apache-beam"):
        write_prepared_by_beam(f"folder:{pictures}", RESOLUTION, str(tmp_path / "out"), 0.01, "")


@with_beam
def test_beam_writes_the_files_that_one_process_writes(pictures, tmp_path):
    write_prepared(open_splits(f"folder:{pictures}", RESOLUTION, 0.01), str(tmp_path / "here"), 0.01)
    summary = write_prepared_by_beam(
        f"folder:{pictures}", RESOLUTION, str(tmp_path / "there"), 0.01, "runner=DirectRunner"
    )
    assert summary.images == {"train": PICTURES}
    assert files(tmp_path / "there") == files(tmp_path / "here")


@with_beam
def test_after_a_failure_beam_writes_only_what_is_missing(pictures, tmp_path, monkeypatch):
    write_examples, written = cluster.write_examples, []

    def fail_once(source, shard, *arguments):
        written.append(shard.start)
        if written.count(16) == 1 and shard.start == 16:
            raise DataError("the disk is full")
        return write_examples(source, shard, *arguments)

    monkeypatch.setattr(cluster, "write_examples", fail_once)
    arguments = f"folder:{pictures}", RESOLUTION, str(tmp_path / "out"), 0.01, "runner=DirectRunner"
    with pytest.raises(DataError, match="(?s)Beam could not write .*the disk is full.*writes the rest"):
        write_prepared_by_beam(*arguments)
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*-of-00005")}
    write_prepared_by_beam(*arguments)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    source = open_source(f"prepared:{tmp_path / 'out'}", resolution=RESOLUTION)
    assert source.num_examples == PICTURES


@with_beam
def test_the_command_writes_by_worker_processes_of_beam(pictures, tmp_path):
    command = [sys.executable, "-m", "biggan_jax.prepare", f"--source=folder:{pictures}", "--resolution=16"]
    options = "runner=DirectRunner,direct_running_mode=multi_processing,direct_num_workers=2"
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'out'}", f"--beam_pipeline_options={options}"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "images   train 40" in done.stdout
    source = open_source(f"prepared:{tmp_path / 'out'}", resolution=RESOLUTION)
    folder = open_source(f"folder:{pictures}", resolution=RESOLUTION).in_memory()
    np.testing.assert_array_equal(source.images, folder.images)
