"""A run's directory: where it may be, files that appear whole or not at all, the config as JSON.

It is a local directory, or `gs://BUCKET/…` on Google Cloud Storage, which takes the extra `gcs`: gcsfs, and
with it google-cloud-storage, which orbax asks about the bucket. Credentials are Google's application default
ones; the account needs to read, create and delete objects, and the permission `storage.buckets.get`.
"""

import errno
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec.config
from etils import epath

from biggan_jax.runtime.errors import UserError

_AGAIN = "run the same command again; it goes on from the last checkpoint"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# The packages between us and a bucket. Few of their errors are OSErrors, and they may not be installed.
_STORE_PACKAGES = ("gcsfs", "aiohttp", "google.api_core", "google.auth", "google.cloud")
_MISSING, _REFUSED = {"404"}, {"401", "403"}  # HTTP

if importlib.util.find_spec("gcsfs"):
    # Otherwise epath takes TensorFlow for gs://. It decides at the first path of the process, local or not.
    os.environ.setdefault("EPATH_USE_TF", "0")
# Tensorstore writes objects that gcsfs doesn't hear of; it must not answer from a listing it has kept.
fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
# Its errors reach us as exceptions; the tracebacks that it logs too would bury our message.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def run_directory(workdir: str | os.PathLike) -> epath.Path:
    """`workdir` as the parts of a run take it: an absolute local path, or `gs://BUCKET/…`.

    Raises:
      UserError: it is a URL of another kind, names no bucket, or the extra `gcs` is not installed.
    """
    name = os.fspath(workdir)
    scheme, separator, rest = name.partition("://")
    if not separator:
        return epath.Path(os.path.abspath(name))
    if scheme != "gs":
        raise UserError(f"--workdir={name}: give a local directory or gs://BUCKET/DIRECTORY")
    if not rest.strip("/"):
        raise UserError(f"--workdir={name} names no bucket: give gs://BUCKET/DIRECTORY")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"--workdir={name} needs the package gcsfs: pip install 'biggan-jax[gcs]'")
    return epath.Path(name)


def is_object_store(path: str | os.PathLike) -> bool:
    """Whether `path` is in a bucket, where nothing is appended to or renamed, and writes are whole anyway."""
    return "://" in os.fspath(path)


def is_storage_error(error: Exception) -> bool:
    """Whether it is of a disk or a bucket, and not a mistake in the code."""
    modules = [f"{kind.__module__}." for kind in type(error).__mro__]
    return isinstance(error, OSError) or any(
        module.startswith(f"{package}.") for module in modules for package in _STORE_PACKAGES
    )


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns a disk's or bucket's error inside the block into a `UserError` with `path`, reason and remedy."""
    try:
        yield
    except Exception as error:
        if not is_storage_error(error):
            raise
        reason, remedy = _explain_bucket(path, error) if is_object_store(path) else _explain_disk(error)
        raise UserError(f"cannot write {path}: {reason}; {remedy}") from error


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` so that a reader, or a run killed half-way, finds the old file or the new one.

    Raises:
      UserError: the disk is full, or `path` cannot be written.
    """
    path = epath.Path(path)
    with writing(path):
        if is_object_store(path):  # an object is there when its upload is complete
            path.write_bytes(content)
            return
        part = path.with_name(f".{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _explain_disk(error: Exception) -> tuple[str, str]:
    reason = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) in _FULL:
        return reason, f"free some space and {_AGAIN}"
    return reason, "choose a --workdir that you can write to"


def _explain_bucket(path: str | os.PathLike, error: Exception) -> tuple[str, str]:
    bucket = "/".join(os.fspath(path).split("/")[:3])
    kind = type(error).__name__
    lines = str(error).strip(" ,\n").splitlines() or [kind]
    code = str(getattr(error, "code", ""))
    if isinstance(error, FileNotFoundError) or code in _MISSING:
        remedy = f"create it (gcloud storage buckets create {bucket}), or choose another --workdir"
        return f"there is no bucket {bucket}", remedy
    no_credentials = type(error).__module__.startswith("google.auth")
    if code in _REFUSED or lines[0].startswith("Forbidden") or no_credentials:
        return lines[-1], (
            "log in (gcloud auth application-default login), or have this machine's account given the role "
            f"Storage Object User and the permission storage.buckets.get on {bucket}"
        )
    reason = kind if lines == [kind] else f"{kind}: {lines[-1]}"
    return reason, f"see that {bucket} can be reached and {_AGAIN}"
