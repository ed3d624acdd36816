"""The sweeps that ship: the paper's rows are the paper's networks, and both ladders have the same rungs."""

import pytest

from biggan_jax.models.description import describe
from biggan_jax.sweeps.sweep_file import read_sweep

IMAGENET, FASHION = (f"configs/sweeps/ablation_{name}.py" for name in ("imagenet128", "fashion_mnist"))

# Table 1: batch, ch, parameters in millions, shared, skip-z, orthogonal regularisation, thousands of steps.
TABLE_1 = [
    (256, 64, 81.5, False, False, False, 1000),
    (512, 64, 81.5, False, False, False, 1000),
    (1024, 64, 81.5, False, False, False, 1000),
    (2048, 64, 81.5, False, False, False, 732),
    (2048, 96, 173.5, False, False, False, 295),
    (2048, 96, 160.6, True, False, False, 185),
    (2048, 96, 158.3, True, True, False, 152),
    (2048, 96, 158.3, True, True, True, 165),
    (2048, 64, 71.3, True, True, True, 371),
]


def features(run):
    model, optimizer = run.config.model, run.config.optimizer
    on = (model.shared_embedding, model.hierarchical_latents, optimizer.orthogonal_regularization > 0)
    return run.config.batch_size, model.channels, *on


def test_the_rows_for_imagenet_are_those_of_table_1_and_have_its_numbers_of_parameters():
    runs = read_sweep(IMAGENET)
    for run, (batch, channels, millions, *on, thousands) in zip(runs, TABLE_1, strict=True):
        assert features(run) == (batch, channels, *on), run.name
        assert run.config.total_steps == 1000 * thousands
        parameters = sum(network["parameters"] for network in describe(run.config.model).values())
        assert parameters == pytest.approx(1e6 * millions, rel=0.003), run.name


def test_the_ladder_for_fashion_mnist_changes_what_table_1_changes_from_row_to_row():
    small, large = read_sweep(FASHION), read_sweep(IMAGENET)
    for i in range(1, len(large)):
        steps = [
            [b == a for a, b in zip(features(runs[i - 1]), features(runs[i]), strict=True)]
            for runs in (small, large)
        ]
        assert steps[0] == steps[1], f"from {small[i - 1].name} to {small[i].name}"
    assert len({run.config.total_steps for run in small}) == 1
    assert [features(run) for run in small[9:]] == [features(small[7])] * 2  # row 8 with other seeds
    assert len({run.config.seed for run in (small[7], *small[9:])}) == 3
