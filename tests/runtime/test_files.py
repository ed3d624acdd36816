"""Directories that a user names, atomic writes, and storage errors with their remedies."""

import importlib.util
import os

import pytest
from etils import epath

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import (
    CACHE,
    OUTPUT,
    PREPARED_SET,
    atomic_file,
    atomic_path,
    check_output,
    is_storage_error,
    reading,
    resolve_directory,
    write_file,
    writing,
)


def error_of(package, name, message, base=Exception, **fields):
    """An error as a package that may not be installed would raise it."""
    error = type(name, (base,), {"__module__": package})(message)
    error.__dict__.update(fields)
    return error


def test_a_local_workdir_becomes_absolute_and_a_bucket_keeps_its_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert os.fspath(resolve_directory("runs/../runs/a")) == f"{tmp_path}/runs/a"
    assert os.fspath(resolve_directory("gs://bucket/runs/a/")) == "gs://bucket/runs/a"
    assert os.fspath(resolve_directory(epath.Path("gs://bucket/a")) / "b") == "gs://bucket/a/b"


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert os.fspath(resolve_directory("~/runs/a")) == "/home/someone/runs/a"


def test_a_refusal_names_the_flag_that_holds_the_directory():
    with pytest.raises(UserError, match="^prepared:s3://bucket/set: give a local directory"):
        resolve_directory("s3://bucket/set", "prepared:")


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
        resolve_directory(workdir)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a" / "config.json"
    write_file(path, b"old")

    def fail(*paths):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(
            UserError, match=f"cannot write {path}: Permission denied; choose another --workdir"
        ):
            write_file(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["config.json"]
    write_file(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["config.json"]


def test_a_block_that_raises_leaves_no_file(tmp_path):
    path = tmp_path / "latents.npz"
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_a_file_appears_with_the_end_of_the_block_only(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with atomic_path(path) as part:
        part.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["a.bin"]


def test_processes_that_share_a_file_write_to_temporary_files_of_their_own(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_path(path, CACHE, shared=True) as one, atomic_path(path, CACHE, shared=True) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["a.bin"]


def test_what_a_killed_process_left_is_replaced_by_the_next_write(tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(b"a long part of a file")
    write_file(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new" and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("destination", "remedy"),
    [
        (OUTPUT, "free some space and run the same command again$"),
        (PREPARED_SET, "run the same command again; it continues where it stopped$"),
    ],
)
def test_a_full_disk_is_reported_with_a_remedy_that_fits_the_command(tmp_path, destination, remedy):
    path = tmp_path / "a.bin"
    with pytest.raises(UserError, match=f"^cannot write {path}: No space left on device; .*{remedy}"):
        with atomic_file(path, destination):
            raise OSError(28, "No space left on device")


def test_the_error_by_which_a_library_reports_a_full_disk_is_explained(tmp_path):
    with pytest.raises(UserError, match="cannot write .*: ArrayRecord says no; free some space"):
        with writing(tmp_path, also=(RuntimeError,)):
            raise RuntimeError("ArrayRecord says no")


def test_a_disk_that_fills_up_before_an_upload_is_not_blamed_on_the_bucket():
    with pytest.raises(UserError, match="cannot write gs://b/x: No space left on device; free some space"):
        with writing("gs://b/x"):
            raise OSError(28, "No space left on device")


def test_a_failed_read_says_what_and_why(tmp_path):
    with pytest.raises(UserError, match=f"^cannot read {tmp_path}: Permission denied; see that"):
        with reading(tmp_path):
            raise PermissionError(13, "Permission denied")
    with pytest.raises(UserError, match="^cannot read gs://b/x: .*gcloud storage ls gs://b;"):
        with reading("gs://b/x"):
            raise ConnectionResetError("the line went dead")
    with pytest.raises(UserError, match="^already explained$"):
        with reading("gs://b/x"):
            raise UserError("already explained")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "used.png").touch()
    check_output(tmp_path / "new" / "a.png", overwrite=False)
    check_output(tmp_path / "used.png", overwrite=True)
    with pytest.raises(UserError, match="exists already: remove it, or choose another --output"):
        check_output(tmp_path / "used.png", overwrite=False)
    with pytest.raises(UserError, match="is a folder: give the name of a file"):
        check_output(tmp_path / "new", overwrite=True)
    with pytest.raises(UserError, match="^cannot write .*choose another --output"):
        check_output(tmp_path / "used.png" / "a.png", overwrite=True)


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
