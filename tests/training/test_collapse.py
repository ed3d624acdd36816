"""The collapse watch on recorded runs and on made-up ones, and what a rollback changes.

recorded/healthy.csv has the rows of metrics of the demo at half its width (configs/fashion_mnist.py with
--config.model.channels=8; 3,000 steps), and the largest singular values of G's weights every 100 steps;
recorded/dead_discriminator.csv those of 800 steps with --config.optimizer.d_learning_rate=0.1 too, of which D
died.
"""

import csv
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.training.monitoring.collapse import (
    Collapse,
    CollapseError,
    Watch,
    check_row,
    collapse_error,
    not_finite,
    rates_after,
    rng_after,
    rollback_step,
    seed_after,
)
from biggan_jax.training.step.losses import LOSSES

RECORDED = Path(__file__).parent / "recorded"
HEALTHY = {"d_loss": 1.5, "g_loss": 0.3, "d_gradient_norm": 10.0, "g_gradient_norm": 20.0}
SIGNS = {
    "D's loss is 0.001, below 0.01": {"d_loss": 0.001},
    "D's loss is 5, above 4": {"d_loss": 5.0},
    "D's gradient has norm 0, below 0.0001": {"d_gradient_norm": 0.0},
    "G's gradient has norm 1e-05, below 0.0001": {"g_gradient_norm": 1e-5},
}


def make_rules(**fields):
    rules = default_config().collapse
    rules.update({"warmup_steps": 100, "patience": 3} | fields)
    return rules


def follow(rules, rows, watch=None, loss="hinge"):
    """The first verdict on (step, row) or (step, row, {path: σ}), with the watch that it leaves."""
    watch, verdict = watch or Watch(), None
    for step, row, *sigmas in rows:
        top = {path: np.array([sigma, 0, 0]) for path, sigma in (sigmas[0] if sigmas else {}).items()}
        watch, verdict = check_row(rules, LOSSES[loss], watch, step, row, top)
        if verdict:
            break
    return watch, verdict


def recorded(name: str):
    with (RECORDED / name).open() as file:
        for row in csv.DictReader(file):
            known = {column: float(value) for column, value in row.items() if value}
            sigmas = {column: known.pop(column) for column in list(known) if "/" in column}
            yield int(known.pop("step")), known, sigmas


def steps(first: int, last: int, **changed):
    return [(step, HEALTHY | changed) for step in range(first, last + 1, 10)]


@pytest.mark.parametrize("patience", [3, 10])
@pytest.mark.parametrize("warmup", [0, 1000])
def test_a_recorded_healthy_run_raises_no_alarm(patience, warmup):
    rules = default_config().collapse
    rules.update(warmup_steps=warmup, patience=patience)
    rows = list(recorded("healthy.csv"))
    watch, verdict = follow(rules, rows)
    assert verdict is None and rows[-1][0] == 3000
    assert {len(sigmas) for sigmas in watch.sigmas.values()} == {10} and len(watch.sigmas) == 23


def test_a_recorded_run_with_far_too_high_a_rate_for_d_is_caught_soon_after_d_died():
    rules = default_config().collapse
    rules.warmup_steps = 50
    verdict = follow(rules, recorded("dead_discriminator.csv"))[1]
    assert verdict.step == 160, "the gradients are 0 from the row of step 70 on"
    assert str(verdict).startswith(
        "collapsed at step 160: D's gradient has norm 0, below 0.0001, for 10 consecutive rows; G's gradient"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_a_collapse_at_once_even_in_the_warm_up(value):
    row = HEALTHY | {"g_loss": value, "steps_per_second": None}
    expected = Collapse(10, f"g_loss is {value}")
    assert follow(make_rules(), [(10, row)])[1] == not_finite(10, row) == expected


def test_a_rate_not_known_yet_is_no_collapse():
    row = HEALTHY | {"steps_per_second": None}
    assert follow(make_rules(), [(10, row)])[1] is None and not_finite(10, row) is None


def test_a_weight_of_either_network_that_is_not_finite_is_a_collapse():
    verdict = follow(make_rules(), [(10, HEALTHY, {"discriminator/linear/kernel": math.nan})])[1]
    assert verdict.reason == "σ of discriminator/linear/kernel is nan"


def test_a_row_full_of_nan_is_summed_up():
    verdict = follow(make_rules(), [(10, dict.fromkeys("abcdef", math.nan))])[1]
    assert verdict.reason == "a is nan, b is nan, c is nan, d is nan and 2 more"


@pytest.mark.parametrize(("seen", "sign"), SIGNS.items())
def test_a_sign_must_last_for_the_patience_and_then_is_named_with_value_and_threshold(seen, sign):
    rules = make_rules()
    assert follow(rules, steps(200, 210, **sign))[1] is None
    assert follow(rules, steps(200, 900, **sign))[1] == Collapse(220, f"{seen}, for 3 consecutive rows")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("d_loss", [-50.0, 1e-3, 60.0])
def test_bounds_on_the_discriminators_loss_hold_for_losses_with_a_floor_at_zero_alone(loss, d_loss):
    verdict = follow(make_rules(), steps(200, 900, d_loss=d_loss), loss=loss)[1]
    assert (verdict is not None) == (loss != "wasserstein")
    dead = follow(make_rules(), steps(200, 900, d_loss=d_loss, d_gradient_norm=0.0), loss=loss)[1]
    assert "D's gradient has norm 0" in dead.reason


@pytest.mark.parametrize("sign", SIGNS.values())
def test_one_row_in_order_starts_the_patience_anew(sign):
    rows = [*steps(200, 210, **sign), *steps(220, 220), *steps(230, 240, **sign)]
    assert follow(make_rules(), rows)[1] is None
    assert follow(make_rules(), [*rows, *steps(250, 250, **sign)])[1].step == 250


def test_two_signs_in_turn_are_not_one_that_lasts():
    rows = steps(200, 210, d_loss=0.0) + steps(220, 230, d_loss=9.0)
    assert follow(make_rules(), rows)[1] is None


@pytest.mark.parametrize("sign", SIGNS.values())
def test_what_happens_in_the_warm_up_counts_for_nothing(sign):
    assert follow(make_rules(), steps(10, 100, **sign))[1] is None
    assert follow(make_rules(), steps(10, 900, **sign))[1].step == 130


FIRST, SECOND = "generator/linear/kernel", "generator/block_0/conv_1/kernel"


def looks(path: str, sigmas, first: int = 200):
    return [(first + 10 * i, HEALTHY, {path: sigma}) for i, sigma in enumerate(sigmas)]


def test_a_generator_weight_that_explodes_is_named_with_its_value_and_its_usual():
    quiet = [(step, HEALTHY, {FIRST: 2.0, SECOND: 1.5}) for step in (200, 210, 220)]
    burst = (230, HEALTHY, {FIRST: 30.0, SECOND: 7.0})
    verdict = follow(make_rules(), [*quiet, burst])[1]
    assert verdict == Collapse(
        230,
        f"the largest singular value of {FIRST} is 30, 15 times its median 2 (1 other weight exploded too)",
    )


@pytest.mark.parametrize(
    ("weights", "others"),
    [(1, ""), (2, " (1 other weight exploded too)"), (3, "2 other weights exploded too)")],
)
def test_one_is_not_called_many(weights, others):
    paths = [f"generator/block_{i}/conv_1/kernel" for i in range(weights)]
    watch = Watch(sigmas={path: [1.0] for path in paths})
    grown = follow(make_rules(), [(200, HEALTHY, dict.fromkeys(paths, 5.0))], watch)[1]
    assert grown.reason.endswith(f"its median 1{others}" if weights < 3 else others)
    lasting = follow(make_rules(patience=weights), steps(200, 900, d_loss=0.0))[1]
    assert lasting.reason.endswith("for 1 row" if weights == 1 else f"for {weights} consecutive rows")
    stopped = str(collapse_error(lasting, weights, [], "/run"))
    assert f", after {weights} {'rollback' if weights == 1 else 'rollbacks'}: D's loss" in stopped


def test_slow_growth_is_no_explosion_however_far_it_goes():
    assert follow(make_rules(), looks(FIRST, np.geomspace(1, 1000, 60)))[1] is None


def test_growth_by_half_at_every_look_is_an_explosion():
    assert follow(make_rules(), looks(FIRST, 1.5 ** np.arange(30)))[1].step <= 200 + 10 * 8


def test_one_wild_look_in_the_past_does_not_hide_an_explosion():
    rules = make_rules()
    watch = Watch(sigmas={FIRST: [2.0, 2.0, 7.9, 2.0, 2.0]})
    assert follow(rules, looks(FIRST, [9.0]), watch)[1].step == 200


def test_only_the_window_is_compared_with():
    rules = make_rules(sigma_window=3)
    risen = looks(FIRST, [1.0] * 20 + [3.5] * 3)
    assert follow(rules, risen)[1] is None
    watch, verdict = follow(rules, [*risen, *looks(FIRST, [13.0], first=500)])
    assert verdict is None and watch.sigmas[FIRST] == [3.5, 3.5, 13.0]


def test_the_discriminators_weights_and_those_that_start_near_nothing_may_jump():
    assert follow(make_rules(), looks("discriminator/linear/kernel", [1.0] * 9 + [500.0]))[1] is None
    assert follow(make_rules(), looks(FIRST, [0.01] * 9 + [3.9]))[1] is None
    assert follow(make_rules(), looks(FIRST, [0.01] * 9 + [4.1]))[1] is not None


def test_growth_in_the_warm_up_is_remembered_but_not_judged():
    watch, verdict = follow(make_rules(), looks(FIRST, [1.0, 50.0], first=10))
    assert verdict is None and watch.sigmas[FIRST] == [1.0, 50.0]


def test_the_first_look_of_all_has_nothing_to_be_judged_by():
    assert follow(make_rules(), looks(FIRST, [1e6]))[1] is None


def test_a_watch_saved_as_json_at_any_row_goes_on_to_the_same_verdict():
    rows = [*looks(FIRST, [1.0, 1.1 / 3, 2.0]), *steps(230, 300, d_loss=1e-3)]
    unstopped = follow(make_rules(), rows)
    assert unstopped[1] is not None
    for stop in range(5):
        watch, _ = follow(make_rules(), rows[:stop])
        restored = Watch.from_json(json.loads(json.dumps(watch.to_json())))
        assert follow(make_rules(), rows[stop:], restored) == unstopped


def test_a_checkpoint_from_before_there_was_a_watch_gives_a_fresh_one():
    assert Watch.from_json({}) == Watch(0, {}, {})


def test_after_a_rollback_patience_starts_anew_and_what_was_usual_stays():
    watch = Watch(0, {"d_loss_low": 2}, {FIRST: [1.0]})
    assert watch.after_rollback(4) == Watch(4, {}, {FIRST: [1.0]})


@pytest.mark.parametrize(
    ("rollbacks", "saved", "expected"),
    [
        (0, [1000, 3000, 2000], 2000),  # two back, the newest being the first
        (1, [1000, 2000], 1000),
        (1, [1000], 1000),  # the oldest there is
        (0, [], None),
        (2, [1000, 2000, 3000], None),  # it has had its chances
    ],
)
def test_the_run_goes_back_n_checkpoints_at_most_m_times(rollbacks, saved, expected):
    rules = make_rules(rollback_checkpoints=2, max_rollbacks=2)
    assert rollback_step(rules, rollbacks, saved) == expected


def test_each_rollback_has_its_own_seed_the_same_on_every_machine():
    assert seed_after(7, 0) == 7
    assert seed_after(0, 1) == 3964924996
    seeds = {seed_after(seed, rollbacks) for seed in (0, 1, 2**32 - 1) for rollbacks in range(50)}
    assert len(seeds) == 150 and min(seeds) >= 0 and max(seeds) < 2**32


def test_latents_after_a_rollback_come_from_another_key_of_the_states_kind():
    start = jax.random.key_data(jax.random.split(jax.random.key(3), 5)[4])
    first, second = rng_after(3, 1), rng_after(3, 2)
    assert first.shape == start.shape and first.dtype == start.dtype
    assert len({tuple(key.tolist()) for key in (np.asarray(start), first, second)}) == 3


def test_rates_are_multiplied_once_a_rollback_and_the_config_stays_as_it_is():
    config = default_config()
    config.collapse.g_rate_factor, config.collapse.d_rate_factor = 0.5, 0.1
    after = rates_after(config, 2).optimizer
    assert after.g_learning_rate == pytest.approx(5e-5 / 4)
    assert after.d_learning_rate == pytest.approx(2e-4 / 100)
    assert rates_after(config, 0) == config and config.optimizer.g_learning_rate == 5e-5


def test_a_run_that_stops_says_what_was_seen_what_is_left_and_what_can_be_done():
    found = collapse_error(Collapse(700, "d_loss is nan"), 3, [600, 400], "/run/checkpoints")
    assert isinstance(found, CollapseError)
    for part in (
        "collapsed at step 700, after 3 rollbacks: d_loss is nan. ",
        "Checkpoints left in /run/checkpoints: step 400, 600. ",
        "on_collapse='rollback'",
    ):
        assert part in str(found)
    nothing_left = str(collapse_error(Collapse(7, "d_loss is nan"), 0, [], "/run"))
    assert "collapsed at step 7: d_loss is nan. /run holds no checkpoint yet" in nothing_left
