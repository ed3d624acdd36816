"""A run in a bucket: gcsfs, tensorstore and google-cloud-storage, all of them speaking to an emulator."""

import io
import json
import os
import signal
import time
from http import HTTPStatus

import jax
import numpy as np
import pytest
import tensorstore
import tiny_training
from emulated_bucket import BUCKET, emulated_bucket
from etils import epath
from PIL import Image
from rich.console import Console
from tiny_workdirs import make_run_config, random_state

import biggan_jax
from biggan_jax.config import config_to_json, default_config
from biggan_jax.data import ArraySource
from biggan_jax.evaluation.report.html_report import render_html
from biggan_jax.evaluation.report.schema import Report
from biggan_jax.exports.export_files import write_export
from biggan_jax.runtime import leases
from biggan_jax.runtime.errors import EXIT_RESUMABLE, UserError
from biggan_jax.runtime.files import WORKDIR, resolve_directory, write_file
from biggan_jax.runtime.holder import Holder
from biggan_jax.runtime.ownership import owning
from biggan_jax.sampling.exported_generator import ExportedGenerator, TrainedNetwork
from biggan_jax.training.monitoring.metrics import FILE_NAME, Metrics
from biggan_jax.training.monitoring.progress import Progress
from biggan_jax.training.run import loop
from biggan_jax.training.run.checkpoints import Checkpoints
from biggan_jax.training.run.exporting import export_run
from biggan_jax.training.run.initialization import first_state
from biggan_jax.training.step.state import create_state

pytestmark = pytest.mark.peers

STATE = {"step": np.int32(0), "params": {"a/b": np.arange(500, dtype=np.float32), "bias": np.zeros(3)}}


@pytest.fixture(scope="module")
def started():
    with emulated_bucket() as emulator:
        yield emulator


@pytest.fixture
def emulator(started):
    yield started
    started.answer = lambda method, path: None


def make_config(**fields):
    config = default_config()
    config.update_from_flattened_dict(fields)
    return config


def state_of(step):
    return jax.tree.map(lambda x: x + np.asarray(step, x.dtype), STATE)


def save(directory, *steps, **fields):
    checkpoints = Checkpoints(directory, make_config(**fields))
    for step in steps:
        checkpoints.save(step, state_of(step), {"unlogged": [{"d_loss": 0.1}]})
    checkpoints.wait()
    checkpoints.close()


def restore(directory):
    checkpoints = Checkpoints(directory, make_config())
    try:
        return checkpoints.restore_latest(STATE)
    finally:
        checkpoints.close()


def assert_same(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_is_written_whole_over_the_old_one(emulator):
    path = resolve_directory(f"gs://{BUCKET}/whole") / "samples" / "real.png"
    assert not path.exists()
    write_file(path, b"old")
    write_file(path, bytes(range(256)) * 40_000)  # 10 MB: uploaded in parts
    assert path.exists() and path.read_bytes() == bytes(range(256)) * 40_000
    assert emulator.names("whole") == ["samples/real.png"]


def test_what_another_writes_into_a_listed_directory_is_seen(emulator):
    directory = resolve_directory(f"gs://{BUCKET}/seen")
    arrays = tensorstore.KvStore.open({"driver": "gcs", "bucket": BUCKET, "path": "seen/"}).result()
    for step in ("00000001", "00000002"):
        arrays.write(f"{step}/manifest", b"x").result()
        assert step in {path.name for path in directory.iterdir()}
        assert (directory / step / "manifest").exists()


def test_a_missing_bucket_is_reported_with_the_command_that_makes_it(emulator):
    message = "there is no bucket gs://nobody; create it"
    with pytest.raises(UserError, match=f"cannot write gs://nobody/run/config.json: {message}"):
        write_file(resolve_directory("gs://nobody/run") / "config.json", b"{}")
    with pytest.raises(UserError, match=message):
        Checkpoints(resolve_directory("gs://nobody/run") / "checkpoints", make_config())


def test_a_bucket_that_may_not_be_written_is_reported_with_the_roles_it_takes(emulator):
    emulator.answer = lambda method, path: HTTPStatus.FORBIDDEN if method == "POST" else None
    workdir = resolve_directory(f"gs://{BUCKET}/forbidden")
    with pytest.raises(UserError, match=f"Storage Object User .* on gs://{BUCKET}"):
        write_file(workdir / "config.json", b"{}")
    with pytest.raises(UserError, match=f"cannot write a checkpoint to {workdir}"):
        save(workdir, 1)


def test_metrics_of_a_resumed_run_are_those_of_one_that_never_stopped(emulator):
    workdir = resolve_directory(f"gs://{BUCKET}/metrics")
    metrics = Metrics(workdir, 0)
    for step in (10, 20):
        metrics.write(step, {"d_loss": float(step)})
    metrics.flush()
    metrics.write(30, {"d_loss": 9.0})  # and killed
    metrics = Metrics(workdir, 10)
    for step in (20, 30):
        metrics.write(step, {"d_loss": float(step)})
    metrics.close()
    rows = [json.loads(line) for line in (workdir / FILE_NAME).read_text().splitlines()]
    assert rows == [{"step": step, "d_loss": float(step)} for step in (10, 20, 30)]
    events = [
        name for name in emulator.names("metrics") if name.startswith("tensorboard/events.out.tfevents.")
    ]
    assert len(events) == 2 == len(emulator.names("metrics")) - 1


def test_checkpoints_come_back_bit_for_bit_and_the_oldest_go(emulator):
    directory = resolve_directory(f"gs://{BUCKET}/keep") / "checkpoints"
    assert restore(directory) is None
    save(directory, 1, 2, 3, **{"checkpoints.keep": 2})
    assert {name.split("/")[1] for name in emulator.names("keep")} == {"00000002", "00000003"}
    restored = restore(directory)
    assert (restored.step, restored.loop) == (3, {"unlogged": [{"d_loss": 0.1}]})
    assert_same(restored.state, state_of(3))


def test_a_checkpoint_cut_short_is_set_aside_for_the_one_before_it(emulator):
    directory = resolve_directory(f"gs://{BUCKET}/cut") / "checkpoints"
    save(directory, 1, 2)
    paths = [directory / "00000002" / name for name in emulator.names("cut/checkpoints/00000002")]
    largest = max(paths, key=lambda path: len(path.read_bytes()))
    largest.write_bytes(largest.read_bytes()[:-1])
    restored = restore(directory)
    assert restored.step == 1
    assert_same(restored.state, state_of(1))
    assert "unreadable-00000002" in {name.split("/")[0] for name in emulator.names("cut/checkpoints")}
    save(directory, 2)
    assert_same(restore(directory).state, state_of(2))


def test_a_checkpoint_whose_writer_was_killed_is_no_checkpoint(emulator):
    directory = resolve_directory(f"gs://{BUCKET}/killed") / "checkpoints"
    save(directory, 1, 2)
    (directory / "00000002" / "commit_success.txt").unlink()  # orbax writes it last
    assert Checkpoints(directory, make_config(), read_only=True).steps == [1]
    assert restore(directory).step == 1
    # What is left of it is gone by now: deleted later, it would take the new one's objects along.
    assert {name.split("/")[0] for name in emulator.names("killed/checkpoints")} == {"00000001"}
    save(directory, 2)
    assert_same(restore(directory).state, state_of(2))


def test_a_checkpoint_out_of_reach_is_not_taken_for_a_damaged_one(emulator):
    directory = resolve_directory(f"gs://{BUCKET}/reach") / "checkpoints"
    save(directory, 1, 2)
    before = emulator.names("reach")
    emulator.answer = lambda method, path: HTTPStatus.UNAUTHORIZED if "00000002/config" in path else None
    with pytest.raises(UserError, match=r"cannot read the checkpoint .*00000002: .*401"):
        restore(directory)
    assert emulator.names("reach") == before


def test_a_run_begins_with_networks_that_are_in_a_bucket(emulator, tmp_path):
    config = tiny_training.make_config(**{"model.dtype": "float32", "data.source": "noise"})
    before = jax.device_get(create_state(config))
    workdir = resolve_directory(f"gs://{BUCKET}/trained")
    write_file(workdir / "config.json", json.dumps(config_to_json(config)).encode())
    checkpoints = Checkpoints(workdir / "checkpoints", config)
    checkpoints.save(1, before, {})
    checkpoints.wait()
    checkpoints.close()
    networks = [TrainedNetwork(one.params, one.u) for one in (before.generator, before.discriminator)]
    exported = ExportedGenerator(
        model=config.model,
        params=networks[0].params,
        statistics={},
        truncation_kind="threshold",
        generator=networks[0],
        discriminator=networks[1],
    )
    write_export(tmp_path / "export", exported)
    for path in (tmp_path / "export").iterdir():
        write_file(resolve_directory(f"gs://{BUCKET}/export") / path.name, path.read_bytes())
    config.seed = 1
    for name in ("trained", "trained/checkpoints/1", "export"):
        config.init_from = f"gs://{BUCKET}/{name}"
        state = first_state(config, resolve_directory(f"gs://{BUCKET}/new"), (), lambda line: None)
        for network, known in zip((state.generator, state.discriminator), networks, strict=True):
            assert_same((network.params, network.u), (known.params, known.u))
    config.init_from = f"gs://{BUCKET}/none"
    with pytest.raises(UserError, match=f"init_from = 'gs://{BUCKET}/none': no config.json"):
        first_state(config, workdir, (), lambda line: None)
    config.init_from = f"gs://{BUCKET}/trained/"
    with pytest.raises(UserError, match="is the run's own workdir"):
        first_state(config, workdir, (), lambda line: None)


def test_the_best_checkpoint_of_a_run_in_a_bucket_is_exported_with_its_scores(emulator, tmp_path):
    best = {"checkpoints.best": 1, "checkpoints.metric": "d_loss", "checkpoints.keep": 1}
    config = make_run_config(**best)
    workdir = resolve_directory(f"gs://{BUCKET}/judged")
    write_file(workdir / "config.json", json.dumps(config_to_json(config)).encode())
    write_file(workdir / "classes.json", b'["a", "b", "c"]')
    report = {"step": 10, "scores": {"fid@classifier": {"value": 5.0}}}
    write_file(workdir / "evaluation.json", json.dumps(report).encode())
    checkpoints = Checkpoints(workdir / "checkpoints", config)
    for step, loss in {10: 1.0, 20: 2.0}.items():
        checkpoints.save(step, random_state(config, seed=step), {}, {"d_loss": loss})
    checkpoints.wait()
    checkpoints.close()
    before = emulator.names("judged")
    export_run(workdir, "best", tmp_path / "export", Console(quiet=True), truncations=[0.0])
    generator = biggan_jax.load(tmp_path / "export")
    assert generator.provenance["step"] == 10 and generator.class_names == ("a", "b", "c")
    assert generator.provenance["scores"] == {"fid@classifier": {"value": 5.0}}
    assert emulator.names("judged") == before


@pytest.mark.slow
def test_a_run_in_a_bucket_that_was_stopped_ends_as_one_that_was_not(emulator, monkeypatch):
    config = tiny_training.make_config(total_steps=4, log_every=2, checkpoint_every=2, sample_every=4)
    config.model.dtype, config.data.source = "float32", "noise"
    config.sampling.update(standing_passes=1, batch_size=6, samples_per_class=1)
    size = tiny_training.SIZE
    source = ArraySource(
        name="noise",
        description="noise",
        num_examples=24,
        class_names=("a", "b", "c"),
        resolution=size,
        images=np.random.default_rng(0).integers(0, 256, (24, size, size, 3), np.uint8),
        labels=np.arange(24, dtype=np.int32) % tiny_training.CLASSES,
    )
    monkeypatch.setattr(loop, "open_source", lambda *args, **kwargs: source)
    assert loop.train(config, f"gs://{BUCKET}/unstopped") == 0
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
        assert loop.train(config, f"gs://{BUCKET}/stopped") == EXIT_RESUMABLE
    assert loop.train(config, f"gs://{BUCKET}/stopped") == 0
    for name in ("config.json", "samples/real.png", "samples/00000004.png"):
        objects = [epath.Path(f"gs://{BUCKET}/{run}/{name}").read_bytes() for run in ("unstopped", "stopped")]
        assert objects[0] == objects[1], name
    losses = [
        [
            {name: row[name] for name in ("step", "d_loss", "g_loss")}
            for row in map(json.loads, text.splitlines())
        ]
        for run in ("unstopped", "stopped")
        for text in [epath.Path(f"gs://{BUCKET}/{run}/{FILE_NAME}").read_text()]
    ]
    assert losses[0] == losses[1] and [row["step"] for row in losses[0]] == [2, 4]


def test_the_report_of_a_run_in_a_bucket_shows_what_the_run_has_kept_there(emulator):
    workdir = resolve_directory(f"gs://{BUCKET}/reported")
    sheet = io.BytesIO()
    Image.new("RGB", (6, 4)).save(sheet, "PNG")
    write_file(workdir / "config.json", json.dumps(config_to_json(default_config())).encode())
    write_file(workdir / FILE_NAME, b'{"step": 1, "d_loss": 2.0}\n{"step": 2, "d_loss": 1.0}\n')
    for name in ("00000001.png", "00000002.png", "real.png"):
        write_file(workdir / "samples" / name, sheet.getvalue())
    report = {
        "file": "samples.npz",
        "num_samples": 10,
        "resolution": 8,
        "network": {"network": "mine", "weights_hash": "0123", "input_size": 8, "resize": "none"},
        "reference": {"source": "statistics.npz", "images": 10},
        "scores": {},
    } | dict.fromkeys(("notes", "beyond_is", "classes", "truncations"), ())
    content = render_html(Report.from_json(report), {}, workdir)
    for shown in (
        "Evaluation of reported",
        "step 1",
        "step 2",
        "Real images",
        "Hinge losses",
        "model.channels",
    ):
        assert shown in content, shown
    assert content.count("data:image/png;base64,") == 3


def test_a_live_run_in_a_bucket_is_refused_and_a_dead_one_is_taken_over(emulator, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 2.0)
    workdir = resolve_directory(f"gs://{BUCKET}/owned")
    with owning(workdir, ".lock", WORKDIR) as still_owner:
        assert emulator.names("owned") == [".lock"]
        with pytest.raises(
            UserError, match=f"workdir={workdir}: process {os.getpid()} on .* is at work there"
        ):
            with owning(workdir, ".lock", WORKDIR):
                pass
        still_owner()
    assert emulator.names("owned") == []
    dead = Holder("elsewhere", 12, "another boot", "token").write()
    (workdir / ".lock").write_text(dead)
    with owning(workdir, ".lock", WORKDIR) as still_owner:
        still_owner()
        (workdir / ".lock").write_text(dead)
        time.sleep(0.5)
        with pytest.raises(UserError, match="process 12 on elsewhere has taken over"):
            still_owner()
    with pytest.raises(UserError, match="there is no bucket gs://nobody; create it"):
        with owning(resolve_directory("gs://nobody/run"), ".lock", WORKDIR):
            pass
