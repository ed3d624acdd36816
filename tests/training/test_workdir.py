"""The run's directory: where it may be, whole files, and whose fault an error is."""

import importlib.util
import os

import pytest
from etils import epath

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import is_storage_error, run_directory, write_whole, writing


def error_of(package, name, message, base=Exception, **fields):
    """An error as a package that may not be installed would raise it."""
    error = type(name, (base,), {"__module__": package})(message)
    error.__dict__.update(fields)
    return error


def test_a_local_workdir_becomes_absolute_and_a_bucket_keeps_its_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert os.fspath(run_directory("runs/../runs/a")) == f"{tmp_path}/runs/a"
    assert os.fspath(run_directory("gs://bucket/runs/a/")) == "gs://bucket/runs/a"
    assert os.fspath(run_directory(epath.Path("gs://bucket/a")) / "b") == "gs://bucket/a/b"


@pytest.mark.parametrize(
    ("workdir", "message"),
    [
        ("s3://bucket/run", "s3://bucket/run: give a local directory or gs://"),
        ("gs://", "names no bucket: give gs://BUCKET"),
        ("gs://bucket/run", r"needs the package gcsfs: pip install 'biggan-jax\[gcs\]'"),
    ],
)
def test_a_workdir_that_cannot_be_used_is_refused_with_the_remedy(workdir, message, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        run_directory(workdir)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a" / "config.json"
    write_whole(path, b"old")

    def fail(*paths):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(UserError, match=f"cannot write {path}: Permission denied; choose a --workdir"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["config.json"]
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["config.json"]


CREATE = "there is no bucket gs://b; create it .*buckets create gs://b"
LOG_IN = "Storage Object User and the permission storage.buckets.get on gs://b"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("http://…/upload/storage/v1/b/b/o"), CREATE),
        (error_of("google.api_core.exceptions", "NotFound", "404 GET …", code=404), CREATE),
        (
            error_of("google.api_core.exceptions", "Forbidden", "403 you may not", code=403),
            f"403 you.*{LOG_IN}",
        ),
        (
            error_of("gcsfs.retry", "HttpError", "Anonymous caller", code="401"),
            f"Anonymous caller;.*{LOG_IN}",
        ),
        (OSError("Forbidden: http://…\nx@y.z does not have storage.objects.create"), f"x@y.z.*{LOG_IN}"),
        (error_of("google.auth.exceptions", "DefaultCredentialsError", "none found"), f"none.*{LOG_IN}"),
        (
            error_of("gcsfs.retry", "HttpError", ", 503", code=503),
            "HttpError: 503; see that gs://b can be reached",
        ),
        (
            error_of("aiohttp.client_exceptions", "ServerDisconnectedError", ""),
            ": ServerDisconnectedError; see",
        ),
        (TimeoutError(), ": TimeoutError; see that gs://b can be reached"),
    ],
)
def test_each_error_of_a_bucket_is_told_with_its_own_remedy(error, message):
    with pytest.raises(UserError, match=f"cannot write gs://b/run/x.*{message}") as caught:
        with writing("gs://b/run/x"):
            raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value) and "http" not in str(caught.value)


def test_a_mistake_in_the_code_is_not_taken_for_a_full_disk():
    for error in (TypeError("x"), ValueError("x"), error_of("google.protobuf.message", "DecodeError", "x")):
        assert not is_storage_error(error)
        with pytest.raises(type(error)):
            with writing("gs://b/x"):
                raise error
