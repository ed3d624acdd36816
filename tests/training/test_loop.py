"""The loop with all its real parts, on tiny networks: stopping, resuming, and what it says when it cannot."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pixels
import pytest
import scipy.linalg
from PIL import Image
from rich.console import Console
from tiny_runs import (
    RATES,
    assert_same_state,
    make_config,
    noise_images,
    rows,
    saved,
    untimed,
)

from biggan_jax.evaluation.during_training import TrainingEvaluation
from biggan_jax.runtime.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.training.monitoring.metrics import Metrics, Stopwatch
from biggan_jax.training.monitoring.progress import Progress
from biggan_jax.training.run import loop
from biggan_jax.training.run.checkpoints import Checkpoints


def stop_after(step: int, number: signal.Signals, monkeypatch) -> None:
    """Has a signal arrive while the given step is at work."""
    update = Progress.update

    def update_and_signal(self, at, row=None):
        update(self, at, row)
        if at == step - 1:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "update", update_and_signal)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory):
    """A run of six steps in one go."""
    workdir = tmp_path_factory.mktemp("unstopped")
    with pytest.MonkeyPatch.context() as monkeypatch:
        noise_images.__wrapped__(monkeypatch)
        assert loop.train(make_config(), workdir) == 0
    return workdir


@pytest.mark.slow
def test_a_run_leaves_its_config_metrics_samples_and_last_state(unstopped):
    config = make_config()
    assert json.loads((unstopped / "config.json").read_text()) == json.loads(config.to_json())
    assert [row["step"] for row in rows(unstopped)] == [2, 4, 6]
    assert {"step", "d_loss", "g_loss"} | RATES <= rows(unstopped)[0].keys()
    assert rows(unstopped)[1]["images_per_second"] == pytest.approx(
        16 * rows(unstopped)[1]["steps_per_second"]
    )
    assert sorted(os.listdir(unstopped / "samples")) == ["00000004.png", "00000006.png", "real.png"]
    sizes = {Image.open(path).size for path in (unstopped / "samples").iterdir()}
    assert sizes == {(4 + 3 * (96 + 4), next(iter(sizes))[1])}
    assert os.listdir(unstopped / "checkpoints") == ["00000006"]
    state = saved(unstopped, config).state
    assert state.step == 6


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_and_resuming_equals_not_stopping_bit_for_bit(
    unstopped, tmp_path, monkeypatch, capsys, number
):
    config = make_config()
    with monkeypatch.context() as patch:
        stop_after(3, number, patch)  # between two rows of metrics
        code = loop.train(config, tmp_path)
    assert code == {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_RESUMABLE}[number]
    assert "saved at step 3 of 6; to resume:" in capsys.readouterr().out
    assert saved(tmp_path, config).step == 3
    assert loop.train(config, tmp_path) == 0
    assert "resuming at step 3" in capsys.readouterr().out
    assert_same_state(saved(tmp_path, config).state, saved(unstopped, config).state)
    assert untimed(rows(tmp_path)) == untimed(rows(unstopped))
    for name in os.listdir(unstopped / "samples"):
        assert (tmp_path / "samples" / name).read_bytes() == (unstopped / "samples" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_whose_newest_checkpoint_is_damaged_comes_to_the_same_end(
    unstopped, tmp_path, monkeypatch, caplog
):
    config = make_config(checkpoint_every=2)

    def killed(self, step, row):
        write(self, step, row)
        if step == 6:
            raise SystemError("power cut")

    write = Metrics.write
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", killed)
        with pytest.raises(SystemError, match="power cut"):
            loop.train(config, tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == [2, 4, 6]
    newest = tmp_path / "checkpoints" / "00000004"
    wait_for(newest.exists)  # its save was under way
    os.truncate(newest / "state" / "manifest.ocdbt", 9)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "d_l')

    assert loop.train(config, tmp_path) == 0
    assert re.search("skipping the checkpoint .*00000004", caplog.text)
    assert_same_state(saved(tmp_path, config).state, saved(unstopped, config).state)
    assert untimed(rows(tmp_path)) == untimed(rows(unstopped))


@pytest.mark.slow
def test_several_steps_a_call_give_the_same_rows_and_state_wherever_the_run_is_taken_up(
    unstopped, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_after(3, signal.SIGTERM, patch)
        assert loop.train(make_config(), tmp_path) == EXIT_RESUMABLE
    calls = []
    monkeypatch.setattr(Stopwatch, "step", lambda self, count: calls.append(count))
    config = make_config(steps_per_call=2)
    assert loop.train(config, tmp_path) == 0
    assert calls == [1, 2], "from step 3 to 4, an end of calls, and from there to 6"
    found, expected = saved(tmp_path, config).state, saved(unstopped, config).state
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # another program: rounding differs
    for row, other in zip(rows(tmp_path), rows(unstopped), strict=True):
        assert row["step"] == other["step"]
        assert row["d_loss"] == pytest.approx(other["d_loss"], rel=1e-4)
    with pytest.raises(UserError, match="sample_every = 4: must be a multiple of config.steps_per_call = 3"):
        loop.train(make_config(steps_per_call=3), tmp_path)


@pytest.mark.slow
def test_rows_may_come_more_often_than_calls(tmp_path):
    config = make_config(steps_per_call=2, log_every=1, total_steps=5, sample_every=0)
    assert loop.train(config, tmp_path) == 0
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert len({row["d_loss"] for row in rows(tmp_path)}) == 5


@pytest.mark.slow
def test_the_best_checkpoints_by_a_number_stay_and_so_do_those_of_every_so_many_steps(tmp_path):
    rules = {"checkpoints.keep": 1, "checkpoints.keep_every": 4, "checkpoints.best": 1}
    config = make_config(
        checkpoint_every=1,
        log_every=1,
        sample_every=0,
        **rules,
        **{"checkpoints.metric": "g_loss", "checkpoints.higher_is_better": True},
    )
    assert loop.train(config, tmp_path) == 0
    best = max(rows(tmp_path), key=lambda row: row["g_loss"])["step"]
    kept = {int(name) for name in os.listdir(tmp_path / "checkpoints")}
    assert kept == {best, 4, 6}


def test_evaluations_without_a_way_to_evaluate_are_refused_before_anything_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_update", None)
    config = make_config(**{"evaluation.every": 2})
    with pytest.raises(ValueError, match="evaluation.every is not 0: give `open_evaluation`"):
        loop.train(config, tmp_path)


@pytest.mark.slow
def test_evaluations_are_in_the_rows_and_their_best_checkpoint_stays_however_often_the_run_is_stopped(
    tmp_path, monkeypatch, capfd
):
    evaluation = {"every": 2, "network": "pixels:features", "num_samples": 40}
    config = make_config(
        sample_every=0,
        **{f"evaluation.{name}": value for name, value in evaluation.items()},
        **{"checkpoints.keep": 1, "checkpoints.best": 1, "checkpoints.metric": "fid@pixels:features"},
    )
    assert loop.train(config, tmp_path, TrainingEvaluation) == 0
    scores = {row["step"]: row["fid@pixels:features"] for row in rows(tmp_path)}
    assert scores.keys() == {2, 4, 6} and len(set(scores.values())) == 3
    restored = saved(tmp_path, config)
    kept = {int(name) for name in os.listdir(tmp_path / "checkpoints")}
    assert kept == {min(scores, key=scores.get), 6}

    # A run that is stopped in, or just before, each evaluation resumes with it, and ends the same.
    stopped, left = tmp_path / "stopped", []
    scores_of = TrainingEvaluation.scores

    def terminated(self, *arguments):
        left.append(sorted(int(name) for name in os.listdir(stopped / "checkpoints")))
        os.kill(os.getpid(), signal.SIGTERM)
        return scores_of(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingEvaluation, "scores", terminated)
        with pytest.raises(SystemExit) as ended:
            loop.train(config, stopped, TrainingEvaluation)
    assert ended.value.code == EXIT_RESUMABLE and left == [[2]] and rows(stopped) == []
    assert "saved at step 2, and stopped before its evaluation ended" in capfd.readouterr().err
    with monkeypatch.context() as patch:
        stop_after(4, signal.SIGHUP, patch)
        assert loop.train(config, stopped, TrainingEvaluation) == EXIT_RESUMABLE
    assert [row["step"] for row in rows(stopped)] == [2]
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Checkpoints, "rank", lambda *_: sys.exit(1))  # killed when the row is there
        loop.train(config, stopped, TrainingEvaluation)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingEvaluation, "scores", lambda *_: pytest.fail("evaluated again"))
        stop_after(6, signal.SIGTERM, patch)
        assert loop.train(config, stopped, TrainingEvaluation) == EXIT_RESUMABLE
    assert loop.train(config, stopped, TrainingEvaluation) == 0
    assert untimed(rows(stopped)) == untimed(rows(tmp_path))
    assert {int(name) for name in os.listdir(stopped / "checkpoints")} == kept
    assert_same_state(saved(stopped, config).state, restored.state)

    # The last one, by hand: the same samples, and numpy's square root of the covariances.
    exported = prepare_generator(config, restored.state.ema_params, restored.state.generator.u, [0.0])
    drawn = pixels.features(Sampler(exported).sample(np.arange(40) % 5)).astype(float)
    real = pixels.features(loop.open_source().images).astype(float)
    root = scipy.linalg.sqrtm(np.cov(real.T) @ np.cov(drawn.T)).real
    fid = ((real.mean(0) - drawn.mean(0)) ** 2).sum()
    fid += np.trace(np.cov(real.T)) + np.trace(np.cov(drawn.T)) - 2 * np.trace(root)
    assert scores[6] == pytest.approx(fid, rel=1e-3)


@pytest.mark.slow
def test_a_number_that_rows_lack_cannot_say_which_checkpoint_is_best(tmp_path):
    config = make_config(**{"checkpoints.best": 1, "checkpoints.metric": "fid"})
    with pytest.raises(UserError, match="checkpoints.metric = 'fid'.*choose one of d_fake, "):
        loop.train(config, tmp_path)


@pytest.mark.slow
def test_a_finished_run_says_so_and_goes_on_when_given_more_steps(unstopped, tmp_path, capsys):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", unstopped, workdir], check=True)
    assert loop.train(make_config(), workdir) == 0
    assert re.search("already finished: .* is at step 6", capsys.readouterr().out)

    more = make_config(total_steps=7, **{"optimizer.g_learning_rate": 1e-3})
    assert loop.train(more, workdir) == 0
    said = capsys.readouterr().out
    assert "changed since then: optimizer.g_learning_rate 5e-05 → 0.001" in said
    assert "changed since then: total_steps 6 → 7" in said
    assert saved(workdir, more).step == 7
    assert json.loads((workdir / "config.json").read_text())["total_steps"] == 7


@pytest.mark.slow
def test_a_workdir_of_another_architecture_is_refused_and_left_as_it_was(unstopped):
    before = (unstopped / "config.json").read_bytes()
    with pytest.raises(UserError, match="model.channels: 4 → 8"):
        loop.train(make_config(**{"model.channels": 8}), unstopped)
    assert (unstopped / "config.json").read_bytes() == before


def test_a_workdir_that_cannot_be_written_is_reported_before_anything_is_compiled(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(loop, "make_update", None)
    with pytest.raises(UserError, match="file/run would be below .*file, which is a file: give another path"):
        loop.train(make_config(), tmp_path / "file" / "run")


def test_an_impossible_config_is_refused_before_the_workdir_is_made(tmp_path):
    with pytest.raises(UserError, match="batch_size"):
        loop.train(make_config(batch_size=jax.device_count() + 1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_the_file_and_the_remedy(tmp_path, monkeypatch):
    open_metrics = Metrics.__init__

    def on_full_disk(self, workdir, step):
        open_metrics(self, workdir, step)
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), self._file.fileno())

    monkeypatch.setattr(Metrics, "__init__", on_full_disk)
    with pytest.raises(UserError, match=r"metrics.jsonl: No space left on device; free some space"):
        loop.train(make_config(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, EXIT_RESUMABLE)]
)
def test_the_command_saves_on_a_signal_and_tells_the_launcher_and_the_person(tmp_path, number, code):
    fields = {
        "model.channels": 4,
        "model.generator_channels": "(1,1,1,1)",
        "model.discriminator_channels": "(1,1,1,1)",
        "batch_size": 4,
        "total_steps": 1_000_000,
        "sample_every": 0,
        "checkpoint_every": 0,
    }
    command = [sys.executable, "-m", "biggan_jax.train", "--config=configs/fashion_mnist.py"]
    command += [f"--workdir={tmp_path}", *(f"--config.{name}={value}" for name, value in fields.items())]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        for line in run.stdout:
            if line.startswith("step "):
                run.send_signal(number)
                break
        out, err = run.communicate(timeout=120)
    assert run.returncode == code, err
    assert "stopping after this step, then saving" in err and "Traceback" not in err
    step = re.search(r"saved at step (\d+) of 1000000; to resume:\n  (.*)\n", out)
    assert step, out + err
    assert step[2].split()[1:3] == ["-m", "biggan_jax.train"] and f"--workdir={tmp_path}" in step[2]
    assert os.listdir(tmp_path / "checkpoints") == [f"{int(step[1]):08d}"]


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("biggan_jax.runtime.progress.time.monotonic", lambda: now)
    progress = Progress(100, 40, 20, Console(force_terminal=False, width=200))
    for step in range(41, 101):
        now += 0.5
        progress.update(step, {"d_loss": 1.0, "g_loss": -2.0} if step % 10 == 0 else None)
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["compiling", "step 41/100"]
    assert lines[2] == "step 51/100  2 steps/s  40 images/s  ETA 0:00:24  d_loss 1.00 g_loss -2.00"
    assert lines[-1].startswith("step 100/100") and len(lines) == 8


def test_on_a_terminal_progress_is_a_bar_with_the_same_numbers(capsys):
    progress = Progress(100, 40, 20, Console(force_terminal=True, width=200))
    progress.update(41)
    progress.update(42, {"d_loss": 1.0, "g_loss": -2.0})
    progress.close()
    out = capsys.readouterr().out
    assert "━" in out
    assert re.search(r"step 42/100 .* steps/s .* images/s  ETA .* d_loss 1.00 g_loss -2.00", out)
