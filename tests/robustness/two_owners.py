"""A second process is refused where a first is at work; a killed one leaves the place free.

  python tests/robustness/two_owners.py
  python tests/robustness/two_owners.py --rounds=1 --only=train

The first process is stopped while it holds its lock (SIGSTOP), and the second is started. Then the first goes
on to its end, or is killed and the place is taken over.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from tally import Tally
from tiny_commands import COMMANDS, SECONDS, Command, differences, make_inputs

ROUNDS = 4  # of each command: the first ends well in one half, and is killed in the other


def main(rounds: int = ROUNDS, only: Collection[str] = tuple(COMMANDS)) -> Tally:
    """Starts two processes of each command for one place."""
    tally = Tally("two owners of one place")
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(temporary) / "inputs"
        inputs.mkdir()
        make_inputs(inputs, with_run=bool({*only} - {"train", "prepare"}))
        for name in only:
            command, unharmed = COMMANDS[name], Path(temporary) / f"{name}-alone"
            unharmed.mkdir()
            alone = command.run(inputs, unharmed)
            if alone.returncode:
                tally.failed(f"{name}, alone: {alone.stderr[-300:]}")
                continue
            expected = command.digest(unharmed)
            for number in range(rounds):
                folder = Path(temporary) / f"{name}-{number}"
                folder.mkdir()
                _try(tally, command, inputs, folder, number % 2 == 1)
                different = differences(expected, command.digest(folder))
                tally.check(not different, f"{name}, round {number}: different: {', '.join(different)}")
    return tally


def _try(tally: Tally, command: Command, inputs: Path, folder: Path, killed: bool) -> None:
    """Starts a second process beside a first that holds the lock, then ends or kills the first."""
    with command.start(inputs, folder) as first:
        if not _holds(first, folder / command.lock):
            tally.failed(f"{command.name}: it ended before it was seen to hold {command.lock}")
            return
        os.killpg(first.pid, signal.SIGSTOP)
        started = time.monotonic()
        second = command.run(inputs, folder)
        refused = f"process {first.pid} on {os.uname().nodename} is at work there" in second.stderr
        if second.returncode == 2 and refused:
            tally.refused()
        else:
            tally.failed(f"{command.name}, the second: {second.returncode}: {second.stderr[-300:]}")
        if time.monotonic() - started > SECONDS / 5:
            tally.failed(f"{command.name}: the second was refused too late")
        os.killpg(first.pid, signal.SIGKILL if killed else signal.SIGCONT)
        _, err = first.communicate(timeout=SECONDS)
        if not killed:
            tally.check(first.returncode == 0, f"{command.name}, the first: {first.returncode}: {err[-300:]}")
    if killed:
        third = command.run(inputs, folder)
        tally.check(
            third.returncode == 0, f"{command.name}, the third: {third.returncode}: {third.stderr[-300:]}"
        )


def _holds(process: subprocess.Popen[str], lock: Path) -> bool:
    """Waits until a process has written its number to the lock file; returns whether it has."""
    while process.poll() is None:
        if lock.exists() and str(process.pid) in lock.read_text():
            return True
        time.sleep(0.005)
    return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="number of rounds of each command")
    parser.add_argument("--only", action="append", choices=list(COMMANDS), help="command; may be repeated")
    options = parser.parse_args()
    sys.exit(main(options.rounds, options.only or tuple(COMMANDS)).report())
