"""What is left to be done of each run of a sweep, as commands."""

from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from biggan_jax.sweeps.reading import Run
from biggan_jax.sweeps.workdirs import evaluation, is_finished


class Task(NamedTuple):
    """A command of the package: `python`, these arguments, and `--workdir=` with the run's directory."""

    name: str
    arguments: list[str]


class Job(NamedTuple):
    """A run with the tasks that are not done yet, in order."""

    run: Run
    directory: epath.Path
    tasks: list[Task]

    def command(self, python: str, task: Task) -> list[str]:
        """The words of a task's command."""
        return [python, *task.arguments, f"--workdir={self.directory}"]


def jobs(runs: Sequence[Run], workdir: epath.Path, judged_by: Sequence[str] | None) -> list[Job]:
    """A job for each run, also for those that are done.

    Args:
      runs: of the sweep.
      workdir: the sweep's.
      judged_by: flags of biggan_jax.evaluate; None if runs are not to be judged after training.
    """
    return [_job(run, workdir / run.name, judged_by) for run in runs]


def _job(run: Run, directory: epath.Path, judged_by: Sequence[str] | None) -> Job:
    tasks = []
    if not is_finished(run, directory):
        tasks.append(Task("train", ["-m", "biggan_jax.train", *run.flags()]))
    if judged_by is not None and (tasks or evaluation(directory) is None):
        tasks.append(Task("evaluate", ["-m", "biggan_jax.evaluate", *judged_by]))
    return Job(run, directory, tasks)
