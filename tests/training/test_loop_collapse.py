"""Runs that collapse, for real or by a NaN put in: they stop, or go back, as collapse.py's rule says."""

import json
import math
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import assert_same_state, make_config, noise_images, rows, saved  # noqa: F401

from biggan_jax.training.monitoring.collapse import CollapseError, seed_after
from biggan_jax.training.run import call_batches, loop
from biggan_jax.training.run.checkpoints import Checkpoints

pytestmark = pytest.mark.slow


@pytest.fixture
def broken_at_step_5(monkeypatch):
    """D's weights turn into NaN at step 5, until the run goes back and draws from another seed."""
    make_update, config = loop.make_update, make_config()

    def make(*args):
        update = make_update(*args)
        first_key = jax.random.split(jax.random.key(config.seed), 5)[4]

        def broken(state, batch):
            state, numbers = update(state, batch)
            breaks = (state.step == 5) & (state.rng == jax.random.key_data(first_key)).all()
            poison = jnp.where(breaks, jnp.nan, 0.0)
            numbers = {name: value + poison for name, value in numbers.items()}
            d_params = jax.tree.map(lambda x: x + poison, state.discriminator.params)
            return state.replace(discriminator=state.discriminator.replace(params=d_params)), numbers

        return broken

    monkeypatch.setattr(loop, "make_update", make)


def config_that_saves_every_step(**fields):
    return make_config(checkpoint_every=1, sample_every=0, **fields)


def finite(state) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_a_number_that_is_not_finite_stops_the_run_with_the_last_good_checkpoint_kept(
    broken_at_step_5, tmp_path
):
    config = config_that_saves_every_step()
    with pytest.raises(CollapseError, match=r"collapsed at step 5: .*d_loss is nan.*: step 2, 3, 4") as error:
        loop.train(config, tmp_path)
    assert str(tmp_path / "checkpoints") in str(error.value)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["00000002", "00000003", "00000004"]
    assert finite(saved(tmp_path, config).state)


def test_the_last_state_is_not_saved_if_its_moments_are_not_finite_though_all_losses_are(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "not_finite", lambda state: "G's moments" if int(state.step) == 6 else "")
    config = config_that_saves_every_step()
    with pytest.raises(
        CollapseError, match="collapsed at step 6: G's moments hold numbers that are not finite"
    ):
        loop.train(config, tmp_path)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["00000003", "00000004", "00000005"]


def test_a_state_whose_scores_show_the_collapse_is_not_kept_though_it_was_saved_before_them(tmp_path):
    class Scores:
        measured = iter([1.0, math.nan])

        def scores(self, params, u):
            return {"fid@x": next(self.measured)}

    config = config_that_saves_every_step(**{"evaluation.every": 2})
    with pytest.raises(CollapseError, match=r"collapsed at step 4: fid@x is nan"):
        loop.train(config, tmp_path, lambda *_: Scores())
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["00000002", "00000003"]
    assert [row.get("fid@x", 0) for row in rows(tmp_path)] == [1.0, None]


def test_a_row_of_the_collapse_is_in_the_metrics_as_null(broken_at_step_5, tmp_path):
    with pytest.raises(CollapseError, match="collapsed at step 5"):
        loop.train(make_config(sample_every=0), tmp_path)  # seen when the row of steps 5 and 6 is due
    assert [row["d_loss"] is None for row in rows(tmp_path)] == [False, False, True]
    assert not (tmp_path / "checkpoints").exists() or os.listdir(tmp_path / "checkpoints") == []


def test_a_rollback_goes_back_with_another_seed_and_other_rates_and_comes_to_the_end(
    broken_at_step_5, tmp_path, monkeypatch, capsys
):
    seeds, rates = [], []
    batches, make_update = call_batches.batches, loop.make_update
    monkeypatch.setattr(
        call_batches, "batches", lambda *args, **named: seeds.append(named["seed"]) or batches(*args, **named)
    )
    monkeypatch.setattr(
        loop,
        "make_update",
        lambda config, *args: rates.append(config.optimizer.d_learning_rate) or make_update(config, *args),
    )
    config = config_that_saves_every_step(
        on_collapse="rollback", **{"collapse.rollback_checkpoints": 2, "collapse.d_rate_factor": 0.5}
    )
    assert loop.train(config, tmp_path) == 0
    assert json.loads((tmp_path / "rollbacks.json").read_text())[0].items() >= {"step": 5, "to": 3}.items()
    assert seeds == [config.seed, seed_after(config.seed, 1)] and seeds[0] != seeds[1]
    assert rates == pytest.approx([2e-4, 1e-4])
    assert [row["step"] for row in rows(tmp_path)] == [2, 4, 6]
    assert [row.get("rollbacks", 0) for row in rows(tmp_path)] == [0, 1, 1]
    aside = (tmp_path / "metrics-1.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in aside] == [2, 4], "the rows of the collapse are kept aside"
    restored = saved(tmp_path, config)
    assert restored.step == 6 and finite(restored.state) and restored.loop["watch"]["rollbacks"] == 1
    assert re.search("collapsed at step 5: .*\ngoing back to step 3", capsys.readouterr().out)


@pytest.mark.parametrize("when", ["before the checkpoints are deleted", "before the next checkpoint"])
def test_a_run_killed_in_the_middle_of_a_rollback_ends_as_one_that_was_not(
    broken_at_step_5, tmp_path, monkeypatch, when
):
    config = config_that_saves_every_step(on_collapse="rollback")
    assert loop.train(config, tmp_path / "unstopped") == 0

    def killed(*_):
        raise SystemError("power cut")

    with monkeypatch.context() as patch:
        if "deleted" in when:
            patch.setattr(Checkpoints, "delete_after", killed)
        else:
            patch.setattr(loop.Record, "begin", begin_once_then(killed, loop.Record))
        with pytest.raises(SystemError, match="power cut"):
            loop.train(config, tmp_path / "killed")
    assert (tmp_path / "killed" / "rollbacks.json").exists()
    assert loop.train(config, tmp_path / "killed") == 0
    expected = saved(tmp_path / "unstopped", config)
    found = saved(tmp_path / "killed", config)
    assert_same_state(found.state, expected.state)
    assert found.loop == expected.loop


def begin_once_then(killed, record):
    """`Record.begin`, which works the first time only."""
    begin, calls = record.begin, []

    def once(self, *arguments):
        calls.append(arguments)
        return begin(self, *arguments) if len(calls) == 1 else killed()

    return once


def test_a_run_goes_back_no_more_often_than_it_may(broken_at_step_5, tmp_path, monkeypatch):
    monkeypatch.setattr(call_batches, "seed_after", lambda seed, rollbacks: seed)
    rng = jax.random.key_data(jax.random.split(jax.random.key(make_config().seed), 5)[4])
    monkeypatch.setattr(loop, "rng_after", lambda seed, rollbacks: np.asarray(rng))  # so it breaks each time
    config = config_that_saves_every_step(on_collapse="rollback", **{"collapse.max_rollbacks": 2})
    with pytest.raises(CollapseError, match="after 2 rollbacks"):
        loop.train(config, tmp_path)
    assert len(json.loads((tmp_path / "rollbacks.json").read_text())) == 2


def test_a_rate_far_too_high_for_d_is_seen_as_a_collapse_and_named(tmp_path):
    config = make_config(
        total_steps=200,
        checkpoint_every=20,
        sample_every=0,
        **{
            "optimizer.d_learning_rate": 1.0,
            "collapse.warmup_steps": 10,
            "collapse.patience": 3,
            "collapse.check_every": 0,
        },
    )
    with pytest.raises(CollapseError, match=r"collapsed at step \d+: (D's|G's|\w+ is)"):
        loop.train(config, tmp_path)


def test_singular_values_are_in_the_rows_at_their_interval_and_agree_with_numpys(tmp_path):
    config = make_config(total_steps=8, checkpoint_every=1, sample_every=0, **{"collapse.check_every": 3})
    assert loop.train(config, tmp_path) == 0
    looks = [row["step"] for row in rows(tmp_path) if any("singular" in name for name in row)]
    assert looks == [4, 6], "the first row at or after 3, that at 6, and none at 8"
    config.total_steps = 9
    assert loop.train(config, tmp_path) == 0
    row = rows(tmp_path)[-1]
    kernel = saved(tmp_path, config).state.generator.params["linear"]["kernel"]
    top = [*np.linalg.svd(kernel, compute_uv=False), 0]  # of its two columns, and none of a third
    found = [row[f"singular_values/generator/linear/{place}"] for place in (1, 2, 3)]
    np.testing.assert_allclose(found, top, rtol=1e-3)
