"""One owner of a place that commands write to: a lock file on a disk, a lease in a bucket.

A second process that would write there is refused with the host and number of the first. The lock of a
process that dies ends with it. In a bucket another process can take over `leases.LEASE_SECONDS` later, or at
once on the same machine.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NoReturn

from etils import epath

from biggan_jax.runtime import leases
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import OUTPUT, Destination, is_object_store, kvstore_spec, writing
from biggan_jax.runtime.holder import Holder
from biggan_jax.runtime.locks import locked

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

Check = Callable[[], None]


@contextlib.contextmanager
def owning(folder: epath.Path, lock: str, destination: Destination = OUTPUT) -> Iterator[Check]:
    """Makes this process the only one that does one kind of work in a folder during the block.

    Args:
      folder: Folder, local or in a bucket. A local one is created if missing, and removed if it stays empty.
      lock: Name of the lock file, which differs for works that may go on side by side.
      destination: How the user chose the folder.

    Yields:
      Function that raises `UserError` if another process has taken the folder over.

    Raises:
      UserError: Another process is at work there, or the folder cannot be written.
    """
    place = f"{destination.flag}={folder}"
    own = _leased if is_object_store(folder) else _locked
    with contextlib.ExitStack() as stack:
        with writing(folder / lock, destination, also=(ValueError,)):
            check = stack.enter_context(own(folder, lock, place, destination))
        yield check


@contextlib.contextmanager
def owning_output(path: Path) -> Iterator[None]:
    """Makes this process the only one that writes the file or new folder `path`; see `owning`."""
    path = path.absolute()
    with owning(epath.Path(path.parent), f".{path.name}.lock"):
        yield


@contextlib.contextmanager
def _locked(folder: epath.Path, lock: str, place: str, destination: Destination) -> Iterator[Check]:
    existed, path = folder.exists(), Path(folder) / lock

    def busy(file: IO[str]) -> NoReturn:
        file.seek(0)
        _refuse(place, destination, Holder.read(file.read()))

    with contextlib.ExitStack() as stack:
        if not existed:
            stack.callback(_remove_empty, Path(folder))
        try:
            file = stack.enter_context(locked(path, busy, temporary=True))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f"{place}: its file system has no locks; see that no second command writes there", flush=True
            )
        else:
            file.truncate(0)
            file.write(Holder.of_this_process().write())
            file.flush()
        yield lambda: None


@contextlib.contextmanager
def _leased(folder: epath.Path, lock: str, place: str, destination: Destination) -> Iterator[Check]:
    import tensorstore  # here: a folder on a disk needs none

    store = tensorstore.KvStore.open(kvstore_spec(folder)).result()
    lease = leases.Lease(store, lock)

    def wait(holder: Holder | None) -> None:
        seconds = leases.LEASE_SECONDS
        print(f"{place}: seeing whether {_named(holder)} is alive ({seconds:.0f} s at most)", flush=True)

    def check() -> None:
        with writing(folder / lock, destination, also=(ValueError,)):
            try:
                lease.check()
            except leases.LostLeaseError as error:
                raise UserError(
                    f"{place}: {_named(error.args[0])} has taken over while this process did not reach the "
                    "bucket; leave the work to it"
                ) from None

    lease.acquire(lambda holder: _refuse(place, destination, holder), wait)
    try:
        yield check
    finally:
        with contextlib.suppress(ValueError, TimeoutError):  # the lease then ends by itself
            lease.release()


def _refuse(place: str, destination: Destination, holder: Holder | None) -> NoReturn:
    raise UserError(
        f"{place}: {_named(holder)} is at work there; wait until it ends, stop it, or choose another "
        f"{destination.flag}"
    )


def _named(holder: Holder | None) -> str:
    return str(holder) if holder else "another process"


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it holds something
        folder.rmdir()
