"""An export is asked, in a fresh process, for the images of its generator: it passes only if it has them."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny_exports import make_exported

from biggan_jax.exports.export_files import CONFIG, write_export
from biggan_jax.exports.stablehlo import PROGRAM, sampler_program
from biggan_jax.exports.verification import MOST_TRUNCATIONS, verify
from biggan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def exported():
    return make_exported()


def nudged(exported, by):
    """The same generator but for one bias of the colours."""
    params = jax.tree.map(np.copy, exported.params)
    params["conv"]["bias"][0] += by
    return dataclasses.replace(exported, params=params)


def test_an_export_with_its_program_passes(tmp_path, exported):
    write_export(tmp_path / "export", exported, {PROGRAM: sampler_program(exported)})
    verify(tmp_path / "export", exported)


def test_in_bfloat16_and_with_many_truncations_it_passes(tmp_path):
    truncations = np.round(np.linspace(0.1, 1.0, 2 * MOST_TRUNCATIONS + 1), 3)
    exported = make_exported(truncations, kind="scale", **{"model.dtype": "bfloat16"})
    write_export(tmp_path / "export", exported, {PROGRAM: sampler_program(exported)})
    verify(tmp_path / "export", exported)


def test_weights_a_little_off_do_not_pass(tmp_path, exported):
    write_export(tmp_path / "export", nudged(exported, 0.01))
    with pytest.raises(UserError, match=r"generates other images: \d+\.\d+% of their bytes differ"):
        verify(tmp_path / "export", exported)


def test_statistics_of_one_truncation_a_little_off_do_not_pass(tmp_path, exported):
    changed = jax.tree.map(lambda x: np.float32(1.02 * x), exported.statistics[0.5])
    other = dataclasses.replace(exported, statistics={**exported.statistics, 0.5: changed})
    write_export(tmp_path / "export", other)
    with pytest.raises(UserError, match="generates other images"):
        verify(tmp_path / "export", exported)


def test_a_program_of_other_weights_does_not_pass(tmp_path, exported):
    program = sampler_program(nudged(exported, 0.05))
    write_export(tmp_path / "export", exported, {PROGRAM: program})
    with pytest.raises(UserError, match="StableHLO program generates other images, by [0-9]+ levels"):
        verify(tmp_path / "export", exported)


def test_an_export_that_does_not_load_is_an_error_that_says_why(tmp_path, exported):
    write_export(tmp_path / "export", exported)
    config = json.loads((tmp_path / "export" / CONFIG).read_text())
    (tmp_path / "export" / CONFIG).write_text(json.dumps(config | {"truncation_kind": "x"}))
    with pytest.raises(UserError, match="does not load in a fresh process: .*its SHA-256 differs"):
        verify(tmp_path / "export", exported)
