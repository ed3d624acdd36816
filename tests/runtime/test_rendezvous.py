"""The meeting of processes: all come, one does not, nobody listens, and somebody else calls."""

import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from biggan_jax.runtime.errors import EXIT_RESUMABLE, UserError
from biggan_jax.runtime.rendezvous import MissingError, meet

JOIN = "import sys; from biggan_jax.runtime import processes; "


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return f"localhost:{listener.getsockname()[1]}"


def meet_all(address: str, count: int, coming: list[int], seconds: float) -> dict[int, str]:
    """Returns what each process that comes is told: nothing, or who is missing."""
    told = {}

    def come(index):
        try:
            meet(address, count, index, seconds)
            told[index] = ""
        except MissingError as error:
            told[index] = str(error)

    threads = [threading.Thread(target=come, args=(index,)) for index in coming]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return told


def test_processes_that_all_come_meet_in_any_order_and_leave_the_port_free():
    address = free_address()
    assert meet_all(address, 4, [3, 1, 2, 0], 20) == dict.fromkeys(range(4), "")
    assert meet_all(address, 2, [0, 1], 20) == {0: "", 1: ""}


def test_every_process_that_came_is_told_who_did_not():
    told = meet_all(free_address(), 5, [0, 1, 3], 1.0)
    assert told == {
        0: "processes 2, 4 of 5 did not come",
        1: "processes 2, 4 did not come",
        3: "processes 2, 4 did not come",
    }


def test_without_the_first_process_its_address_is_named():
    address = free_address()
    started = time.monotonic()
    told = meet_all(address, 2, [1], 0.5)
    assert re.fullmatch(rf"process 0 cannot be reached at {address} from .* \(Connection refused\)", told[1])
    assert time.monotonic() - started < 5


def test_a_stranger_who_calls_is_no_process():
    address = free_address()
    host, port = address.split(":")
    threading.Timer(
        0.2, lambda: socket.create_connection((host, int(port))).sendall(b"GET / HTTP/1.1\n")
    ).start()
    assert meet_all(address, 2, [0], 1.0) == {0: "process 1 of 2 did not come"}


def test_an_address_in_use_is_refused():
    with socket.create_server(("localhost", 0)) as listener:
        with pytest.raises(UserError, match="the first process cannot listen there .*; give a free port"):
            meet(f"localhost:{listener.getsockname()[1]}", 2, 0, 5)


def test_a_run_without_all_of_its_processes_ends_with_one_line_and_may_be_started_again():
    script = JOIN + "processes.join(sys.argv[1], 2, 0, 0.5)"
    run = subprocess.run([sys.executable, "-c", script, free_address()], capture_output=True, text=True)
    assert run.returncode == EXIT_RESUMABLE
    assert run.stderr == (
        "error: process 1 of 2 did not come, within 0.5 s (--arrival_seconds): see that every process runs "
        "and can reach the first, then start all of them again\n"
    )


def test_under_a_cluster_that_brings_no_partner_the_process_does_not_abort():
    environment = {
        "SLURM_JOB_ID": "1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
    }
    script = JOIN + "processes.join(arrival_seconds=1)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment | {"PYTHONPATH": "."}
    )
    assert run.returncode == EXIT_RESUMABLE, run.stderr
    assert run.stderr.startswith("error: other processes of the run did not come") and "***" not in run.stderr
