"""Watches a training on a TPU slice, and restores it after each kind of interruption."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from biggan_jax.runtime.errors import UserError

from .code_archive import location, pack
from .gcloud import NotFound, Unreachable
from .restarts import MISTAKES, Restarts
from .tpu_slice import (
    TAKEN_BACK,
    Host,
    Slice,
    State,
    acquire,
    delete,
    install,
    log,
    read_state,
    run_on_hosts,
)

PATIENCE = 6  # polls of hosts that still run after others have failed, or that do not answer
DONE, MISTAKE, STOPPED, RUNNING, ENDING, ENDED = "done", "mistake", "stopped", "running", "ending", "ended"


def combined_state(reports: Mapping[str, Host]) -> str:
    """Combines the reports of the hosts into the state of the training.

    A host that does not answer is no failure, because a process that has lost another one ends by itself.

    Args:
      reports: Reports by worker number.

    Returns:
      DONE, MISTAKE, STOPPED or RUNNING; ENDING if a process has failed and others still run; ENDED if a
      process has failed and none runs.
    """
    states = {host.state for host in reports.values()}
    codes = {host.exit_code for host in reports.values()}
    if codes & MISTAKES:
        return MISTAKE
    if codes == {0}:
        return DONE
    if "stopped" in states and "running" not in states:
        return STOPPED
    if codes - {0, None} or "gone" in states or "idle" in states:
        return ENDING if "running" in states else ENDED
    return RUNNING


def train(tpu: Slice, command: Sequence[str], restarts: Restarts) -> tuple[str, dict[str, Host]]:
    """Creates the slice and starts the training, as far as needed, and watches it until it ends.

    Args:
      tpu: The slice.
      command: Words of the training command.
      restarts: Count of failures in a row.

    Returns:
      DONE, MISTAKE or STOPPED, or ENDED after too many failures in a row; and the last reports of the hosts.

    Raises:
      UserError: The slice cannot be created or set up, was deleted, or runs another command.
    """
    hosts = acquire(tpu)
    states = [host.state for host in run_on_hosts(tpu, "poll", *command).values()]
    if "busy" in states:
        raise UserError(f"another command runs on {tpu.name}: wait until it ends, or stop it first")
    if "running" in states:
        log("the training already runs: watching it")
        started = states == ["running"] * hosts or _start(tpu, hosts, "start", command)
    else:
        pack(tpu.name)
        started = _install_and_start(tpu, hosts, command)
    while True:
        outcome, reports = _watch(tpu, hosts) if started else (_present(tpu).name, {})
        if outcome in (DONE, MISTAKE, STOPPED):
            return outcome, reports
        if outcome not in TAKEN_BACK:
            codes = [host.state if host.exit_code is None else host.exit_code for host in reports.values()]
            if not restarts.another(codes or ["a host does not answer"]):
                return ENDED, reports
            if outcome == ENDED:
                started = _start(tpu, hosts, "restart", command)
                continue
            log("a host is dead: creating the slice again")
            delete(tpu)
        hosts = acquire(tpu, again=True)
        if not location(tpu.name).exists():  # another machine started the run
            pack(tpu.name)
        started = _install_and_start(tpu, hosts, command)


def summary(reports: Mapping[str, Host], hosts: int) -> str:
    """Returns how many hosts are in each state, as `of 4 hosts 3 running, 1 do not answer`."""
    counts = Counter(
        host.state + ("" if host.exit_code is None else f" with {host.exit_code}")
        for host in reports.values()
    )
    if hosts > len(reports):
        counts["do not answer"] = hosts - len(reports)
    return f"of {hosts} hosts " + ", ".join(f"{count} {state}" for state, count in counts.items())


def _install_and_start(tpu: Slice, hosts: int, command: Sequence[str]) -> bool:
    """Installs the code and starts the command; returns False if the slice is taken back meanwhile."""
    try:
        install(tpu, str(location(tpu.name)))
    except (NotFound, Unreachable, UserError):
        if _present(tpu).name in TAKEN_BACK:
            return False
        raise
    return _start(tpu, hosts, "start", command)


def _start(tpu: Slice, hosts: int, verb: str, command: Sequence[str]) -> bool:
    """Starts the command on all hosts.

    If no host answers, the connection may be broken, so this waits.

    Returns:
      Whether all hosts have started it; False if the slice was taken back or some hosts do not answer.
    """
    patience = PATIENCE
    while patience:
        reports = run_on_hosts(tpu, verb, *command)
        if len(reports) == hosts:
            return True
        if _present(tpu).name in TAKEN_BACK:
            return False
        patience -= bool(reports)
        time.sleep(tpu.poll_seconds)
    return False


def _present(tpu: Slice) -> State:
    """Reads the state of the slice, and takes it for ACTIVE while Google Cloud cannot be reached.

    Raises:
      UserError: The slice was deleted.
    """
    try:
        state = read_state(tpu)
    except Unreachable as error:
        log(f"no answer, polling again; a training continues meanwhile: {error}")
        return State("ACTIVE")
    if state.name in (None, "DELETING"):
        raise UserError(f"{tpu.name} was deleted; the same command creates it again and continues")
    return state


def _watch(tpu: Slice, hosts: int) -> tuple[str, dict[str, Host]]:
    """Waits until the training ends or the slice is taken back.

    It kills processes that still run long after others have failed. A host that does not answer after the
    others have ended counts as dead.

    Returns:
      The combined state of the hosts (ENDING for a dead host) or the state of the slice that was taken back;
      and the last reports.
    """
    patience, previous = PATIENCE, ""
    with Console().status("watching") as watching:
        while True:
            reports = run_on_hosts(tpu, "poll")
            state_of_run = combined_state(reports)
            counts = summary(reports, hosts)
            if counts != previous:
                log(counts)
                previous = counts
            line = f"{counts}: {reports['0'].last_line}" if "0" in reports else counts
            watching.update(Text(line))  # "[/job:host]" in it is not markup
            if len(reports) < hosts and state_of_run not in (DONE, MISTAKE, STOPPED):
                state = _present(tpu)
                if state.name in TAKEN_BACK:
                    log(f"the slice was taken back: {state.name} {state.message}".rstrip())
                    return state.name, reports
                if reports and state_of_run == ENDED:
                    state_of_run = ENDING
            if state_of_run not in (RUNNING, ENDING):
                return state_of_run, reports
            patience = patience - 1 if state_of_run == ENDING else PATIENCE
            if patience < 0:
                if len(reports) < hosts:
                    return ENDING, reports
                run_on_hosts(tpu, "kill")
            time.sleep(tpu.poll_seconds)
