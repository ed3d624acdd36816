"""Several processes, on one host or on many, as one run: how they come together, and how they part.

On a TPU slice and under SLURM (`srun`) JAX finds the processes by itself; elsewhere each is told where the
first one listens, how many there are, and which it is. All of them do the same steps; only the first reads
and writes the workdir. When one fails, it leaves without a word, for the others may hang in a step that
waits for it; they learn of it by its missing heartbeat, or by a broken connection, and end too.
"""

import math
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from biggan_jax.runtime.errors import EXIT_ERROR, EXIT_RESUMABLE, UserError

HEARTBEAT_SECONDS = 30  # after so long without one, a process counts as lost
ARRIVAL_SECONDS = 300  # for all to start
GATHERED_BYTES = 32 << 20  # of each process, exchanged at once
PARTING_SECONDS = 3600  # for all to come to the end; the first may still be writing
# How the status of XLA's runtime and of its collectives begins when another process is gone.
_LOST = re.compile("(UNKNOWN|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL): ")


def join(
    coordinator_address: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes of the run; to be called before JAX looks for devices.

    Args:
      coordinator_address: HOST:PORT at which the first process listens; like the other two, None for what
        the cluster says, or for a run of one process where there is none.
      num_processes: how many there are.
      process_id: which this is, from 0.

    Raises:
      UserError: some of the three are missing or out of range, or the others cannot be reached.
    """
    given = (coordinator_address, num_processes, process_id)
    if None in given and given != (None, None, None):
        raise UserError(
            f"--coordinator_address={coordinator_address} --num_processes={num_processes} "
            f"--process_id={process_id}: give all three, or none where the cluster knows them"
        )
    if coordinator_address is not None:
        if not re.fullmatch(r".+:\d+", coordinator_address):
            raise UserError(f"--coordinator_address={coordinator_address}: give HOST:PORT")
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--process_id={process_id} of --num_processes={num_processes}: give 0 to {num_processes - 1}"
            )
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            initialization_timeout=ARRIVAL_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=PARTING_SECONDS,
        )
    except ValueError as error:
        if "coordinator_address" not in str(error):
            raise
        # No cluster, so this process is the whole run.
    except RuntimeError as error:
        raise UserError(
            f"the {num_processes or 'other'} processes did not come together at "
            f"{coordinator_address or 'the address that the cluster gives'} in {ARRIVAL_SECONDS} s: "
            f"{str(error).splitlines()[0]}; is each of them running, and can it reach that address?"
        ) from error


@contextmanager
def fail_fast() -> Iterator[None]:
    """Around the work of one process of several: ends the process at once when the block fails.

    An ordinary exit would wait for the others, which wait for this process. The exit code is that of a
    `UserError`, or of whatever else the block raised; `EXIT_RESUMABLE` if the failure is another process's.
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
    """This process's part of 0 … count - 1: a range, whose sizes differ by one at most among processes."""
    index, processes = jax.process_index(), jax.process_count()
    return range(count * index // processes, count * (index + 1) // processes)


def gather(part: np.ndarray, count: int) -> np.ndarray:
    """All processes' parts of an array of `count` rows, cut by `share`, in order, in every process.

    They are exchanged piece by piece, so that the whole stands in memory once.

    Raises:
      ValueError: `part` has not as many rows as this process's share.
    """
    if len(part) != len(share(count)):
        raise ValueError(f"{len(part)} rows where this process has a share of {len(share(count))}")
    if jax.process_count() == 1:
        return part
    processes = jax.process_count()
    widest = -(-count // processes)
    starts = [count * i // processes for i in range(processes + 1)]
    # As bytes: JAX would make float32 of float64.
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
    """Prints what happened; returns the exit code."""
    name = f"process {jax.process_index()}"
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, UserError):
        print(f"error: {name}: {error}", file=sys.stderr)
        return EXIT_ERROR
    text = str(error)
    if isinstance(error, (RuntimeError, ValueError)) and _LOST.match(text):
        print(f"{name} lost another process: {text.splitlines()[0]}", file=sys.stderr)
        return EXIT_RESUMABLE
    traceback.print_exception(error)
    return 1


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
