"""Trains on a TPU slice of Google Cloud: from a config to a running pod, and through its interruptions.

  python launch/tpu_pod.py run --name=imagenet128 --zone=europe-west4-a --accelerator_type=v3-128 --spot \\
      --workdir=gs://bucket/imagenet128 -- python -m biggan_jax.train --config=configs/imagenet128.py
  python launch/tpu_pod.py status --name=imagenet128 --zone=europe-west4-a
  python launch/tpu_pod.py logs --name=imagenet128 --zone=europe-west4-a --worker=0 --follow
  python launch/tpu_pod.py stop --name=imagenet128 --zone=europe-west4-a
  python launch/tpu_pod.py delete --name=imagenet128 --zone=europe-west4-a

The verbs, each with --dry_run to print its commands and do nothing:

  create  asks for the slice (a queued resource) and waits until it is there
  setup   sends the files that git tracks here, as they are now, and installs what they need on all hosts
  run     create and setup, as far as they are needed; starts COMMAND once a host, with --workdir after it,
          and watches. What ends with exit code 75, or is lost, is started again and goes on from its last
          checkpoint; a slice that was taken back is created again. Ctrl-C ends the watching alone: the
          training goes on, and the same `run` watches it again
  status  says how the slice is, and each host
  logs    prints the end of the output of one host (--worker=3) or of all (--worker=all)
  stop    has the training save and end; the slice stays
  delete  gives the slice back, at once: stop first what is to be saved

It needs gcloud, logged in. Slices cost money until they are deleted, also when their work is done.

Exit codes: 0 finished; 2 an error that you can put right, gcloud's or the command's; 75 stopped by `stop`;
130 Ctrl-C; 1 failed --max_restarts times in a row.
"""

import re
import shlex
import sys
import time
from collections.abc import Sequence

from absl import app, flags
from code_archive import location, pack, packing
from gcloud import NotFound, Unreachable, stream
from restarts import MISTAKES, Restarts
from rich.console import Console
from tpu_slice import UNPACK, Slice, acquire, ask, delete, host_command, install, look, say
from tpu_training import DONE, MISTAKE, STOPPED, summary, train

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError

VERBS = ("create", "setup", "run", "status", "logs", "stop", "delete")
NAME = flags.DEFINE_string("name", None, "of the slice: small letters, digits and hyphens", required=True)
ZONE = flags.DEFINE_string("zone", None, "where it is, such as europe-west4-a; left out, gcloud's default")
PROJECT = flags.DEFINE_string("project", None, "of Google Cloud; left out, gcloud's default")
ACCELERATOR_TYPE = flags.DEFINE_string("accelerator_type", None, "of a new slice, such as v3-128")
RUNTIME_VERSION = flags.DEFINE_string(
    "runtime_version", None, "what a new slice's hosts run; left out, Google's image for the accelerator"
)
SPOT = flags.DEFINE_bool("spot", False, "a cheaper slice, which may be taken back at any time")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "of run: gs://BUCKET/DIRECTORY, where the run keeps everything"
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print the commands, ready to be copied, and do nothing")
WORKER = flags.DEFINE_string("worker", "0", "whose logs: a number, or all")
LINES = flags.DEFINE_integer("lines", 50, "how much of the logs", lower_bound=1)
FOLLOW = flags.DEFINE_bool("follow", False, "go on printing logs as they grow")
DELETE_WHEN_FINISHED = flags.DEFINE_bool(
    "delete_when_finished", False, "of run: delete the slice at exit code 0"
)
MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts", 10, "how often to start again after failures in a row", lower_bound=0
)
POLL_SECONDS = flags.DEFINE_float("poll_seconds", 30.0, "between two looks at the slice", lower_bound=0.01)


def run(tpu: Slice, command: Sequence[str]) -> int:
    """Does the training from wherever it stands; returns the exit code."""
    outcome, reports = train(tpu, command, Restarts(MAX_RESTARTS.value))
    if outcome == MISTAKE:
        worker = next(name for name, host in reports.items() if host.exit_code in MISTAKES)
        ask(tpu, "kill")
        say(f"exit code {reports[worker].exit_code}; the end of the output of host {worker}:")
        logs(tpu, worker, 20)
    if outcome == DONE:
        say("finished")
    if outcome == STOPPED:
        say("stopped on request")
    if outcome == DONE and DELETE_WHEN_FINISHED.value:
        delete(tpu)
        say("the slice is deleted")
    else:
        say(f"the slice is still there, and costs: {_again('delete')}")
    return {DONE: 0, MISTAKE: EXIT_ERROR, STOPPED: EXIT_RESUMABLE}.get(outcome, 1)


def status(tpu: Slice) -> int:
    """Prints the slice's state and each host's."""
    state = look(tpu)
    print(f"{tpu.name}: {state.name or 'there is no such slice'} {state.message}".rstrip())
    if state.name == "ACTIVE":
        reports = ask(tpu, "poll")
        for worker in sorted(reports, key=lambda name: (len(name), name)):
            host = reports[worker]
            code = "" if host.exit_code is None else f" with exit code {host.exit_code}"
            print(f"host {worker}: {host.state}{code}  {host.last_line}")
        if len(reports) < state.hosts:
            print(f"{state.hosts - len(reports)} of {state.hosts} hosts do not answer, or are not set up")
    return 0


def logs(tpu: Slice, worker: str, lines: int, follow: bool = False) -> int:
    """Prints the end of the output of one host, or of "all"."""
    command = host_command("logs", str(lines), *(["-F"] if follow else []))
    return stream(tpu.on_hosts(command, worker))


def stop(tpu: Slice) -> int:
    """Has the training save, and waits until it has ended."""
    reports = ask(tpu, "stop")
    if not reports:
        raise UserError(f"no host of {tpu.name} answers: {_again('status')}")
    with Console().status("the training saves and ends"):
        while any(host.state == "running" for host in reports.values()):
            time.sleep(tpu.poll_seconds)
            reports = ask(tpu, "poll") or reports
    say(summary(reports, len(reports)))
    return 0


def commands(verb: str, tpu: Slice, command: Sequence[str]) -> list[str]:
    """What the verb runs when nothing goes wrong, in order, for a shell."""
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
    """Does what the verb says; returns the exit code."""
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
            if any(host.state == "running" for host in ask(tpu, "poll").values()):
                raise UserError(f"a training runs there; first: {_again('stop')}")
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
            say("deleted" if delete(tpu) else f"there is no slice {tpu.name}")
    return 0


def parse(argv: Sequence[str]) -> list[str]:
    """Parses VERB FLAGS -- COMMAND; returns the verb and the command's words.

    Raises:
      UserError: something is missing or misspelt.
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
                f"--workdir={WORKDIR.value}: give gs://BUCKET/DIRECTORY, before the --; what is on the slice "
                "goes with it"
            )
    return [verb, *command]


def _again(verb: str) -> str:
    place = [f"--{flag.name}={flag.value}" for flag in (NAME, ZONE, PROJECT) if flag.value]
    return shlex.join(["python", "launch/tpu_pod.py", verb, *place])


def _run(words: Sequence[str]) -> int:
    try:
        return main(words[0], words[1:])
    except KeyboardInterrupt:
        if words[0] in ("create", "run"):
            say(
                "no longer watching; a request stays in the queue and a training goes on. The same command "
                f"watches it again; {_again('stop')} has it save and end; {_again('delete')} gives it up"
            )
        return EXIT_INTERRUPTED
    except (UserError, NotFound, Unreachable) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR


if __name__ == "__main__":
    try:
        app.run(_run, flags_parser=parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
