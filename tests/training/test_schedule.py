"""The schedule of a run, and the rows that come of single steps: no step is lost and none counts twice."""

import numpy as np
import pytest

from biggan_jax.config import default_config
from biggan_jax.training.monitoring.metrics import mean
from biggan_jax.training.run.schedule import checks_singular_values, due_after, steps_of_call, warn_of_epochs
from biggan_jax.training.run.step_metrics import StepMetrics


def make_config(**fields):
    config = default_config()
    config.update(total_steps=10, log_every=2, sample_every=3, checkpoint_every=4, steps_per_call=1)
    config.update_from_flattened_dict(fields)
    return config


def due_steps(config, task):
    steps = range(1, config.total_steps + 1)
    return [step for step in steps if getattr(due_after(config, step - 1, step), task)]


def test_every_task_is_due_at_multiples_of_its_interval_and_at_the_last_step():
    config = make_config(total_steps=11)
    assert due_steps(config, "row") == [2, 4, 6, 8, 10, 11]
    assert due_steps(config, "sheet") == [3, 6, 9, 11]
    assert due_steps(config, "checkpoint") == [4, 8, 11]


def test_an_interval_of_zero_leaves_the_last_checkpoint_alone():
    config = make_config(sample_every=0, checkpoint_every=0)
    assert due_steps(config, "sheet") == due_steps(config, "evaluation") == []
    assert due_steps(config, "checkpoint") == [10]


def test_a_state_is_saved_where_it_is_evaluated():
    evaluated = {"evaluation.every": 6, "checkpoint_every": 0}
    assert due_steps(make_config(**evaluated), "checkpoint") == [6, 10]


def test_a_call_of_several_steps_makes_a_row_due_that_it_passes_over():
    config = make_config(log_every=3)
    assert due_after(config, 2, 4).row and not due_after(config, 3, 5).row


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [2, 4, 6, 8, 10]), (3, [4, 6, 10]), (5, [6, 10]), (0, [])]
)
def test_singular_values_come_with_the_first_row_since_each_multiple_of_their_interval(every, expected):
    config = make_config(**{"collapse.check_every": every})
    assert [step for step in range(2, 11, 2) if checks_singular_values(config, step)] == expected


def test_calls_end_at_multiples_of_their_length_wherever_the_run_is_resumed_and_at_the_last_step():
    config = make_config(steps_per_call=4)
    assert [steps_of_call(config, step) for step in (0, 3, 4, 7, 8)] == [4, 1, 4, 1, 2]


def test_rows_are_means_of_their_steps_and_the_rest_waits_for_the_next_row():
    config = make_config(log_every=3)
    metrics = StepMetrics([{"d_loss": 1.0}])  # of step 1, from a checkpoint
    metrics.add({"d_loss": np.array([2.0, 6.0, 9.0, 4.0])})
    metrics.add({"d_loss": np.array([5.0, 7.0])})
    metrics.fetch()
    assert [(step, mean(steps)) for step, steps in metrics.take_rows(7, config)] == [
        (3, {"d_loss": 3.0}),
        (6, {"d_loss": 6.0}),
    ]
    assert metrics.unlogged == [{"d_loss": 7.0}]
    metrics.add({"d_loss": np.array([1.0, 1.0, 5.0])})
    metrics.fetch()
    assert [(step, mean(steps)) for step, steps in metrics.take_rows(10, config)] == [
        (9, {"d_loss": 3.0}),
        (10, {"d_loss": 5.0}),
    ]


def test_the_first_step_that_is_not_finite_is_named_by_its_own_number():
    metrics = StepMetrics([])
    metrics.add({"d_loss": np.array([1.0, np.nan, np.inf])})
    assert metrics.first_not_finite(7) is None, "the numbers are still on the devices"
    metrics.fetch()
    assert metrics.first_not_finite(7).step == 6


def test_eleven_million_epochs_are_warned_of_and_the_papers_are_not():
    config = default_config()
    assert warn_of_epochs(config, 1_281_167) is None
    config.update(total_steps=2**31 - 1, batch_size=64)
    warning = warn_of_epochs(config, 24_000)
    assert warning and "2,147,483,647 are 11,453,246 epochs of 24,000 images" in warning
