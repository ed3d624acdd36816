r"""Runs a training command as several processes on this machine, as a pod does on several hosts.

  python launch/local.py --processes=4 -- python -m biggan_jax.train \
      --config=configs/fashion_mnist.py --workdir=runs/four
  python launch/local.py --processes=2 --devices=2 -- python -m biggan_jax.train \
      --config=configs/fashion_mnist.py --workdir=runs/two_by_two

Each process runs COMMAND with --coordinator_address, --num_processes and --process_id appended. Each line of
its output begins with the number of the process. When one process ends with an error, the others end too, and
all start again: the run continues from its last checkpoint. The launcher passes Ctrl-C and SIGTERM on to the
processes, which save and end. All processes read the data themselves, from the disk of this machine.

Exit codes: 0 all processes finished; 2 a user error, which is not started again; 75 and 130 saved after
SIGTERM and Ctrl-C; 1 more than --max_restarts failures in a row.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

if not __package__:  # run as a file: the modules beside it belong to the package launch all the same
    sys.path[0], __package__ = str(Path(__file__).resolve().parents[1]), "launch"

from biggan_jax.runtime import cli, command_flags, ranges
from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError
from biggan_jax.runtime.interruption import STOPPING

from .restarts import MISTAKES, Restarts

PROCESSES = command_flags.integer("processes", 2, "number of processes", ranges.up_to(256))
DEVICES = command_flags.integer(
    "devices",
    None,
    "number of simulated CPU devices in each process; by default each process uses the devices that it finds",
    ranges.up_to(1_024),
)
MAX_RESTARTS = command_flags.integer(
    "max_restarts", 10, "number of restarts after failures in a row", ranges.from_0_up_to(1_000_000)
)

LOOPBACK = "127.0.0.1"
SECONDS_TO_END = 60  # for the other processes after one has failed; then they are killed


class Processes:
    """The processes of one start of the command.

    Args:
      command: Words of the command.
      count: Number of processes.
      devices: Number of simulated CPU devices in each process; None for the devices of this machine.

    Raises:
      UserError: The command cannot be run.
    """

    def __init__(self, command: Sequence[str], count: int, devices: int | None):
        address = f"{LOOPBACK}:{_free_port()}"
        environment = dict(os.environ)
        if devices:
            environment["JAX_PLATFORMS"] = "cpu"
            simulated = f"--xla_force_host_platform_device_count={devices}"
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {simulated}".strip()
        self._running: list[subprocess.Popen] = []
        for index in range(count):
            place = [f"--coordinator_address={address}", f"--num_processes={count}", f"--process_id={index}"]
            try:
                process = subprocess.Popen(
                    [*command, *place],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that Ctrl-C reaches them once, from this launcher
                )
            except OSError as error:
                raise UserError(f"{command[0]!r} cannot be run: {error.strerror}") from error
            self._running.append(process)
            threading.Thread(target=_copy, args=(index, process.stdout), daemon=True).start()

    def send(self, number: int) -> None:
        """Sends a signal to the processes that still run."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> list[int]:
        """Waits for all processes; kills those that still run `SECONDS_TO_END` after the first failure.

        Returns:
          Their exit codes, in order; negative for a process that a signal ended.
        """
        deadline = None
        while any(process.poll() is None for process in self._running):
            if deadline is None and any(process.poll() not in (None, 0) for process in self._running):
                deadline = time.monotonic() + SECONDS_TO_END
            if deadline is not None and time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.1)
        return [process.returncode for process in self._running]


def main(argv: Sequence[str]) -> int:
    """Starts the processes, again after failures, until they are finished; returns the exit code."""
    command = list(argv[1:])
    if not command:
        raise UserError("give the command after --, such as python -m biggan_jax.train …")
    received: list[int] = []  # signals that this process got
    processes: Processes | None = None

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        if processes:
            processes.send(number)

    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    restarts = Restarts(MAX_RESTARTS.value)
    while True:
        processes = Processes(command, PROCESSES.value, DEVICES.value)
        if received:  # while the processes started
            processes.send(received[-1])
        codes = processes.wait()
        if not any(codes):
            return 0
        if MISTAKES.intersection(codes):
            return EXIT_ERROR
        if received:
            return EXIT_INTERRUPTED if received[0] == signal.SIGINT else EXIT_RESUMABLE
        if not restarts.another(codes):
            return 1


def _copy(index: int, output: IO[bytes]) -> None:
    for line in output:
        sys.stdout.buffer.write(b"%d| " % index + line)
        sys.stdout.flush()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    cli.run(main, arguments=True)
