"""The cache's place: the home folder, or where the environment says."""

from pathlib import Path

from biggan_jax.runtime.caches import cache_folder


def test_the_cache_is_in_the_home_folder_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("BIGGAN_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == Path.home() / ".cache" / "biggan_jax"
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    assert cache_folder("scans", "a.json.gz") == tmp_path / "elsewhere/scans/a.json.gz"


def test_a_new_cache_is_for_its_owner_alone_and_an_old_one_is_left_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BIGGAN_CACHE", "~/new/cache")
    assert cache_folder("scans") == tmp_path / "new/cache/scans"
    assert (tmp_path / "new/cache").stat().st_mode & 0o777 == 0o700
    (tmp_path / "new/cache").chmod(0o755)
    assert cache_folder().stat().st_mode & 0o777 == 0o755
