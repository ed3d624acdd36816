"""Runs the jobs of a sweep one after another: a process for each command, its output in the run's log."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from etils import epath
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from biggan_jax.runtime.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError
from biggan_jax.runtime.files import WORKDIR, is_object_store, writing
from biggan_jax.runtime.interruption import STOPPING
from biggan_jax.runtime.locks import locked
from biggan_jax.runtime.ownership import owning
from biggan_jax.runtime.progress import Throttle, bar
from biggan_jax.sweeps.jobs import Job, Task
from biggan_jax.sweeps.workdirs import COMMAND, last_message, last_step, log_path, share_classifiers

from .restarts import Restarts

# The launcher beside this module, wherever that is: a file of a clone, or a module of the installed package.
IS_INSTALLED = __package__ == "biggan_jax.launch"
TPU_POD = (
    ["-m", "biggan_jax.launch.tpu_pod"] if IS_INSTALLED else [str(Path(__file__).with_name("tpu_pod.py"))]
)
SECONDS_BETWEEN_LINES = 60.0  # of progress without a terminal
TAIL = 4_000  # bytes at the end of a log that hold its last line


class Failure(NamedTuple):
    """A run that has failed.

    Attributes:
      name: Name of the run.
      reason: Exit code and last message.
      log: Log of the run.
    """

    name: str
    reason: str
    log: Path


def run_one_by_one(
    jobs: Sequence[Job],
    workdir: epath.Path,
    command: Callable[[Job, Task], list[str]],
    max_restarts: int | None,
) -> int:
    """Runs the tasks of all jobs; a job that fails does not stop the others.

    Args:
      jobs: Jobs of the sweep, including the finished ones.
      workdir: Directory of the sweep.
      command: Returns the words of the process that does a task.
      max_restarts: Number of restarts in a row of a process that exits with 75; None if 75 means that a
        person has stopped it.

    Returns:
      The exit code.

    Raises:
      UserError: Another sweep uses the workdir, or the workdir cannot be written.
    """
    failures: list[Failure] = []
    with _Overview(jobs) as overview, _locked(workdir) as lock, _Signals() as signals:
        for job in jobs:
            overview.begin(job)
            if job.tasks:
                share_classifiers(job.directory, (other.directory for other in jobs if other is not job))
            for task in job.tasks:
                process = _Process(command(job, task), log_path(job.directory), lock, signals)
                overview.log(f"{job.run.name}: {task.name}; its output: {process.log}")
                code = _until_ended(process, max_restarts, overview.show, signals)
                stopped = code == EXIT_INTERRUPTED or (code == EXIT_RESUMABLE and max_restarts is None)
                if signals.received or stopped:
                    overview.log(f"stopped; the same command goes on:\n  {shlex.join(sys.orig_argv)}")
                    interrupted = signals.received == signal.SIGINT or code == EXIT_INTERRUPTED
                    return EXIT_INTERRUPTED if interrupted else EXIT_RESUMABLE
                if code:
                    reason = f"exit code {code}: {last_message(job.directory) or 'without output'}"
                    failures.append(Failure(job.run.name, reason, process.log))
                    overview.log(f"{job.run.name} has failed: {reason}")
                    break
            else:
                overview.log(f"{job.run.name}: {'finished' if job.tasks else 'was finished already'}")
            overview.end(job)
    print(f"{len(jobs) - len(failures)} of {len(jobs)} runs are finished")
    for failure in failures:
        print(f"failed: {failure.name}: {failure.reason}\n  its output: {failure.log}")
    return 1 if failures else 0


def _until_ended(
    process: "_Process", max_restarts: int | None, show: Callable[[str], None], signals: "_Signals"
) -> int:
    """Runs the process, again whenever it exits with 75, and returns its last exit code."""
    restarts = Restarts(max_restarts or 0)
    code = EXIT_RESUMABLE
    while not signals.received:
        code = process.run(show)
        again = code == EXIT_RESUMABLE and max_restarts is not None and not signals.received
        if not again or not restarts.another([code]):
            break
    return code


def command_on_pod(sweep: str, flags: Sequence[str], job: Job, task: Task) -> list[str]:
    """Returns the command that does a task with launch/tpu_pod.py, on one slice for all jobs of the sweep.

    Args:
      sweep: Name of the sweep, and of the slice unless the flags have another `--name`.
      flags: Flags of launch/tpu_pod.py.
      job: Job of the task.
      task: Task of the job.

    Returns:
      The words of the command.
    """
    letters = re.sub("[^a-z0-9]+", "-", sweep.lower()).strip("-")
    name = re.sub("^(?![a-z])", "sweep-", letters)[:62].rstrip("-")
    place = [f"--name={name}", f"--workdir={job.directory}"]
    return [sys.executable, *TPU_POD, "run", *place, *flags, "--", "python", *task.arguments]


class _Process:
    """A command that can start several times and appends its output to a log."""

    def __init__(self, command: Sequence[str], log: Path, lock: IO[str], signals: "_Signals"):
        self.log = log
        self._command, self._lock, self._signals = command, lock, signals
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)

    def run(self, show: Callable[[str], None]) -> int:
        """Runs the command, passes its last line to `show` every second, and returns its exit code."""
        with writing(self.log), self.log.open("ab") as output:
            output.write(COMMAND + f"{time.strftime('%F %T')} {shlex.join(self._command)}\n".encode())
            output.flush()
            self._start = output.tell()
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # so that Ctrl-C reaches it once, from this launcher
                pass_fds=[self._lock.fileno()],  # it holds the lock even if this launcher is killed
            )
        self._lock.seek(0)
        self._lock.truncate()
        print(process.pid, file=self._lock, flush=True)
        self._signals.goes_to(process)
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                show(self._last_line())

    def _last_line(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(self._start, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _Signals:
    """Passes the signals that stop a run on to its process, and keeps the first in `received`."""

    def __init__(self) -> None:
        self.received = 0
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "_Signals":
        self._before = {
            number: signal.signal(number, self._pass)
            for number in STOPPING
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def goes_to(self, process: subprocess.Popen) -> None:
        """Sets the process that gets the signals, including one that arrived while the process started."""
        self._process = process
        if self.received:
            process.send_signal(self.received)

    def _pass(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or number
        if self._process:
            self._process.send_signal(number)  # does nothing after its end


class _Overview:
    """Progress of the sweep, measured in training images of all runs: a bar on a terminal, else lines."""

    def __init__(self, jobs: Sequence[Job]):
        self._jobs, self._console = jobs, Console(highlight=False, soft_wrap=True)
        columns = (
            BarColumn(20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = bar(self._console, *columns, transient=False)
        self._bar.speed_estimate_period = 3600  # runs may differ in speed
        self._throttle = Throttle(SECONDS_BETWEEN_LINES)
        self._task = self._bar.add_task("", total=sum(_images(job) for job in jobs))
        self._before, self._title, self._job = 0, "", jobs[0]

    def __enter__(self) -> "_Overview":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, job: Job) -> None:
        self._job, self._title = job, f"{self._jobs.index(job) + 1} of {len(self._jobs)}: {job.run.name}"
        self._advance(last_step(job.directory))

    def end(self, job: Job) -> None:
        self._before += _images(job)
        self._bar.update(self._task, completed=self._before)

    def log(self, line: str) -> None:
        self._console.print(line, markup=False)

    def show(self, line: str) -> None:
        """Shows a line of the process's output, and advances the bar if the line holds a step."""
        if not line:
            return
        if step := re.match(r"step (\d+)/", line):
            self._advance(int(step[1]))
        self._bar.update(self._task, description=f"{self._title}  {line}".replace("[", r"\["))
        if not self._console.is_terminal and self._throttle.due():
            self.log(f"{self._title}  {line}")

    def _advance(self, step: int) -> None:
        share = min(1.0, step / self._job.run.config.total_steps)
        self._bar.update(self._task, completed=self._before + share * _images(self._job))


def _images(job: Job) -> int:
    config = job.run.config
    return config.total_steps * config.batch_size * config.d_steps


@contextlib.contextmanager
def _locked(workdir: epath.Path) -> Iterator[IO[str]]:
    """Locks the workdir against a second sweep until this launcher and its process have ended."""
    path = log_path(workdir).with_name(".sweep.lock")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def busy(file: IO[str]) -> None:
        file.seek(0)
        raise UserError(
            f"a sweep is at work in {workdir} already, or a run that it has started (process "
            f"{file.read().strip() or 'not started yet'}): wait for it, or end it"
        )

    with locked(path, busy) as file, contextlib.ExitStack() as stack:
        if is_object_store(workdir):  # which launchers on other machines see too
            stack.enter_context(owning(workdir, path.name, WORKDIR))
        yield file
