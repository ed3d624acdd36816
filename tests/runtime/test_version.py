"""The version and the commit, with metadata and without, in a checkout and outside of one."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import biggan_jax
from biggan_jax.runtime import version

ROOT = Path(__file__).parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def git(folder, *words):
    author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


def test_a_source_tree_without_metadata_has_the_version_of_its_pyproject(tmp_path):
    for name in ("__init__.py", "runtime/__init__.py", "runtime/version.py"):
        (tmp_path / "biggan_jax" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "biggan_jax" / name, tmp_path / "biggan_jax" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    code = (
        "import biggan_jax; print(biggan_jax.__version__); from biggan_jax.runtime.version import versions; "
    )
    code += "print(*versions(['jax']).values())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: without site-packages, and so without any metadata
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.split() == [DECLARED, DECLARED, "unknown"], done.stderr


def test_where_the_package_is_installed_its_metadata_counts(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 7")
    assert version.versions(["jax"]) == {"biggan-jax": "biggan-jax 7", "jax": "jax 7"}


@pytest.mark.parametrize("pyproject", ['[project]\nname = "another"\nversion = "3"\n', "[project", "", None])
def test_the_pyproject_of_another_project_is_not_taken_for_ours(pyproject, tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(version, "ROOT", tmp_path)
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    assert version.version() == "unknown"


def test_a_checkout_has_a_commit_and_shows_changes(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    git(tmp_path, "tag", "-a", "v1", "-m", "a release")
    monkeypatch.setattr(version, "ROOT", tmp_path)
    clean = version.git_commit()
    assert clean and re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "a.py").write_text("2")
    assert version.git_commit() == f"{clean}-dirty"


def test_a_folder_inside_another_checkout_has_no_commit(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(version, "ROOT", tmp_path / "site-packages")
    assert version.git_commit() is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(version, "ROOT", tmp_path)
    assert version.git_commit() is None  # git finds it broken
    monkeypatch.setenv("PATH", "/nowhere")
    assert version.git_commit() is None


def test_the_package_has_a_version_and_no_other_surprises():
    assert biggan_jax.__version__ == version.version()
    with pytest.raises(AttributeError, match="no attribute 'verzion'"):
        _ = biggan_jax.verzion
