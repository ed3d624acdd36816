"""Several processes, on one host or on many, as one run: joining, exchanging arrays, and ending together.

On a TPU slice and under SLURM (`srun`) JAX finds the processes by itself. Elsewhere flags give each process
the address at which the first one listens, the number of processes, and its own index. All processes execute
the same steps; only the first reads and writes the workdir. A process that fails exits at once, without
waiting for the others, which may hang in a step that waits for it. They notice its missing heartbeat, or the
broken connection, and exit too.
"""

import math
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_RESUMABLE, UserError
from biggan_jax.runtime.rendezvous import ARRIVAL_SECONDS, MissingError, meet

HEARTBEAT_SECONDS = 30  # a process without a heartbeat for so long counts as lost
CONNECTING_SECONDS = 60  # for JAX to connect the processes that have come
GATHERED_BYTES = 32 << 20  # that each process sends at once
LOOPBACK = re.compile(r"127\.|localhost:|\[::1\]:")
SHUTDOWN_SECONDS = 3600  # in which all processes have to end; the first may still be writing
# Start of the messages of XLA's runtime and its collectives when another process is gone.
_LOST = re.compile("(UNKNOWN|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL): ")


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    arrival_seconds: float = ARRIVAL_SECONDS,
) -> None:
    """Joins the processes of the run; call it before JAX initialises its devices.

    The place of the process is None where the cluster knows it, and for a run of one process. If others do
    not come, the process prints which, and exits with `EXIT_RESUMABLE`.

    Args:
      coordinator_address: HOST:PORT at which the first process listens.
      num_processes: Number of processes.
      process_id: Index of this process, from 0.
      arrival_seconds: Time in which all processes have to come.

    Raises:
      UserError: An argument is missing or out of range.
    """
    given = (coordinator_address, num_processes, process_id)
    if coordinator_address is None or num_processes is None or process_id is None:
        if given != (None, None, None):
            raise UserError(
                f"--coordinator_address={coordinator_address} --num_processes={num_processes} "
                f"--process_id={process_id}: give all three, or none where the cluster knows them"
            )
    else:
        port = re.fullmatch(r".+:(\d{1,5})", coordinator_address)
        if port is None or not 0 < int(port[1]) < 2**16:
            raise UserError(
                f"--coordinator_address={coordinator_address}: give HOST:PORT, with a port from 1 to 65,535"
            )
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--process_id={process_id} of --num_processes={num_processes}: give 0 to {num_processes - 1}"
            )
        if LOOPBACK.match(coordinator_address):  # JAX listens at all addresses of a machine unless told
            os.environ.setdefault("JAX_COORDINATOR_BIND_ADDRESS", coordinator_address)
        if num_processes > 1:
            try:
                meet(coordinator_address, num_processes, process_id, arrival_seconds)
            except MissingError as error:
                _give_up(str(error), arrival_seconds)
    with _patience(arrival_seconds + (CONNECTING_SECONDS if coordinator_address else 0)) as patience:
        try:
            jax.distributed.initialize(
                coordinator_address,
                num_processes,
                process_id,
                initialization_timeout=math.ceil(patience) + CONNECTING_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
        except ValueError as error:
            if "coordinator_address" not in str(error):
                raise
            # Without a cluster this process is the whole run.


@contextmanager
def _patience(seconds: float) -> Iterator[float]:
    """Ends the process if the block takes longer: XLA's runtime would abort it, with a stack trace."""
    said = (
        "other processes of the run did not come, or cannot be reached at the address that the cluster gives"
    )
    timer = threading.Timer(seconds, _give_up, (said, seconds))
    timer.daemon = True
    timer.start()
    try:
        yield seconds
    finally:
        timer.cancel()


def _give_up(missing: str, seconds: float) -> NoReturn:
    """Prints what is missing, and exits: another start of all processes may find it."""
    print(
        f"error: {missing}, within {seconds:g} s (--arrival_seconds): see that every process runs and can "
        "reach the first, then start all of them again",
        file=sys.stderr,
    )
    _leave(EXIT_RESUMABLE)


@contextmanager
def fail_fast() -> Iterator[None]:
    """Exits one process of several at once when the block fails; when it succeeds, waits for the others.

    An ordinary exit would wait for the other processes, which wait for this one. The exit code is that of the
    exception, as `cli.run` gives it; `EXIT_RESUMABLE` if another process failed. A process on its own has the
    exception raised as usual.
    """
    if jax.process_count() == 1:
        yield
        return
    try:
        yield
    except BaseException as error:
        _leave(_report(error))
    jax.distributed.shutdown()


def share(count: int) -> range:
    """Returns this process's share of the numbers 0 … count - 1.

    Shares are consecutive ranges in the order of the processes; their sizes differ by at most one.
    """
    index, processes = jax.process_index(), jax.process_count()
    return range(count * index // processes, count * (index + 1) // processes)


def gather(part: np.ndarray, count: int) -> np.ndarray:
    """Concatenates the processes' shares of an array, and returns the complete array in every process.

    The processes exchange pieces of `GATHERED_BYTES`, so that memory holds the complete array once.

    Args:
      part: Rows of this process: those in `share(count)`.
      count: Number of rows of the complete array.

    Raises:
      ValueError: `part` has another number of rows than this process's share.
    """
    if len(part) != len(share(count)):
        raise ValueError(f"got {len(part)} rows; the share of this process has {len(share(count))}")
    if jax.process_count() == 1:
        return part
    processes = jax.process_count()
    widest = -(-count // processes)
    starts = [count * i // processes for i in range(processes + 1)]
    # As bytes, because JAX would turn float64 into float32.
    rows = np.ascontiguousarray(part).reshape(len(part), math.prod(part.shape[1:])).view(np.uint8)
    width = rows.shape[1]
    whole = np.empty((count, width), np.uint8)
    size = max(1, min(widest, GATHERED_BYTES // width))  # rows of each process in a piece
    for first in range(0, widest, size):
        piece = rows[first : first + size]
        padded = np.pad(piece, ((0, size - len(piece)), (0, 0)))
        for index, theirs in enumerate(multihost_utils.process_allgather(padded)):
            place = whole[starts[index] : starts[index + 1]][first : first + size]
            place[:] = theirs[: len(place)]
    return whole.view(part.dtype).reshape(count, *part.shape[1:])


def _report(error: BaseException) -> int:
    """Prints the error and returns the exit code."""
    name = f"process {jax.process_index()}"
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, UserError):
        print(f"error: {name}: {error}", file=sys.stderr)
        return EXIT_ERROR
    text = str(error)
    if isinstance(error, (RuntimeError, ValueError)) and _LOST.match(text):
        print(f"{name} lost another process: {text.splitlines()[0]}", file=sys.stderr)
        return EXIT_RESUMABLE
    traceback.print_exception(error)
    return 1


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
