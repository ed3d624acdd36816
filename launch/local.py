"""Runs a training command as several processes on this machine: what a pod does, in small.

  python launch/local.py --processes=4 -- python -m biggan_jax.train \\
      --config=configs/fashion_mnist.py --workdir=runs/four
  python launch/local.py --processes=2 --devices=2 -- python -m biggan_jax.train \\
      --config=configs/fashion_mnist.py --workdir=runs/two_by_two

Every process runs COMMAND with --coordinator_address, --num_processes and --process_id after it, and a number
before each line of its output. When one ends with an error, the others do too, and all are started again:
the run goes on from its last checkpoint. Ctrl-C and SIGTERM are passed on, and the processes save.

Exit codes: 0 all finished; 2 a process found an error that you can put right, and is not started again; 75
and 130 saved after SIGTERM and Ctrl-C; 1 failed more than --max_restarts times in a row.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from absl import flags
from restarts import MISTAKES, Restarts

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError

PROCESSES = flags.DEFINE_integer("processes", 2, "how many processes", lower_bound=1)
DEVICES = flags.DEFINE_integer(
    "devices", None, "simulated CPU devices of each process; left out, JAX takes what it finds", lower_bound=1
)
MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts", 10, "how often to start again after failures in a row", lower_bound=0
)

SECONDS_TO_END = 60  # for the others, when one has failed; after that they are killed


class Processes:
    """One start of the command in all its processes.

    Raises:
      UserError: the command cannot be run.
    """

    def __init__(self, command: Sequence[str], count: int, devices: int | None):
        address = f"localhost:{_free_port()}"
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
                    start_new_session=True,  # so that Ctrl-C comes to them once, from here
                )
            except OSError as error:
                raise UserError(f"{command[0]!r} cannot be run: {error.strerror}") from error
            self._running.append(process)
            threading.Thread(target=_copy, args=(index, process.stdout), daemon=True).start()

    def send(self, number: int) -> None:
        """Passes a signal on to those that still run."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> list[int]:
        """The exit codes of all, in order; negative for what a signal ended.

        Those that have not ended `SECONDS_TO_END` after the first failure are killed.
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
    """Starts the processes, and starts them again, until they are done; returns the exit code."""
    command = list(argv[1:])
    if not command:
        raise UserError("give the command after --, such as python -m biggan_jax.train …")
    asked: list[int] = []  # signals that came to this process
    processes: Processes | None = None

    def pass_on(number: int, _: object) -> None:
        asked.append(number)
        if processes:
            processes.send(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    restarts = Restarts(MAX_RESTARTS.value)
    while True:
        processes = Processes(command, PROCESSES.value, DEVICES.value)
        if asked:  # while they were being started
            processes.send(asked[-1])
        codes = processes.wait()
        if not any(codes):
            return 0
        if MISTAKES.intersection(codes):
            return EXIT_ERROR
        if asked:
            return EXIT_INTERRUPTED if asked[0] == signal.SIGINT else EXIT_RESUMABLE
        if not restarts.another(codes):
            return 1


def _copy(index: int, output: IO[bytes]) -> None:
    for line in output:
        sys.stdout.buffer.write(b"%d| " % index + line)
        sys.stdout.flush()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    cli.run(main, arguments=True)
