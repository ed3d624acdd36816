"""Submits the training of a sweep's runs to SLURM, a batch job for each."""

import getpass
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_object_store, write_file
from biggan_jax.sweeps.jobs import Job
from biggan_jax.sweeps.workdirs import read_json

SCRIPT = Path(__file__).with_name("slurm.sbatch")
NOTED = "slurm.json"  # in a run's directory: the number of its batch job


def submit(jobs: Sequence[Job], flags: Sequence[str]) -> int:
    """Submits all runs that are neither finished nor still in the queue; returns the exit code.

    Args:
      jobs: of the sweep, to be trained only.
      flags: of sbatch, after those given here.

    Raises:
      UserError: there is no SLURM on this machine, or it doesn't answer.
    """
    queue = _call("squeue", f"--user={getpass.getuser()}", "--noheader", "--format=%i")
    if queue.returncode:
        raise UserError(f"squeue does not tell which jobs are in the queue: {queue.stderr.strip()}")
    queued, failed = set(queue.stdout.split()), 0
    for job in jobs:
        name, noted = job.run.name, (read_json(job.directory / NOTED) or {}).get("job")
        if not job.tasks:
            print(f"{name}: finished")
        elif noted in queued:
            print(f"{name}: in the queue as job {noted}")
        else:
            own = [f"--job-name={name}", *_output(job)]
            training = [*job.run.flags(), f"--workdir={job.directory}"]
            answer = _call("sbatch", "--parsable", *own, *flags, str(SCRIPT), *training)
            if answer.returncode:
                failed += 1
                print(f"{name}: sbatch failed: {answer.stderr.strip()}")
                continue
            number = answer.stdout.strip().split(";")[0]  # a cluster's name may follow
            write_file(job.directory / NOTED, json.dumps({"job": number}).encode())
            print(f"{name}: submitted as job {number}")
    return 1 if failed else 0


def _output(job: Job) -> list[str]:
    """Output goes into the run's directory, where SLURM can write there; in its patterns %% is a %."""
    if is_object_store(job.directory):
        return []
    job.directory.mkdir(parents=True, exist_ok=True)
    return [f"--output={str(job.directory).replace('%', '%%')}/slurm-%j.log"]


def _call(*command: str) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no {command[0]} here: --runner=slurm is for a machine of a SLURM cluster"
        ) from error
