"""The process that holds a lock or a lease, as the lock file or the lease's object describes it."""

import dataclasses
import json
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Holder:
    """A process that holds something.

    Attributes:
      host: Name of its machine.
      pid: Number of the process there.
      machine: Boot of the machine and namespace of its process numbers; empty where the system has neither.
      token: Random word that no other holder has.
    """

    host: str
    pid: int
    machine: str
    token: str

    def __str__(self) -> str:
        """Returns host and number, for messages."""
        return f"process {self.pid} on {self.host}"

    @staticmethod
    def of_this_process() -> "Holder":
        """Returns a holder for this process."""
        holder = Holder(socket.gethostname(), os.getpid(), _machine(), secrets.token_hex(8))
        _TOKENS.add(holder.token)
        return holder

    @staticmethod
    def read(content: str | bytes) -> "Holder | None":
        """Returns the holder that `content` describes; None if it describes none."""
        try:
            fields = json.loads(content)
            return Holder(*(kind(fields[name]) for name, kind in _FIELDS.items()))
        except (ValueError, TypeError, KeyError):
            return None

    def write(self, **more: Any) -> str:
        """Returns the description that `read` reads, with further fields for a person."""
        return json.dumps(dataclasses.asdict(self) | more)

    def is_gone(self) -> bool:
        """Returns whether the process has certainly ended: it ran on this machine, and it runs no more."""
        if not self.machine or self.machine != _machine():
            return False
        if self.pid == os.getpid():  # a container that was started again has the same numbers
            return self.token not in _TOKENS
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


_TOKENS: set[str] = set()  # of this process
_FIELDS: dict[str, Callable[[Any], Any]] = {"host": str, "pid": int, "machine": str, "token": str}


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
