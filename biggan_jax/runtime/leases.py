"""A lease on an object in a bucket, where no file can be locked.

The holder rewrites the object every `BEAT_SECONDS`. Each write succeeds only if the object is still the one
that the holder wrote last. A process that finds the object watches it. If the object changes, its holder is
alive; if it stays the same for `LEASE_SECONDS`, the holder is dead, and the process takes the lease over. No
clocks of two machines are compared.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from biggan_jax.runtime.holder import Holder

if TYPE_CHECKING:
    import tensorstore

BEAT_SECONDS = 10.0
LEASE_SECONDS = 60.0
ANSWER_SECONDS = 30.0  # in which the bucket has to answer at the end


class LostLeaseError(Exception):
    """Another process has taken the lease over; `args[0]` is its holder, or None."""


class Lease:
    """A lease that this process acquires, keeps with a thread, and releases.

    Args:
      store: Key-value store with conditional writes.
      key: Key of the lease's object.
    """

    def __init__(self, store: "tensorstore.KvStore", key: str):
        self._store, self._key, self._holder = store, key, Holder.of_this_process()
        self._generation, self._beats, self._renewed = b"", 0, 0.0
        self._lost: LostLeaseError | None = None
        self._mutex, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def acquire(
        self, refuse: Callable[[Holder | None], NoReturn], wait: Callable[[Holder | None], None]
    ) -> None:
        """Acquires the lease, from a dead holder if need be.

        Args:
          refuse: Called with the holder if that is alive; raises.
          wait: Called with the holder before its object is watched.
        """
        while True:
            found = self._store.read(self._key).result()
            if found.state == "value":
                holder = Holder.read(found.value)
                if holder is None or not holder.is_gone():
                    wait(holder)
                    if self._changes(found):
                        refuse(holder)
            if self._write(found.stamp.generation):
                break
        self._thread.start()

    def check(self) -> None:
        """Raises `LostLeaseError` if the lease is lost, and renews it if the thread is late."""
        if not self._lost and time.monotonic() - self._renewed > LEASE_SECONDS / 2:
            self._renew()
        if self._lost:
            raise self._lost

    def release(self) -> None:
        """Removes the lease's object, unless another process has taken it over."""
        self._end.set()
        self._thread.join(ANSWER_SECONDS)
        if not self._lost:
            self._store.write(self._key, None, if_equal=self._generation).result(timeout=ANSWER_SECONDS)

    def _changes(self, found: Any) -> bool:
        """Returns whether the object changes within `LEASE_SECONDS`; one that goes has not changed."""
        deadline = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(BEAT_SECONDS / 10)
            now = self._store.read(self._key).result()
            if now.state != "value":
                return False
            if now.stamp.generation != found.stamp.generation:
                return True
        return False

    def _keep(self) -> None:
        while not self._end.wait(BEAT_SECONDS) and not self._lost:
            try:
                self._renew()
            except Exception:  # noqa: S112 - the next beat tries again, and `check` raises what lasts
                continue

    def _renew(self) -> None:
        with self._mutex:
            if self._write(self._generation):
                return
            now = self._store.read(self._key).result()
            holder = Holder.read(now.value) if now.state == "value" else None
            if now.state == "value" and holder != self._holder:
                self._lost = LostLeaseError(holder)
            # Otherwise the write has succeeded although its answer got lost, or someone removed the object.
            elif not self._write(now.stamp.generation):
                self._lost = LostLeaseError(None)

    def _write(self, expected: bytes) -> bool:
        """Writes the object if it is still of the generation `expected`."""
        started, self._beats = time.monotonic(), self._beats + 1
        content = self._holder.write(beats=self._beats).encode()
        stamp = self._store.write(self._key, content, if_equal=expected).result()
        if stamp.generation:
            self._generation, self._renewed = stamp.generation, started
        return bool(stamp.generation)
