r"""Trains on a TPU slice of Google Cloud: creates it, starts the run, and restores it after interruptions.

  python launch/tpu_pod.py run --name=imagenet128 --zone=europe-west4-a --accelerator_type=v3-128 --spot \
      --workdir=gs://bucket/runs/imagenet128 -- python -m biggan_jax.train \
      --config=configs/imagenet128.py --config.data.source=prepared:gs://bucket/data/imagenet128
  python launch/tpu_pod.py status --name=imagenet128 --zone=europe-west4-a
  python launch/tpu_pod.py logs --name=imagenet128 --zone=europe-west4-a --worker=0 --follow
  python launch/tpu_pod.py stop --name=imagenet128 --zone=europe-west4-a
  python launch/tpu_pod.py delete --name=imagenet128 --zone=europe-west4-a

Verbs; with --dry_run each prints its commands and does nothing:

  create  requests the slice (a queued resource) and waits until it is active
  setup   copies the files that git tracks here, as they are now, to all hosts and installs their packages
  run     does create and setup as far as needed, starts COMMAND on each host with --workdir appended, and
          watches it. A command that exits with 75 or is lost starts again and continues from its last
          checkpoint; a slice that was taken back is created again. Ctrl-C ends only the watching: the
          training continues, and the same `run` watches it again
  status  prints the state of the slice and of each host
  logs    prints the end of the output of one host (--worker=3) or of all (--worker=all)
  stop    makes the training save and end; the slice remains
  delete  deletes the slice at once: use stop first to save the run

Data: the hosts have no data set, and their disks are deleted with the slice. Put the data into a bucket:
  - a prepared set: biggan_jax.prepare --output=gs://bucket/data/imagenet128 on any machine, then train with
    --config.data.source=prepared:gs://bucket/data/imagenet128. Each host copies it to its disk once;
  - or a set of TensorFlow Datasets, as the command `env TFDS_DATA_DIR=gs://bucket/data/tfds python -m
    biggan_jax.train … --config.data.source=tfds:NAME`, which reads it from the bucket.
The service account of the hosts must be allowed to read the data and to write the workdir.

It needs gcloud, logged in, and a git clone of biggan_jax. A slice costs money until it is deleted, even when
the run has finished.

Exit codes: 0 finished; 2 a user error of gcloud or of the command; 75 stopped by `stop`; 130 Ctrl-C; 1 more
than --max_restarts failures in a row.
"""

import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

if not __package__:  # run as a file: the modules beside it belong to the package launch all the same
    sys.path[0], __package__ = str(Path(__file__).resolve().parents[1]), "launch"

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError

from .code_archive import location, pack, packing
from .gcloud import NotFound, Unreachable, stream
from .restarts import MISTAKES, Restarts
from .tpu_slice import (
    UNPACK,
    Slice,
    acquire,
    delete,
    host_command,
    install,
    log,
    read_state,
    run_on_hosts,
)
from .tpu_training import DONE, MISTAKE, STOPPED, summary, train

VERBS = ("create", "setup", "run", "status", "logs", "stop", "delete")
NAME = command_flags.text("name", None, "name of the slice: small letters, digits and hyphens", required=True)
ZONE = command_flags.text(
    "zone", None, "zone of the slice, such as europe-west4-a; by default the zone of gcloud"
)
PROJECT = command_flags.text("project", None, "project of Google Cloud; by default the project of gcloud")
ACCELERATOR_TYPE = command_flags.text("accelerator_type", None, "type of a new slice, such as v3-128")
RUNTIME_VERSION = command_flags.text(
    "runtime_version", None, "image of a new slice's hosts; by default the image for the accelerator type"
)
SPOT = flags.DEFINE_bool("spot", False, "request a cheaper slice, which can be taken back at any time")
WORKDIR = command_flags.text(
    "workdir",
    None,
    "for run: directory of the run, gs://BUCKET/DIRECTORY, such as gs://bucket/runs/imagenet128",
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "print the commands in a form that a shell accepts, and do nothing"
)
WORKER = command_flags.text("worker", "0", "for logs: number of the host, or all")
LINES = command_flags.integer("lines", 50, "for logs: number of lines", ranges.up_to(1_000_000))
FOLLOW = flags.DEFINE_bool("follow", False, "for logs: continue to print new lines")
DELETE_WHEN_FINISHED = flags.DEFINE_bool(
    "delete_when_finished", False, "for run: delete the slice after exit code 0"
)
MAX_RESTARTS = command_flags.integer(
    "max_restarts", 10, "for run: number of restarts after failures in a row", ranges.from_0_up_to(1_000_000)
)
POLL_SECONDS = command_flags.number(
    "poll_seconds", 30.0, "seconds between two polls of the slice", ranges.Number(minimum=0.01, maximum=3_600)
)


def run(tpu: Slice, command: Sequence[str]) -> int:
    """Trains until the command ends, and prints how it ended; returns the exit code."""
    outcome, reports = train(tpu, command, Restarts(MAX_RESTARTS.value))
    if outcome == MISTAKE:
        worker = next(name for name, host in reports.items() if host.exit_code in MISTAKES)
        run_on_hosts(tpu, "kill")
        log(f"exit code {reports[worker].exit_code}; the end of the output of host {worker}:")
        logs(tpu, worker, 20)
    if outcome == DONE:
        log("finished")
    if outcome == STOPPED:
        log("stopped on request")
    if outcome == DONE and DELETE_WHEN_FINISHED.value:
        delete(tpu)
        log("the slice is deleted")
    else:
        log(f"the slice still exists and costs money: {_again('delete')}")
    return {DONE: 0, MISTAKE: EXIT_ERROR, STOPPED: EXIT_RESUMABLE}.get(outcome, 1)


def status(tpu: Slice) -> int:
    """Prints the state of the slice and of each host; returns the exit code."""
    state = read_state(tpu)
    print(f"{tpu.name}: {state.name or 'this slice does not exist'} {state.message}".rstrip())
    if state.name == "ACTIVE":
        reports = run_on_hosts(tpu, "poll")
        for worker in sorted(reports, key=lambda name: (len(name), name)):
            host = reports[worker]
            code = "" if host.exit_code is None else f" with exit code {host.exit_code}"
            print(f"host {worker}: {host.state}{code}  {host.last_line}")
        if len(reports) < state.hosts:
            print(f"{state.hosts - len(reports)} of {state.hosts} hosts do not answer, or are not set up")
    return 0


def logs(tpu: Slice, worker: str, lines: int, follow: bool = False) -> int:
    """Prints the end of the output of one host or of all; returns the exit code.

    Args:
      tpu: The slice.
      worker: Number of the host, or "all".
      lines: Number of lines.
      follow: Whether to continue with new lines.

    Returns:
      The exit code of gcloud.
    """
    command = host_command("logs", str(lines), *(["-F"] if follow else []))
    return stream(tpu.on_hosts(command, worker))


def stop(tpu: Slice) -> int:
    """Makes the training save, and waits until it has ended; returns the exit code.

    Args:
      tpu: The slice.

    Returns:
      0.

    Raises:
      UserError: No host answers.
    """
    reports = run_on_hosts(tpu, "stop")
    if not reports:
        raise UserError(f"no host of {tpu.name} answers: {_again('status')}")
    with Console().status("the training saves and ends"):
        while any(host.state == "running" for host in reports.values()):
            time.sleep(tpu.poll_seconds)
            reports = run_on_hosts(tpu, "poll") or reports
    log(summary(reports, len(reports)))
    return 0


def commands(verb: str, tpu: Slice, command: Sequence[str]) -> list[str]:
    """Returns the commands that a verb runs if nothing fails.

    Args:
      verb: One of `VERBS`.
      tpu: The slice.
      command: Words of the training command.

    Returns:
      Lines of shell, in order.
    """
    queue = [tpu.create(), tpu.describe(), tpu.describe_node()]
    poll = tpu.on_hosts(host_command("poll"))
    find = tpu.on_hosts(host_command("poll", *command))
    prepare = [packing(tpu.name), tpu.copy(str(location(tpu.name))), tpu.on_hosts(UNPACK)]
    follow = ["-F"] if FOLLOW.value else []
    steps = {
        "create": queue,
        "setup": [poll, *prepare],
        "run": [*queue, find, *prepare, tpu.on_hosts(host_command("start", *command)), poll],
        "status": [tpu.describe(), tpu.describe_node(), poll],
        "logs": [tpu.on_hosts(host_command("logs", str(LINES.value), *follow), WORKER.value)],
        "stop": [tpu.on_hosts(host_command("stop")), poll],
        "delete": [tpu.delete()],
    }[verb]
    return [step if isinstance(step, str) else shlex.join(step) for step in steps]


def main(verb: str, command: Sequence[str]) -> int:
    """Runs a verb; returns the exit code."""
    tpu = Slice(
        NAME.value,
        ZONE.value,
        PROJECT.value,
        ACCELERATOR_TYPE.value,
        RUNTIME_VERSION.value,
        SPOT.value,
        POLL_SECONDS.value,
    )
    if verb == "run":
        command = [*command, f"--workdir={WORKDIR.value}"]
    if DRY_RUN.value:
        print("\n".join(commands(verb, tpu, command)))
        return 0
    match verb:
        case "create":
            acquire(tpu)
        case "setup":
            if any(host.state == "running" for host in run_on_hosts(tpu, "poll").values()):
                raise UserError(f"a training runs on the slice; first: {_again('stop')}")
            pack(tpu.name)
            install(tpu, str(location(tpu.name)))
        case "run":
            return run(tpu, command)
        case "status":
            return status(tpu)
        case "logs":
            return logs(tpu, WORKER.value, LINES.value, FOLLOW.value)
        case "stop":
            return stop(tpu)
        case "delete":
            log("deleted" if delete(tpu) else f"there is no slice {tpu.name}")
    return 0


def parse(argv: Sequence[str]) -> list[str]:
    """Parses `VERB FLAGS -- COMMAND`.

    Args:
      argv: Words of the command line, beginning with the program.

    Returns:
      The verb and the words of the command.

    Raises:
      UserError: A word is missing or misspelt.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    words, command = list(argv[:end]), list(argv[end + 1 :])
    verb = words.pop(1) if len(words) > 1 and not words[1].startswith("-") else None
    cli.parse(words)
    if verb not in VERBS:
        raise UserError(f"{verb or 'no verb'}: give one of {', '.join(VERBS)} before the flags")
    if not re.fullmatch("[a-z]([-a-z0-9]{0,60}[a-z0-9])?", NAME.value):
        raise UserError(f"--name={NAME.value}: small letters, digits and hyphens, a letter first, 62 at most")
    if not re.fullmatch(r"\d+|all", WORKER.value):
        raise UserError(f"--worker={WORKER.value}: give a number or all")
    if command and verb != "run":
        raise UserError(f"{verb} takes no command; run does")
    if verb == "run":
        if not command:
            raise UserError("give the command after --, such as python -m biggan_jax.train --config=…")
        if not (WORKDIR.value or "").startswith("gs://"):
            raise UserError(
                f"--workdir={WORKDIR.value}: give gs://BUCKET/DIRECTORY before the --; the disks of the "
                "slice are deleted with it"
            )
    return [verb, *command]


def _again(verb: str) -> str:
    place = [f"--{flag.name}={flag.value}" for flag in (NAME, ZONE, PROJECT) if flag.value]
    program = ["-m", __spec__.name] if __spec__ else ["launch/tpu_pod.py"]
    return shlex.join(["python", *program, verb, *place])


def _run(words: Sequence[str]) -> int:
    try:
        return main(words[0], words[1:])
    except KeyboardInterrupt:
        if words[0] in ("create", "run"):
            log(
                "no longer watching; a request stays in the queue and a training goes on. The same command "
                f"watches it again; {_again('stop')} makes it save and end; "
                f"{_again('delete')} deletes the slice"
            )
        return EXIT_INTERRUPTED
    except (NotFound, Unreachable) as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    cli.run(_run, parser=parse)
