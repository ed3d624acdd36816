"""The meeting of a run's processes before JAX connects them.

JAX's runtime aborts a process whose partners do not come, with a stack trace and without their names. The
first process therefore listens at the coordinator's address beforehand, until all have said who they are. If
some are missing when the time is up, every process that did come learns which, and says so.
"""

import contextlib
import json
import socket
import time
from typing import Any

from biggan_jax.runtime.errors import UserError

ARRIVAL_SECONDS = 120.0  # in which all processes have to come, by default
_GREETING_SECONDS = 2.0  # in which a process that has connected says who it is; others connect by mistake
_ANSWER_SECONDS = 10.0  # that the first process may take after the time is up
_LONGEST_LINE = 4096


class MissingError(Exception):
    """Processes of the run cannot be reached; the message names them."""


def meet(address: str, count: int, index: int, seconds: float) -> None:
    """Waits until all processes of a run have come.

    Args:
      address: HOST:PORT at which the first process listens.
      count: Number of processes.
      index: Index of this process.
      seconds: Time in which all have to come.

    Raises:
      MissingError: Some have not come, or the first cannot be reached.
      UserError: The first process cannot listen at the address.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    deadline = time.monotonic() + seconds
    if index == 0:
        _wait_for_all(address, host, int(port), count, deadline)
    else:
        _report_to_first(address, host, int(port), index, deadline)


def _wait_for_all(address: str, host: str, port: int, count: int, deadline: float) -> None:
    """Collects the other processes, and tells each of them how it ended."""
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(_listener(host, port))
        except OSError as error:
            raise UserError(
                f"--coordinator_address={address}: the first process cannot listen there "
                f"({error.strerror or error}); give a free port of its machine"
            ) from error
        arrived: dict[int, socket.socket] = {}
        while len(arrived) < count - 1 and (left := deadline - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                break
            stack.enter_context(connection)
            greeting = _receive(connection, _GREETING_SECONDS)
            if isinstance(greeting, dict) and greeting.get("index") in range(1, count):
                arrived[greeting["index"]] = connection
        missing = [index for index in range(1, count) if index not in arrived]
        for connection in arrived.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps({"missing": missing}).encode() + b"\n")
        for connection in arrived.values():
            _receive(connection, _GREETING_SECONDS)  # it closes first, so that the port is free at once
    if missing:
        raise MissingError(_did_not_come(missing, count))


def _report_to_first(address: str, host: str, port: int, index: int, deadline: float) -> None:
    """Says who this process is, and hears whether all have come."""
    reason: Any = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=max(left, 1.0)) as connection:
                connection.sendall(json.dumps({"index": index}).encode() + b"\n")
                answer = _receive(connection, deadline + _ANSWER_SECONDS - time.monotonic())
        except OSError as error:
            reason = error.strerror or error
        else:
            if isinstance(answer, dict) and isinstance(answer.get("missing"), list):
                if answer["missing"]:
                    raise MissingError(_did_not_come(answer["missing"], None))
                return
            reason = "it ended the connection"
        time.sleep(0.2)
    raise MissingError(f"process 0 cannot be reached at {address} from {socket.gethostname()} ({reason})")


def _listener(host: str, port: int) -> socket.socket:
    if host in ("localhost", "::1") or host.startswith("127."):
        family = socket.AF_INET6 if host == "::1" else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _receive(connection: socket.socket, seconds: float) -> Any:
    """Returns the JSON value of one line; None if none comes."""
    connection.settimeout(max(seconds, 0.1))
    try:
        with connection.makefile("rb") as lines:
            return json.loads(lines.readline(_LONGEST_LINE))
    except (OSError, ValueError):
        return None


def _did_not_come(missing: list[int], count: int | None) -> str:
    of = f" of {count}" if count else ""
    named = ", ".join(map(str, missing[:20])) + (" …" if len(missing) > 20 else "")
    return f"process{'es' if len(missing) > 1 else ''} {named}{of} did not come"
