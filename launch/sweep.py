r"""Runs a sweep: each run of a file of configs/sweeps/, in its own directory.

  python launch/sweep.py --sweep=configs/sweeps/ablation_fashion_mnist.py --workdir=runs/ablation --evaluate
  python launch/sweep.py --sweep=configs/sweeps/ablation_fashion_mnist.py --workdir=runs/ablation --summary
  python launch/sweep.py --sweep=configs/sweeps/ablation_imagenet128.py --workdir=gs://bucket/runs/ablation \
      --runner=tpu_pod --runner_flags='--zone=europe-west4-a --accelerator_type=v3-128 --spot'
  python launch/sweep.py --sweep=configs/sweeps/ablation_imagenet128.py --workdir=/shared/runs/ablation \
      --runner=slurm --runner_flags='--nodes=16 --time=24:00:00' --only=row8-ortho --only=row7-skip-z

All fields and values are checked before the first run starts. The same command again continues the sweep: it
skips finished runs, resumes stopped runs from their last checkpoint, and tries failed runs once more. A run
that fails does not stop the others. A run is named after the fields in which the runs of the sweep differ.

Runners:

  local    one run after another on this machine; the output goes to log.txt in the run's directory. A run
           that exits with 75 starts again. Ctrl-C makes the run save, and ends the sweep
  tpu_pod  the same with launch/tpu_pod.py on one TPU slice, which is named after the workdir unless
           --runner_flags has a --name. Ctrl-C ends only the watching: the training continues, and the same
           command watches it again
  slurm    submits launch/slurm.sbatch for each run that is not in the queue yet, and ends
  print    prints the commands for a shell

Data: each process reads `data.source` of its config on its own machine. The hosts of tpu_pod have no data:
set {"data.source": "prepared:gs://bucket/data/imagenet128"} in the sweep file, a prepared set in a bucket
(see launch/tpu_pod.py). For slurm, use a path on a disk that the nodes share, such as
prepared:/shared/data/imagenet128, or set TFDS_DATA_DIR to a folder on it.

--summary starts nothing: it prints a table of the results so far, and writes summary.csv, summary.md and
summary.html, with curves and samples, into the workdir.

Exit codes: 0 all runs are finished (submitted, printed); 1 some runs failed, which are listed at the end; 2 a
user error, nothing was started; 75 and 130 stopped by SIGTERM and Ctrl-C.
"""

import functools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

if not __package__:  # run as a file: the modules beside it belong to the package launch all the same
    sys.path[0], __package__ = str(Path(__file__).resolve().parents[1]), "launch"

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import UserError

SWEEP = command_flags.path("sweep", "sweep file: a file of configs/sweeps/, or your own", required=True)
WORKDIR = command_flags.path(
    "workdir",
    "directory of the sweep, in which each run gets a directory; a path or gs://BUCKET/DIRECTORY",
    required=True,
)
RUNNER = flags.DEFINE_enum("runner", "local", ["local", "tpu_pod", "slurm", "print"], "how the commands run")
RUNNER_FLAGS = flags.DEFINE_string(
    "runner_flags", "", "further flags of launch/tpu_pod.py or of sbatch, in quotes"
)
ONLY = flags.DEFINE_multi_string("only", [], "name of a run to include, without the others; can be repeated")
EVALUATE = flags.DEFINE_bool(
    "evaluate",
    False,
    "evaluate each run after its last step (biggan_jax.evaluate), unless its evaluation.json is of that "
    "step already",
)
EVALUATE_FLAGS = flags.DEFINE_string(
    "evaluate_flags", "", "flags of biggan_jax.evaluate, in quotes: '--network=inception --num_samples=50000'"
)
MAX_RESTARTS = command_flags.integer(
    "max_restarts",
    10,
    "number of restarts in a row of a run that exits with 75",
    ranges.from_0_up_to(1_000_000),
)
SUMMARY = flags.DEFINE_bool("summary", False, "start nothing; summarise the results so far")


def main(argv: Sequence[str]) -> int:
    """Runs or summarises the sweep; returns the exit code."""
    del argv
    evaluate_flags, runner_flags = (_words(flag) for flag in (EVALUATE_FLAGS, RUNNER_FLAGS))
    if evaluate_flags and not EVALUATE.value:
        raise UserError("--evaluate_flags needs --evaluate, which is missing")
    if EVALUATE.value and RUNNER.value == "slurm":
        raise UserError(
            "--evaluate: launch/slurm.sbatch only trains; after its jobs have ended, the same command with "
            "--runner=local evaluates the runs"
        )
    if runner_flags and RUNNER.value not in ("tpu_pod", "slurm"):
        raise UserError(f"--runner_flags needs tpu_pod or slurm: --runner={RUNNER.value} has no flags")
    from biggan_jax.runtime.files import resolve_directory  # imported late, so that --help is quick
    from biggan_jax.sweeps.jobs import plan_jobs
    from biggan_jax.sweeps.sweep_file import read_sweep
    from biggan_jax.sweeps.workdirs import refuse_other_runs

    runs, workdir = read_sweep(SWEEP.value, ONLY.value), resolve_directory(WORKDIR.value)
    if SUMMARY.value:
        from biggan_jax.sweeps.summary import summarise

        summarise(runs, workdir)
        return 0
    refuse_other_runs(runs, workdir)
    work = plan_jobs(runs, workdir, evaluate_flags if EVALUATE.value else None)
    match RUNNER.value:
        case "print":
            for job in work:
                for task in job.tasks:
                    print(shlex.join(job.command("python", task)))
            return 0
        case "slurm":
            from .slurm_jobs import submit

            return submit(work, runner_flags)
    from .one_by_one import command_on_pod, run_one_by_one

    if RUNNER.value == "tpu_pod":
        on_pod = functools.partial(command_on_pod, workdir.name, runner_flags)
        return run_one_by_one(work, workdir, on_pod, max_restarts=None)
    return run_one_by_one(
        work, workdir, lambda job, task: job.command(sys.executable, task), MAX_RESTARTS.value
    )


def _words(flag: flags.FlagHolder[str]) -> list[str]:
    """Splits the value of a flag into words, as a shell does."""
    try:
        return shlex.split(flag.value)
    except ValueError as error:
        raise UserError(f"--{flag.name}={flag.value}: {error}") from error


if __name__ == "__main__":
    cli.run(main)
