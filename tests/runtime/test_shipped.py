"""Files that come with the package are found by path and by name, and wrong names get a suggestion."""

import pytest

from biggan_jax.runtime import shipped


@pytest.mark.parametrize(
    "name",
    [
        "ablation_imagenet128",
        "ablation_imagenet128.py",
        "sweeps/ablation_imagenet128",
        "configs/sweeps/ablation_imagenet128.py",
    ],
)
def test_a_shipped_sweep_is_found_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find(name, shipped.SWEEPS) == shipped.SWEEPS / "ablation_imagenet128.py"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "configs",
        "__init__",
        "configs/__init__.py",
        "cifar10.toml",
        "other/cifar10",
        "configs/x/cifar10",
    ],
)
def test_nothing_else_is_taken_for_a_shipped_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find(name) is None


def test_a_file_that_exists_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/cifar10.py").touch()
    assert shipped.find("configs/cifar10.py").resolve() == tmp_path / "configs/cifar10.py"
    assert shipped.find("cifar10") == shipped.CONFIGS / "cifar10.py"


def test_suggestions_name_the_most_similar_file_and_all_files():
    assert shipped.suggestion("ablation_imagenet", shipped.SWEEPS) == (
        "; did you mean ablation_imagenet128? "
        "The shipped ones are ablation_fashion_mnist, ablation_imagenet128"
    )
    assert shipped.suggestion("zzz").startswith(". The shipped ones are cifar10, fashion_mnist, finetune, ")
