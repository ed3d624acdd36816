"""A training on a TPU slice, watched through its interruptions; what is done about each of them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from code_archive import location, pack
from gcloud import NotFound, Unreachable
from restarts import MISTAKES, Restarts
from rich.console import Console
from rich.text import Text
from tpu_slice import TAKEN, Host, Slice, State, acquire, ask, delete, install, look, say

from biggan_jax.runtime.errors import UserError

PATIENCE = 6  # looks at hosts that don't end when others have, or don't answer, before something is done
DONE, MISTAKE, STOPPED, RUNNING, ENDING, ENDED = "done", "mistake", "stopped", "running", "ending", "ended"


def judge(reports: Mapping[str, Host]) -> str:
    """What the hosts' reports mean together.

    RUNNING also where some don't answer, as long as no other shows a failure: a process that has lost another
    ends by itself. ENDING: something failed, and not all have ended; ENDED: all have.
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
    """Does the training from wherever it stands.

    Returns:
      DONE, MISTAKE or STOPPED; ENDED if it failed more often in a row than `restarts` allows; and the hosts'
      last reports.

    Raises:
      UserError: the slice cannot be had or set up, was deleted by somebody, or runs another command.
    """
    hosts = acquire(tpu)
    states = [host.state for host in ask(tpu, "poll", *command).values()]
    if "busy" in states:
        raise UserError(f"another command runs on {tpu.name}: wait until it is finished, or stop it first")
    if "running" in states:
        say("the training runs there already: watching it")
        started = states == ["running"] * hosts or _start(tpu, hosts, "start", command)
    else:
        pack(tpu.name)
        started = _install_and_start(tpu, hosts, command)
    while True:
        outcome, reports = _watch(tpu, hosts) if started else (_present(tpu).name, {})
        if outcome in (DONE, MISTAKE, STOPPED):
            return outcome, reports
        if outcome not in TAKEN:
            codes = [host.state if host.exit_code is None else host.exit_code for host in reports.values()]
            if not restarts.another(codes or ["a host does not answer"]):
                return ENDED, reports
            if outcome == ENDED:
                started = _start(tpu, hosts, "restart", command)
                continue
            say("a host is dead: creating the slice again")
            delete(tpu)
        hosts = acquire(tpu, again=True)
        if not location(tpu.name).exists():  # the run was begun from another machine
            pack(tpu.name)
        started = _install_and_start(tpu, hosts, command)


def summary(reports: Mapping[str, Host], hosts: int) -> str:
    """How many hosts are in which state."""
    counts = Counter(
        host.state + ("" if host.exit_code is None else f" with {host.exit_code}")
        for host in reports.values()
    )
    if hosts > len(reports):
        counts["do not answer"] = hosts - len(reports)
    return f"of {hosts} hosts " + ", ".join(f"{count} {state}" for state, count in counts.items())


def _install_and_start(tpu: Slice, hosts: int, command: Sequence[str]) -> bool:
    """Like `_start`; False also when the slice is taken back meanwhile."""
    try:
        install(tpu, str(location(tpu.name)))
    except (NotFound, Unreachable, UserError):
        if _present(tpu).name in TAKEN:
            return False
        raise
    return _start(tpu, hosts, "start", command)


def _start(tpu: Slice, hosts: int, verb: str, command: Sequence[str]) -> bool:
    """Starts the command on all hosts; False if the slice is taken, or some hosts stay silent.

    If none answers, it may be the way there that is broken: that is waited for.
    """
    patience = PATIENCE
    while patience:
        reports = ask(tpu, verb, *command)
        if len(reports) == hosts:
            return True
        if _present(tpu).name in TAKEN:
            return False
        patience -= bool(reports)
        time.sleep(tpu.poll_seconds)
    return False


def _present(tpu: Slice) -> State:
    """The slice's state; ACTIVE when Google Cloud is out of reach: no news is no reason to act.

    Raises:
      UserError: somebody has deleted the slice.
    """
    try:
        state = look(tpu)
    except Unreachable as error:
        say(f"no answer, trying on; a training goes on meanwhile: {error}")
        return State("ACTIVE")
    if state.name in (None, "DELETING"):
        raise UserError(f"{tpu.name} was deleted; the same command creates it again and goes on")
    return state


def _watch(tpu: Slice, hosts: int) -> tuple[str, dict[str, Host]]:
    """Waits for the end of the training or of the slice; returns `judge`'s word or the slice's, and reports.

    Processes that hang when others have failed are killed. ENDING comes back when a host stays silent after
    the others have ended: it counts as dead.
    """
    patience, said = PATIENCE, ""
    with Console().status("watching") as watching:
        while True:
            reports = ask(tpu, "poll")
            verdict = judge(reports)
            counts = summary(reports, hosts)
            if counts != said:
                say(counts)
                said = counts
            line = f"{counts}: {reports['0'].last_line}" if "0" in reports else counts
            watching.update(Text(line))  # [/job:host] in it is no markup
            if len(reports) < hosts and verdict not in (DONE, MISTAKE, STOPPED):
                state = _present(tpu)
                if state.name in TAKEN:
                    say(f"the slice was taken back: {state.name} {state.message}".rstrip())
                    return state.name, reports
                if reports and verdict == ENDED:
                    verdict = ENDING
            if verdict not in (RUNNING, ENDING):
                return verdict, reports
            patience = patience - 1 if verdict == ENDING else PATIENCE
            if patience < 0:
                if len(reports) < hosts:
                    return ENDING, reports
                ask(tpu, "kill")
            time.sleep(tpu.poll_seconds)
