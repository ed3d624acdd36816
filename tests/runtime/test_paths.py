"""One rule for paths: `~` is the home directory everywhere, and what no file can be named is refused."""

import os

import pytest

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import resolve_directory
from biggan_jax.runtime.paths import user_path


def test_the_home_directory_is_expanded_in_any_flag(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == f"{tmp_path}/x"
    assert str(resolve_directory("~/run")) == f"{tmp_path}/run"
    assert user_path("./~x") == "./~x"


@pytest.mark.parametrize("name", ["x", "a/b.png", "/tmp/ä b", "n" * 255, "gs://bucket/run", "/", "."])
def test_other_paths_stay_as_the_user_wrote_them(name):
    assert user_path(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "--output= is empty: give a path"),
        ("  ", "is empty"),
        ("n" * 256, "too long: a name may have 255 bytes"),
        ("ä" * 128, "too long"),
        ("d/" * 2_000, "too long"),
        (os.fsdecode(b"caf\xe9"), "--output=caf\ufffd: the name is not UTF-8"),
        ("a\0b", "no NUL"),
        ("~nobody_here/x", "there is no user 'nobody_here'; for a file of this name give ./~nobody_here/x"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused_with_the_flag(name, says):
    with pytest.raises(UserError) as error:
        user_path(name, "--output=")
    assert str(error.value).startswith("--output=") and says in str(error.value)
    assert len(str(error.value)) < 300


def test_a_path_below_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    assert user_path(tmp_path / "file") == f"{tmp_path}/file"
    for below in ("x", "x/y/z"):
        with pytest.raises(UserError, match=f"file/{below} would be below {tmp_path}/file, which is a file"):
            resolve_directory(tmp_path / "file" / below)
