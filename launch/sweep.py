"""Runs a sweep: every run that a file of configs/sweeps/ lists, each in a directory of its own.

  python launch/sweep.py --sweep=configs/sweeps/ablation_fashion_mnist.py --workdir=runs/ablation --evaluate
  python launch/sweep.py --sweep=configs/sweeps/ablation_fashion_mnist.py --workdir=runs/ablation --summary
  python launch/sweep.py --sweep=configs/sweeps/ablation_imagenet128.py --workdir=gs://bucket/ablation \\
      --runner=tpu_pod --runner_flags='--zone=europe-west4-a --accelerator_type=v3-128 --spot'
  python launch/sweep.py --sweep=configs/sweeps/ablation_imagenet128.py --workdir=/shared/ablation \\
      --runner=slurm --runner_flags='--nodes=16 --time=24:00:00' --only=row8-ortho --only=row7-skip-z

Before anything is started, every run's fields and values are checked. The same command again goes on where
it stopped: a finished run is not run again, a stopped one goes on from its last checkpoint, a failed one is
tried once more. A run that fails does not keep the others from running.

Runners:

  local    one run after another on this machine; output goes to log.txt in the run's directory. A run that
           ends with exit code 75 is started again. Ctrl-C has the run save, and ends the sweep
  tpu_pod  the same by launch/tpu_pod.py, on one TPU slice, which is called like the workdir unless
           --runner_flags has a --name. Ctrl-C ends the watching alone: a training goes on, and the same
           command watches it again
  slurm    submits launch/slurm.sbatch for each run, and leaves the rest to SLURM; a run that is still in its
           queue is not submitted again
  print    prints the commands, for a shell

--summary starts nothing: it prints a table of what the runs have reached so far, and writes summary.csv,
summary.md and summary.html, a page with their curves and samples, into the workdir.

Exit codes: 0 all runs are finished (submitted, printed); 1 some failed, and are listed at the end; 2 an error
that you can put right, nothing was started; 75 and 130 stopped by SIGTERM and Ctrl-C.
"""

import functools
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError

SWEEP = flags.DEFINE_string("sweep", None, "a file of configs/sweeps/, or your own", required=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "where each run gets a directory; a directory or gs://BUCKET/DIRECTORY", required=True
)
RUNNER = flags.DEFINE_enum(
    "runner", "local", ["local", "tpu_pod", "slurm", "print"], "what runs the commands"
)
RUNNER_FLAGS = flags.DEFINE_string(
    "runner_flags", "", "flags of launch/tpu_pod.py or of sbatch, in quotes, after those that are given here"
)
ONLY = flags.DEFINE_multi_string("only", [], "the name of a run: leave out all others; may be given again")
EVALUATE = flags.DEFINE_bool(
    "evaluate",
    False,
    "judge each run after its last step (biggan_jax.evaluate); one whose evaluation.json is of that step has "
    "been judged, and is not judged again",
)
EVALUATE_FLAGS = flags.DEFINE_string(
    "evaluate_flags", "", "flags of biggan_jax.evaluate, in quotes: '--network=inception --num_samples=50000'"
)
MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts", 10, "how often in a row to start a run again that ends with exit code 75", lower_bound=0
)
SUMMARY = flags.DEFINE_bool("summary", False, "start nothing; say what the runs have reached")


def main(argv: Sequence[str]) -> int:
    """Runs the sweep, or sums it up; returns the exit code."""
    del argv
    judged_by, runner_flags = (_words(flag) for flag in (EVALUATE_FLAGS, RUNNER_FLAGS))
    if judged_by and not EVALUATE.value:
        raise UserError("--evaluate_flags is for --evaluate, which is missing")
    if EVALUATE.value and RUNNER.value == "slurm":
        raise UserError(
            "--evaluate: launch/slurm.sbatch trains only; when its jobs are done, the same command with "
            "--runner=local judges the runs"
        )
    if runner_flags and RUNNER.value not in ("tpu_pod", "slurm"):
        raise UserError(f"--runner_flags is for tpu_pod and slurm: --runner={RUNNER.value} has no flags")
    from biggan_jax.runtime.files import resolve_directory
    from biggan_jax.sweeps.jobs import plan_jobs
    from biggan_jax.sweeps.sweep_file import (
        read_sweep,  # here: --help and a misspelt flag need not wait for JAX
    )
    from biggan_jax.sweeps.workdirs import refuse_other_runs

    runs, workdir = read_sweep(SWEEP.value, ONLY.value), resolve_directory(WORKDIR.value)
    if SUMMARY.value:
        from biggan_jax.sweeps.summary import summarise

        summarise(runs, workdir)
        return 0
    refuse_other_runs(runs, workdir)
    work = plan_jobs(runs, workdir, judged_by if EVALUATE.value else None)
    match RUNNER.value:
        case "print":
            for job in work:
                for task in job.tasks:
                    print(shlex.join(job.command("python", task)))
            return 0
        case "slurm":
            from slurm_jobs import submit

            return submit(work, runner_flags)
    from one_by_one import command_on_pod, run_one_by_one

    if RUNNER.value == "tpu_pod":
        on_pod = functools.partial(command_on_pod, workdir.name, runner_flags)
        return run_one_by_one(work, workdir, on_pod, max_restarts=None)
    return run_one_by_one(
        work, workdir, lambda job, task: job.command(sys.executable, task), MAX_RESTARTS.value
    )


def _words(flag: flags.FlagHolder[str]) -> list[str]:
    """The flags in a flag's value, as a shell would split it."""
    try:
        return shlex.split(flag.value)
    except ValueError as error:
        raise UserError(f"--{flag.name}={flag.value}: {error}") from error


if __name__ == "__main__":
    cli.run(main)
