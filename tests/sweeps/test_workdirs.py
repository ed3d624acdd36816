"""What is left to do is read from the runs' directories: too little is lost work, too much is done twice."""

import json
from pathlib import Path

import pytest
from etils import epath
from finished_runs import make_runs

from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.jobs import plan_jobs
from biggan_jax.sweeps.workdirs import find_directories, last_message, last_step, log_path, refuse_other_runs
from biggan_jax.training.run import committed


@pytest.fixture
def runs_and_workdir(tmp_path):
    return make_runs(tmp_path)


def left(runs, workdir, evaluate_flags):
    return [[task.arguments[1] for task in job.tasks] for job in plan_jobs(runs, workdir, evaluate_flags)]


TRAIN, EVALUATE = "biggan_jax.train", "biggan_jax.evaluate"


def test_what_is_trained_and_judged_already_is_not_done_again(runs_and_workdir):
    runs, workdir = runs_and_workdir
    assert left(runs, workdir, None) == [[], [], [TRAIN], [TRAIN]]
    assert left(runs, workdir, []) == [[], [], [TRAIN, EVALUATE], [TRAIN, EVALUATE]]
    (workdir / "wide" / "evaluation.json").write_text(json.dumps({"step": 50}))  # of an earlier checkpoint
    (workdir / "narrow" / "evaluation.json").write_text("{")
    assert left(runs, workdir, [])[:2] == [[EVALUATE], [EVALUATE]]


def test_more_steps_make_a_finished_run_go_on_and_another_config_does_not_touch_it(runs_and_workdir):
    runs, workdir = runs_and_workdir
    refuse_other_runs(runs, workdir)
    runs[0].config.total_steps = 200
    refuse_other_runs(runs, workdir)
    assert left(runs, workdir, None)[0] == [TRAIN]
    runs[0].config.total_steps = 50
    with pytest.raises(UserError, match="narrow: total_steps 100 → 50"):
        refuse_other_runs(runs, workdir)
    runs[0].config.total_steps = 200
    runs[1].config.optimizer.beta1 = 0.5
    with pytest.raises(UserError, match=r"wide: optimizer.beta1 0.0 → 0.5$"):
        refuse_other_runs(runs, workdir)


def test_a_run_whose_name_has_changed_keeps_the_directory_of_its_config(runs_and_workdir):
    runs, workdir = runs_and_workdir
    renamed = [runs[0]._replace(name="channels=8"), runs[1]._replace(name="other"), *runs[2:]]
    renamed[1].config.optimizer.beta1 = 0.5  # another run, which starts in its own directory
    directories = find_directories(renamed, workdir)
    assert [path.name for path in directories] == ["narrow", "other", runs[2].name, "later"]
    assert left(renamed, workdir, None)[:2] == [[], [TRAIN]]


def test_a_checkpoint_in_a_bucket_counts_when_its_last_object_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "is_object_store", lambda path: True)
    directory = epath.Path(tmp_path)
    for step in (10, 20):
        (tmp_path / "checkpoints" / f"{step:08d}").mkdir(parents=True)
    assert last_step(directory) == 0
    (tmp_path / "checkpoints" / "00000010" / "commit_success.txt").touch()
    assert last_step(directory) == 10


def test_logs_of_runs_in_a_bucket_are_kept_on_this_machine_apart_from_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path))
    paths = [log_path(epath.Path(f"gs://bucket/{name}")) for name in ("a/b", "a/c")]
    assert paths == [Path(tmp_path, "sweeps", "bucket", "a", name, "log.txt") for name in "bc"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "---- one\nerror: old\n---- two\nstep 3/9\nerror: the disk is full\nbye\n",
            "error: the disk is full",
        ),
        ("---- one\nerror: old\n---- two\nstep 3/9\n  \n", "step 3/9"),
        ("---- one\n", ""),
        (None, ""),
    ],
)
def test_the_error_told_is_that_of_the_last_command(tmp_path, log, said):
    if log is not None:
        (tmp_path / "log.txt").write_text(log)
    assert last_message(epath.Path(tmp_path)) == said
