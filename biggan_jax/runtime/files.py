"""Files on this machine or in a bucket: where they are, writing them atomically, and errors with a remedy.

A directory is local, or `gs://BUCKET/…` on Google Cloud Storage, which needs the extra `gcs`: gcsfs, and with
it google-cloud-storage, which orbax asks about the bucket. Credentials are Google's application default ones;
the account needs to read, create and delete objects, and the permission `storage.buckets.get`.

An atomic write leaves the old file or the new one, never a part of it, wherever the process is killed.
"""

import contextlib
import errno
import importlib.util
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import fsspec.config
from etils import epath

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.paths import user_path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# The packages between us and a bucket. Few of their errors are OSErrors, and they may not be installed.
_STORE_PACKAGES = ("gcsfs", "aiohttp", "google.api_core", "google.auth", "google.cloud")
_MISSING, _REFUSED = {"404"}, {"401", "403"}  # HTTP
_REFUSALS = ("Forbidden", "PERMISSION_DENIED", "UNAUTHENTICATED")  # of gcsfs and of tensorstore

if importlib.util.find_spec("gcsfs"):
    # Otherwise epath opens gs:// with TensorFlow. It decides at the first path of the process, local or not.
    os.environ.setdefault("EPATH_USE_TF", "0")
# Tensorstore writes objects that gcsfs does not hear of, so gcsfs must not answer from a cached listing.
fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
# Its errors reach us as exceptions; the tracebacks that it logs too would bury our message.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


class Destination(NamedTuple):
    """How a user chose the place of a file; error messages name it.

    Attributes:
      flag: Flag or environment variable that names the place.
      again: Remedy once the cause is removed: how to repeat the command, and what that does.
    """

    flag: str
    again: str


WORKDIR = Destination("--workdir", "run the same command again; it continues from the last checkpoint")
OUTPUT = Destination("--output", "run the same command again")
PREPARED_SET = Destination("--output", "run the same command again; it continues where it stopped")
CACHE = Destination("$BIGGAN_CACHE", "run the same command again")


def resolve_directory(name: str | os.PathLike, prefix: str = "--workdir=") -> epath.Path:
    """Returns the directory that a user names: an absolute local path without `~`, or `gs://BUCKET/…`.

    Local paths follow the rule of `paths.user_path`.

    Args:
      name: Local path, or URL of a directory in a bucket. The directory need not exist.
      prefix: Text before the name in messages: the flag or field that holds it.

    Raises:
      UserError: The path is impossible, the name is another kind of URL or names no bucket, or the extra
        `gcs` is not installed.
    """
    name = user_path(name, prefix)
    scheme, separator, rest = name.partition("://")
    if not separator:
        return epath.Path(os.path.abspath(name))
    if scheme != "gs":
        raise UserError(f"{prefix}{name}: give a local directory or gs://BUCKET/DIRECTORY")
    if not rest.strip("/"):
        raise UserError(f"{prefix}{name} names no bucket: give gs://BUCKET/DIRECTORY")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{prefix}{name} needs the package gcsfs: pip install 'biggan-jax[gcs]'")
    return epath.Path(name)


def is_object_store(path: str | os.PathLike) -> bool:
    """Returns whether `path` is in a bucket, where nothing is appended to, renamed or locked."""
    return "://" in os.fspath(path)


def kvstore_spec(directory: epath.Path) -> dict[str, str]:
    """Describes a directory to tensorstore.

    The description is no URL: there `#`, `?` and `%` in a name have meanings of their own.
    """
    path = f"{directory}/"
    if not is_object_store(directory):
        return {"driver": "file", "path": path}
    bucket, _, path = path.removeprefix("gs://").partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": path}


def is_storage_error(error: Exception) -> bool:
    """Returns whether a disk or a bucket raised the error, rather than a mistake in the code."""
    modules = [f"{kind.__module__}." for kind in type(error).__mro__]
    return isinstance(error, OSError) or any(
        module.startswith(f"{package}.") for module in modules for package in _STORE_PACKAGES
    )


@contextlib.contextmanager
def writing(
    path: str | os.PathLike,
    destination: Destination = WORKDIR,
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turns a storage error inside the block into a `UserError` with path, reason and remedy.

    Args:
      path: File or directory that the block writes.
      destination: How the user chose its place.
      also: Further exceptions by which a library reports a storage error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not (is_storage_error(error) or isinstance(error, also)):
            raise
        if is_object_store(path) and getattr(error, "errno", None) not in _FULL:
            reason, remedy = _explain_bucket(path, error, destination)
        else:
            reason, remedy = _explain_disk(error, destination)
        raise UserError(f"cannot write {path}: {reason}; {remedy}") from error


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns a storage error inside the block into a `UserError`; `path` is the file or directory it reads."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_storage_error(error):
            raise
        remedy = "see that it exists and that you may read it"
        if is_object_store(path):
            remedy += (
                f" (gcloud storage ls {_bucket(path)}; gcloud auth application-default login), then run the "
                "same command again"
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"cannot read {path}: {reason}; {remedy}") from error


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike, destination: Destination = WORKDIR, shared: bool = False
) -> Iterator[Path]:
    """Yields a temporary local path; the file written there becomes `path` when the block succeeds.

    If the block raises, `path` stays as it was and the temporary file is removed.

    Args:
      path: File to write, local or in a bucket. Its directory is created.
      destination: How the user chose its place.
      shared: Whether several processes may write the file at the same time. Each then has a temporary file
        of its own. Otherwise the name is fixed, so that the next write replaces what a killed process left.

    Raises:
      UserError: The disk is full, or the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing(path, destination))
        target = epath.Path(path)
        if is_object_store(path):  # an object appears when its upload is complete
            part = Path(stack.enter_context(tempfile.TemporaryDirectory())) / target.name
            yield part
            target.write_bytes(part.read_bytes())
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        own = f".{secrets.token_hex(4)}" if shared else ""
        part = Path(target).with_name(f".{target.name}{own}.part")
        stack.callback(part.unlink, missing_ok=True)
        yield part
        os.replace(part, target)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, destination: Destination = OUTPUT) -> Iterator[IO[bytes]]:
    """Yields a binary file to write to; it becomes `path` when the block succeeds. See `atomic_path`."""
    with atomic_path(path, destination) as part, part.open("wb") as file:
        yield file


def write_file(
    path: str | os.PathLike, content: bytes, destination: Destination = WORKDIR, shared: bool = False
) -> None:
    """Writes `content` to a file atomically; for arguments and errors see `atomic_path`."""
    if is_object_store(path):  # saves the detour by a local file
        with writing(path, destination):
            epath.Path(path).write_bytes(content)
        return
    with atomic_path(path, destination, shared) as part:
        part.write_bytes(content)


def check_output(path: Path, overwrite: bool) -> None:
    """Creates the folder of an output file, and refuses a file that could not be written after long work.

    Args:
      path: Value of `--output`: the file that the command will write.
      overwrite: Whether the file may replace an existing one.

    Raises:
      UserError: `path` is a folder, exists and must stay, or cannot be written.
    """
    with writing(path, OUTPUT):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise UserError(f"--output={path} is a folder: give the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already: remove it, or choose another --output")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write to {path.parent}: choose another --output")


def _bucket(path: str | os.PathLike) -> str:
    """Returns `gs://bucket` for `gs://bucket/folder/file`."""
    return "/".join(os.fspath(path).split("/")[:3])


def _explain_disk(error: Exception, destination: Destination) -> tuple[str, str]:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.errno not in _FULL:
        return reason, f"choose another {destination.flag} that you can write to"
    return reason, f"free some space and {destination.again}"


def _explain_bucket(path: str | os.PathLike, error: Exception, destination: Destination) -> tuple[str, str]:
    bucket, kind = _bucket(path), type(error).__name__
    lines = str(error).strip(" ,\n").splitlines() or [kind]
    code = str(getattr(error, "code", ""))
    if isinstance(error, FileNotFoundError) or code in _MISSING or lines[0].startswith("NOT_FOUND"):
        return f"there is no bucket {bucket}", (
            f"create it (gcloud storage buckets create {bucket}), or choose another {destination.flag}"
        )
    no_credentials = type(error).__module__.startswith("google.auth")
    if code in _REFUSED or lines[0].startswith(_REFUSALS) or no_credentials:
        return lines[-1], (
            "log in (gcloud auth application-default login), or have this machine's account given the role "
            f"Storage Object User and the permission storage.buckets.get on {bucket}"
        )
    reason = kind if lines == [kind] else f"{kind}: {lines[-1]}"
    return reason, f"see that {bucket} can be reached and {destination.again}"
