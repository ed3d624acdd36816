"""Commands are killed at random moments and started again: each ends with the bits of one left alone.

  python tests/robustness/kills.py
  python tests/robustness/kills.py --kills=20 --only=train

The moments are drawn evenly over the time that the command takes. Every second trial is killed twice.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from tally import Tally
from tiny_commands import COMMANDS, Command, differences, make_inputs

KILLS = 10  # trials of each command


def main(kills: int = KILLS, only: Collection[str] = tuple(COMMANDS)) -> Tally:
    """Kills each command several times."""
    tally, rng = Tally("commands killed at random and started again"), random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(temporary) / "inputs"
        inputs.mkdir()
        make_inputs(inputs, with_run=bool({*only} - {"train", "prepare"}))
        for name in only:
            command = COMMANDS[name]
            unharmed = _folder(Path(temporary), f"{name}-unharmed")
            command.run(inputs, unharmed)  # compiles
            unharmed = _folder(Path(temporary), f"{name}-timed")
            started = time.monotonic()
            done = command.run(inputs, unharmed)
            seconds = time.monotonic() - started
            if done.returncode:
                tally.failed(f"{name}, not killed: {done.stderr[-300:]}")
                continue
            expected = command.digest(unharmed)
            for number in range(kills):
                moments = [rng.uniform(0, seconds) for _ in range(1 + number % 2)]
                folder = _folder(Path(temporary), f"{name}-{number}")
                said = " and ".join(f"{moment:.2f}" for moment in moments)
                _try(
                    tally,
                    command,
                    inputs,
                    folder,
                    moments,
                    expected,
                    f"{name} after {said} of {seconds:.2f} s",
                )
    return tally


def _try(
    tally: Tally,
    command: Command,
    inputs: Path,
    folder: Path,
    moments: list[float],
    expected: dict[str, object],
    trial: str,
) -> None:
    for moment in moments:
        _kill_after(command.start(inputs, folder), moment)
    done = command.run(inputs, folder)
    again = done.returncode == 2 and "exists already" in done.stderr  # it was killed when all was written
    if done.returncode and not again:
        tally.failed(f"{trial}: exit code {done.returncode}: {done.stderr[-300:]}")
        return
    different = differences(expected, command.digest(folder))
    tally.check(not different, f"{trial}: different: {', '.join(different)}")


def _kill_after(process: subprocess.Popen[str], seconds: float) -> None:
    """Kills a process and those that it has started, unless it ends before."""
    with process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=KILLS, help="number of trials of each command")
    parser.add_argument("--only", action="append", choices=list(COMMANDS), help="command; may be repeated")
    options = parser.parse_args()
    sys.exit(main(options.kills, options.only or tuple(COMMANDS)).report())
