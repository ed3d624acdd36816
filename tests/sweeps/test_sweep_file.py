"""Sweep files: every run is checked before the first, and what is checked is what the command will do."""

import sys

import pytest
from absl import flags

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.sweep_file import read_sweep

BASE = "configs/fashion_mnist.py"


@pytest.fixture
def sweep_file(tmp_path):
    def write(body: str) -> str:
        path = tmp_path / "sweep.py"
        path.write_text(f"import numpy as np\nBASE_CONFIG = {BASE!r}\ndef sweep():\n    return {body}\n")
        return str(path)

    return write


def test_the_flags_of_a_run_make_the_command_see_the_config_that_was_checked(sweep_file, monkeypatch):
    override = {
        "seed": 3,
        "total_steps": 40,
        "model.shared_embedding": False,
        "model.hierarchical_latents": False,
        "model.generator_channels": [4, 2, 1, 1],
        "model.discriminator_channels": (),
        "optimizer.g_learning_rate": 5e-5,
        "optimizer.orthogonal_regularization": 0,
        "data.source": 'folder:it\'s; a "set" of $pictures',
        "data.split": "train[:90%]",
    }
    (run,) = read_sweep(sweep_file(repr([override]).replace("'seed': 3", "'seed': np.int64(3)")))
    argv = ["train", *run.flags()]
    monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for overrides
    values = flags.FlagValues()
    seen = cli.define_config(values)
    cli.parse(argv, values)
    assert seen.value.to_dict() == run.config.to_dict()
    assert run.config.model.generator_channels == (4, 2, 1, 1)
    assert type(run.config.optimizer.orthogonal_regularization) is float


def test_every_impossible_run_is_named_with_its_remedy(sweep_file):
    body = "[{'seed': 0}, {'model.chanels': 8}, {'batch_size': 0}, {'model': 3}, {'seed': 'x'}, 7]"
    with pytest.raises(UserError) as refused:
        read_sweep(sweep_file(body))
    message = str(refused.value)
    assert "5 of 6 runs are impossible; nothing was started" in message
    assert "run 2" in message and "did you mean config.model.channels?" in message
    assert "config.batch_size = 0: give 1 to " in message
    assert "config.model is a section" in message
    assert "config.seed = 'x': give a whole number" in message
    assert "run 6, 7: give a dict" in message
    assert "run 1," not in message


def test_fields_that_are_possible_alone_are_checked_together(sweep_file):
    with pytest.raises(UserError, match="config.model.hierarchical_latents = True"):
        read_sweep(sweep_file("[{'model.shared_embedding': False}]"))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("[{'seed': 1}, {'seed': 0}, {'seed': 1}]", "seed=1"),
        ("[{'name': 'a', 'seed': 1}, {'name': 'A', 'seed': 2}]", "A"),  # one directory on some systems
        ("[{'ema.decay': 0}, {'ema.decay': 0.0}]", "decay=0"),
    ],
)
def test_two_runs_of_one_name_would_share_a_directory_and_are_refused(sweep_file, body, name):
    with pytest.raises(UserError, match=f"are both named {name!r}"):
        read_sweep(sweep_file(body))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "BASE_CONFIG = 'configs/fashion_mnist.py'\ndef sweep():\n    return 1 / 0\n",
            "line 3: ZeroDivision",
        ),
        ("def sweep():\n    return [{}]\n", "must define sweep(), and BASE_CONFIG"),
        ("BASE_CONFIG = 'configs/fashion_mnist.py'\n", "must define sweep(), and BASE_CONFIG"),
        ("BASE_CONFIG = 'configs/fashion_mnist.py'\ndef sweep():\n    return []\n", "must return a list"),
        (
            "BASE_CONFIG = 'configs/nothing.py'\ndef sweep():\n    return [{}]\n",
            "no file 'configs/nothing.py'",
        ),
        ("BASE_CONFIG = 'configs/fashion_mnist.py'\ndef sweep(:\n", "SyntaxError"),
        (
            "BASE_CONFIG = 'configs/fashion_mnist.py'\ndef sweep():\n    return [{'name': ' '}]\n",
            "give a few words",
        ),
    ],
)
def test_a_broken_file_is_explained_without_a_traceback(tmp_path, content, said):
    path = tmp_path / "sweep.py"
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        read_sweep(str(path))
    assert said in str(refused.value) and str(path) in str(refused.value)


def test_only_the_runs_asked_for_are_left_and_a_misspelt_one_is_not_passed_over(sweep_file):
    path = sweep_file("[{'name': f'row{n}', 'seed': n} for n in range(5)]")
    assert [run.name for run in read_sweep(path, ["row3", "row1"])] == ["row1", "row3"]
    with pytest.raises(UserError, match="no such run; it has row0, row1"):
        read_sweep(path, ["row9"])


def test_fields_that_all_runs_share_are_left_out_of_their_names(sweep_file):
    common = "{'total_steps': 40, 'ema.decay': 0.9, 'sample_every': 10, 'checkpoint_every': 10}"
    several = read_sweep(sweep_file(f"[{{'seed': n}} | {common} for n in (1, 2)] + [{common}]"))
    assert [run.name for run in several] == ["seed=1", "seed=2", "base"]
    assert all(run.config.total_steps == 40 for run in several)
    (single,) = read_sweep(sweep_file("[{'seed': 1, 'total_steps': 40}]"))
    assert single.name == "seed=1,total_steps=40"
