"""The cache's place: the home folder, or where the environment says."""

from pathlib import Path

from biggan_jax.runtime.caches import cache_folder


def test_the_cache_is_in_the_home_folder_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("BIGGAN_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "biggan_jax"
    monkeypatch.setenv("BIGGAN_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    assert cache_folder("scans", "a.json.gz") == Path("/elsewhere/scans/a.json.gz")
