"""Ranges of numbers: their ends belong to them as stated, also where float32 rounds."""

import pytest

from biggan_jax.runtime.ranges import Number


@pytest.mark.parametrize(
    ("number", "value", "inside"),
    [
        (Number(minimum=0.01), 0.01, True),  # 0.0099999998 in float32, as is the end
        (Number(maximum=0.1), 0.1, True),  # 0.100000001 in float32
        (Number(minimum=0.01), 0.0099999, False),
        (Number(minimum=0, below=1), 0.99999999, False),  # 1 in float32
        (Number(above=0, maximum=1), 1e-50, False),  # 0 in float32
        (Number(minimum=0), 1e40, False),  # infinite in float32
        (Number(minimum=0, below=2**32), 2**32 - 1, True),  # an integer is not rounded
    ],
)
def test_an_end_belongs_to_a_range_as_it_says(number, value, inside):
    assert number.contains(value) == inside
