"""metrics.jsonl and TensorBoard events: what a resumed, killed or diverged run leaves in them."""

import io
import json
import math
import os
import time

import pytest
from etils import epath
from etils.epath import gpath, testing
from tensorboardX.proto.event_pb2 import Event

from biggan_jax.runtime.errors import UserError
from biggan_jax.training.monitoring.metrics import FILE_NAME, UPLOAD_SECONDS, Metrics, Stopwatch, mean


def write(workdir, step, rows):
    metrics = Metrics(workdir, step)
    for row_step, value in rows:
        metrics.write(row_step, {"d_loss": value, "g_loss": -value, "steps_per_second": 2.0})
    metrics.close()


def read(workdir):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = (workdir / FILE_NAME).read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def events(workdir):
    """The events of all files, in the order in which TensorBoard reads them."""
    return [
        event for path in sorted((workdir / "tensorboard").iterdir()) for event in parse(path.read_bytes())
    ]


def parse(data):
    while data:
        length = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


class Bucket(dict):
    """Objects by name. Like a bucket's they are replaced whole, when closed, and never appended to."""

    def __init__(self):
        self.uploads = []

    def open(self, local, path, mode):
        if not path.startswith("gs://"):
            return local(path, mode)
        if "w" not in mode:
            assert "r" in mode, f"{path} is opened to append"
            return io.BytesIO(self[path])
        upload = io.BytesIO()
        close = upload.close

        def finish():
            if not upload.closed:
                self[path] = upload.getvalue()
                self.uploads.append(path.rpartition("/")[2])
            close()

        upload.close = finish
        return upload

    def exists(self, local, path):
        return path in self if path.startswith("gs://") else local(path)

    def rename(self, local, path, target):
        raise AssertionError(f"{path} is renamed")

    def rows(self, folder):
        return [json.loads(line)["step"] for line in self[f"{folder}/{FILE_NAME}"].splitlines()]

    def events(self, folder):
        files = sorted(name for name in self if name.startswith(f"{folder}/tensorboard/"))
        return [event for name in files for event in parse(self[name])]


@pytest.fixture
def bucket(monkeypatch):
    """A bucket behind every `gs://` path."""
    monkeypatch.setattr(
        gpath, "_is_tf_installed", lambda: False
    )  # it would get the paths before the mock does
    objects = Bucket()
    functions = {"open": objects.open, "exists": objects.exists, "rename": objects.rename}
    with testing.mock_epath(**functions, replace=objects.rename):
        yield objects


def test_rows_and_events_hold_what_was_written(tmp_path):
    write(tmp_path, 0, [(10, 1.5), (20, 0.25)])
    assert read(tmp_path) == [
        {"step": 10, "d_loss": 1.5, "g_loss": -1.5, "steps_per_second": 2.0},
        {"step": 20, "d_loss": 0.25, "g_loss": -0.25, "steps_per_second": 2.0},
    ]
    scalars = [(e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert (10, "d_loss", 1.5) in scalars and (20, "g_loss", -0.25) in scalars and len(scalars) == 6


def test_a_resumed_run_drops_the_rows_after_its_step_and_leaves_the_file_of_an_unstopped_one(tmp_path):
    unstopped, resumed = tmp_path / "unstopped", tmp_path / "resumed"
    unstopped.mkdir()
    resumed.mkdir()
    write(unstopped, 0, [(10, 1.0), (20, 2.0), (30, 3.0)])
    write(resumed, 0, [(10, 1.0), (20, 9.0), (30, 9.0), (40, 9.0)])
    write(resumed, 15, [(20, 2.0), (30, 3.0)])
    assert (unstopped / FILE_NAME).read_bytes() == (resumed / FILE_NAME).read_bytes()
    assert sorted(os.listdir(resumed)) == [FILE_NAME, "tensorboard"]


def test_tensorboard_is_told_to_forget_the_events_after_the_resumed_step(tmp_path):
    write(tmp_path, 0, [(10, 1.0), (20, 9.0)])
    write(tmp_path, 10, [(20, 2.0)])
    starts = [event.step for event in events(tmp_path) if event.session_log.status == event.session_log.START]
    assert starts == [11]


@pytest.mark.parametrize(
    "tail", [b'{"step": 20, "d_lo', b"\0" * 40, b"[1]\n", b'{"step": 15}', b"\xff\xfe\n"]
)
def test_the_last_words_of_a_killed_process_are_dropped(tmp_path, tail):
    write(tmp_path, 0, [(10, 1.0)])
    good = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(good + tail)
    write(tmp_path, 15, [])
    assert (tmp_path / FILE_NAME).read_bytes() == good
    write(tmp_path, 15, [(20, 2.0)])
    assert [row["step"] for row in read(tmp_path)] == [10, 20]


def test_a_started_over_run_starts_with_an_empty_file(tmp_path):
    write(tmp_path, 0, [(10, 1.0)])
    write(tmp_path, 0, [(10, 7.0)])
    assert [row["d_loss"] for row in read(tmp_path)] == [7.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_null_in_the_file_and_themselves_in_the_events(tmp_path, value):
    metrics = Metrics(tmp_path, 0)
    metrics.write(1, {"d_loss": value, "g_loss": 1.0, "steps_per_second": None})
    metrics.close()
    assert read(tmp_path) == [{"step": 1, "d_loss": None, "g_loss": 1.0, "steps_per_second": None}]
    scalars = {v.tag: v.simple_value for e in events(tmp_path) for v in e.summary.value}
    assert scalars.keys() == {"d_loss", "g_loss"}
    assert scalars["d_loss"] == value or math.isnan(scalars["d_loss"]) and math.isnan(value)


def test_a_row_survives_a_kill_right_after_it(tmp_path):
    metrics = Metrics(tmp_path, 0)
    metrics.write(1, {"d_loss": 1.0})
    assert read(tmp_path) == [{"step": 1, "d_loss": 1.0}]  # not closed, not flushed by us
    metrics.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_reported_with_file_and_remedy(tmp_path):
    metrics = Metrics(tmp_path, 0)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), metrics._file.fileno())
    with pytest.raises(UserError, match=rf"{FILE_NAME}: No space left on device; free some space"):
        metrics.write(1, {"d_loss": 1.0})


def test_a_workdir_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot write .*run.*choose another --workdir"):
        Metrics(tmp_path / "run", 0)


def test_in_a_bucket_nothing_up_to_a_flush_is_lost_by_a_kill(bucket):
    metrics = Metrics(epath.Path("gs://bucket/run"), 0)
    metrics.write(1, {"d_loss": 1.0})
    metrics.write(2, {"d_loss": 2.0})
    metrics.flush()
    metrics.write(3, {"d_loss": 3.0})  # lost, and done again after the checkpoint
    assert bucket.rows("gs://bucket/run") == [1, 2]
    steps = [event.step for event in bucket.events("gs://bucket/run") if event.HasField("summary")]
    assert steps == [1, 2]


def test_in_a_bucket_a_resumed_run_leaves_the_file_of_an_unstopped_one(bucket):
    unstopped, resumed = epath.Path("gs://bucket/unstopped"), epath.Path("gs://bucket/resumed")
    write(unstopped, 0, [(10, 1.0), (20, 2.0), (30, 3.0)])
    write(resumed, 0, [(10, 1.0), (20, 9.0), (30, 9.0), (40, 9.0)])
    Metrics(resumed, 15)  # killed at once, and started again
    assert bucket.rows("gs://bucket/resumed") == [10]
    write(resumed, 15, [(20, 2.0), (30, 3.0)])
    assert bucket[f"{unstopped}/{FILE_NAME}"] == bucket[f"{resumed}/{FILE_NAME}"]
    starts = [e.step for e in bucket.events("gs://bucket/resumed") if e.session_log.status]
    assert starts == [16]
    scalars = [
        (e.step, v.simple_value) for e in bucket.events("gs://bucket/resumed") for v in e.summary.value
    ]
    assert scalars.index((20, 9.0)) < scalars.index((20, 2.0)) and (30, 3.0) in scalars


def test_in_a_bucket_the_file_is_not_written_anew_with_every_row(bucket, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    metrics = Metrics(epath.Path("gs://bucket/run"), 0)
    for step in range(100):
        metrics.write(step, {"d_loss": 1.0})
        now += UPLOAD_SECONDS / 20
    assert bucket.uploads.count(FILE_NAME) == 4  # with the rows 20, 40, 60 and 80
    assert bucket.rows("gs://bucket/run") == list(range(81))
    metrics.flush()
    assert bucket.rows("gs://bucket/run") == list(range(100))
    uploads = list(bucket.uploads)
    metrics.flush()
    metrics.close()
    assert bucket.uploads == uploads, "uploaded again with nothing new"


def test_the_temporary_files_of_a_run_in_a_bucket_are_removed(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
    metrics = Metrics(epath.Path("gs://bucket/run"), 0)
    assert len(os.listdir(tmp_path)) == 1
    metrics.close()
    assert os.listdir(tmp_path) == []


def test_mean_is_over_the_steps_for_each_number():
    assert mean([{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 2.0}, {"a": 6.0, "b": -1.0}]) == {"a": 3.0, "b": 1.0}
    assert math.isnan(mean([{"a": 1.0}, {"a": math.nan}])["a"])


def test_the_stopwatch_leaves_out_the_first_step_and_pauses(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    watch = Stopwatch()
    assert watch.lap() is None
    now = 100.0  # compiling
    watch.step()
    assert watch.lap() is None
    for _ in range(3):
        now += 0.5
        watch.step()
    with watch.paused():
        now += 50.0
    now += 0.5
    watch.step()
    assert watch.lap() == pytest.approx(2.0)
    assert watch.lap() is None
