"""Lists of overrides: how many, in which order, and that a random search stays what it was."""

import math

import pytest

from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps import choice, each, log_uniform, product, random_search, uniform, zipped


def test_product_has_every_combination_once_with_the_last_list_fastest():
    found = product(each("a", [1, 2]), each("b", ["x", "y", "z"]), [{"c": 0, "d": 1}])
    assert [(o["a"], o["b"]) for o in found] == [(a, b) for a in (1, 2) for b in "xyz"]
    assert all(o["c"] == 0 and o["d"] == 1 for o in found)


def test_zipped_takes_one_of_each_list_at_a_time():
    assert zipped(each("a", [1, 2]), each("b", [3, 4])) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]


def test_lists_of_unequal_length_are_not_cut_to_the_shortest():
    with pytest.raises(UserError, match="have 2, 3"):
        zipped(each("a", [1, 2]), each("b", [1, 2, 3]))


def test_a_field_of_two_lists_is_refused_and_not_overwritten():
    with pytest.raises(UserError, match="seed is set by two"):
        product(each("seed", [0]), each("seed", [1]))


def test_names_of_parts_become_the_name_of_the_whole():
    found = product([{"name": "wide", "model.channels": 96}], each("seed", [0, 1]))
    assert [o["name"] for o in found] == ["wide,seed=0", "wide,seed=1"]


def test_names_leave_out_the_fields_that_do_not_vary():
    combined = product([{"name": "wide"}], each("seed", [0, 1]), [{"total_steps": 40, "ema.decay": 0.9}])
    assert [o["name"] for o in combined] == ["wide,seed=0", "wide,seed=1"]


def test_more_draws_or_fields_leave_those_drawn_already_as_they_were():
    rates = {"optimizer.g_learning_rate": log_uniform(1e-5, 1e-3)}
    few = random_search(3, rates, seed=1)
    more = random_search(5, rates | {"batch_size": choice(32, 64)}, seed=1)
    assert [o["optimizer.g_learning_rate"] for o in more[:3]] == [o["optimizer.g_learning_rate"] for o in few]
    assert random_search(3, rates, seed=2) != few


def test_draws_are_distributed_as_said():
    drawn = random_search(
        4_000, {"log": log_uniform(1e-4, 1e-2), "flat": uniform(-1, 3), "one": choice("a", "b", "c")}
    )
    logs = [math.log10(o["log"]) for o in drawn]
    assert min(logs) >= -4 and max(logs) <= -2
    assert sum(log < -3 for log in logs) / len(logs) == pytest.approx(0.5, abs=0.03)
    flat = [o["flat"] for o in drawn]
    assert -1 <= min(flat) < -0.98 and 2.98 < max(flat) <= 3
    assert sum(flat) / len(flat) == pytest.approx(1, abs=0.07)
    for value in "abc":
        assert sum(o["one"] == value for o in drawn) / len(drawn) == pytest.approx(1 / 3, abs=0.03)


def test_a_logarithm_of_zero_is_refused_when_the_file_is_read():
    with pytest.raises(UserError, match="above 0"):
        log_uniform(0, 1)
