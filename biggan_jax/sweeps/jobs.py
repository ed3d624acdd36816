"""The commands that a sweep still has to run for each of its runs."""

from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from biggan_jax.sweeps.sweep_file import Run
from biggan_jax.sweeps.workdirs import evaluation, find_directories, is_finished


class Task(NamedTuple):
    """One command of the package.

    Attributes:
      name: Short name, such as "train".
      arguments: Arguments of Python, without --workdir.
    """

    name: str
    arguments: list[str]


class Job(NamedTuple):
    """A run and its remaining tasks.

    Attributes:
      run: Run of the sweep.
      directory: Directory of the run.
      tasks: Tasks in the order in which they run; empty if the run is finished.
    """

    run: Run
    directory: epath.Path
    tasks: list[Task]

    def command(self, python: str, task: Task) -> list[str]:
        """Returns the words of a task's command.

        Args:
          python: Python interpreter.
          task: Task of this job.

        Returns:
          The interpreter, the task's arguments and --workdir.
        """
        return [python, *task.arguments, f"--workdir={self.directory}"]


def plan_jobs(runs: Sequence[Run], workdir: epath.Path, evaluate_flags: Sequence[str] | None) -> list[Job]:
    """Plans a job for each run, including the runs that are finished.

    Args:
      runs: Runs of the sweep.
      workdir: Directory of the sweep.
      evaluate_flags: Flags of biggan_jax.evaluate; None if runs are not evaluated after training.

    Returns:
      One job for each run, in order.
    """
    directories = find_directories(runs, workdir)
    return [_job(run, directory, evaluate_flags) for run, directory in zip(runs, directories, strict=True)]


def _job(run: Run, directory: epath.Path, evaluate_flags: Sequence[str] | None) -> Job:
    tasks = []
    if not is_finished(run, directory):
        tasks.append(Task("train", ["-m", "biggan_jax.train", *run.flags()]))
    if evaluate_flags is not None and (tasks or evaluation(directory) is None):
        tasks.append(Task("evaluate", ["-m", "biggan_jax.evaluate", *evaluate_flags]))
    return Job(run, directory, tasks)
