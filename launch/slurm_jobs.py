"""Submits the training of a sweep's runs to SLURM: one batch job for each run."""

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_object_store, write_file
from biggan_jax.sweeps.jobs import Job
from biggan_jax.sweeps.workdirs import read_json

SCRIPT = Path(__file__).with_name("slurm.sbatch")
JOB_FILE = "slurm.json"  # in a run's directory; holds the number of its batch job


def submit(jobs: Sequence[Job], flags: Sequence[str]) -> int:
    """Submits the runs that are neither finished nor in the queue.

    Args:
      jobs: Jobs of the sweep, whose only task is training.
      flags: Further flags of sbatch.

    Returns:
      The exit code.

    Raises:
      UserError: SLURM is not installed on this machine, or does not answer.
    """
    queue = _call("squeue", f"--user={getpass.getuser()}", "--noheader", "--format=%i")
    if queue.returncode:
        raise UserError(f"squeue cannot list the jobs in the queue: {queue.stderr.strip()}")
    queued, failed = set(queue.stdout.split()), 0
    for job in jobs:
        name, submitted = job.run.name, (read_json(job.directory / JOB_FILE) or {}).get("job")
        if not job.tasks:
            print(f"{name}: finished")
        elif submitted in queued:
            print(f"{name}: in the queue as job {submitted}")
        else:
            own = [f"--job-name={name}", *_output(job)]
            training = [*job.run.flags(), f"--workdir={job.directory}"]
            answer = _call("sbatch", "--parsable", *own, *flags, str(SCRIPT), *training)
            if answer.returncode:
                failed += 1
                print(f"{name}: sbatch failed: {answer.stderr.strip()}")
                continue
            number = answer.stdout.strip().split(";")[0]  # the name of a cluster may follow
            write_file(job.directory / JOB_FILE, json.dumps({"job": number}).encode())
            print(f"{name}: submitted as job {number}")
    return 1 if failed else 0


def _output(job: Job) -> list[str]:
    """Returns the flag that puts the output into the run's directory, unless that is in a bucket."""
    if is_object_store(job.directory):
        return []
    job.directory.mkdir(parents=True, exist_ok=True)
    return [f"--output={str(job.directory).replace('%', '%%')}/slurm-%j.log"]


def _call(*command: str) -> subprocess.CompletedProcess:
    try:
        # The jobs run the Python of this launcher, wherever it is installed.
        environment = {"PYTHON": sys.executable} | os.environ
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, env=environment, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is not installed: use --runner=slurm on a machine of a SLURM cluster"
        ) from error
