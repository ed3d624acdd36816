"""Flags with a range: each value outside of it is refused with flag, value and remedy."""

import re
from pathlib import Path

import pytest
from absl import flags

from biggan_jax.runtime import command_flags, ranges
from biggan_jax.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *(ROOT / "biggan_jax").glob("*.py"),
    *(ROOT / "launch").glob("*.py"),
    ROOT / "biggan_jax/runtime/cli.py",
]
# Flags that pass words on to other commands; "" stands for none.
WORDS_OF_OTHERS = {"runner_flags", "evaluate_flags"}


@pytest.fixture(scope="module")
def parsers():
    """Parsers of flags of each kind, by the flag's name."""
    names = ("seed", "rate", "truncations", "file", "title")
    before = flags.FLAGS
    defined = [f"_test_{name}" for name in names]
    command_flags.integer(defined[0], 0, "a seed", ranges.SEED)
    command_flags.number(defined[1], None, "a rate", ranges.from_0_up_to(1))
    command_flags.numbers(defined[2], (), "truncations", ranges.TRUNCATION, "0.5,1,0")
    command_flags.path(defined[3], "a file")
    command_flags.text(defined[4], None, "a title")
    yield {name: before[flag].parser for name, flag in zip(names, defined, strict=True)}
    for flag in defined:
        delattr(before, flag)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "4294967295", 2**32 - 1),
        ("seed", "0x10", 16),
        ("rate", "1e-4", 1e-4),
        ("rate", "0", 0),
        ("truncations", "0.5, 1,0", (0.5, 1, 0)),
        ("title", " a ", " a "),
    ],
)
def test_values_within_the_range_are_taken(parsers, name, text, value):
    assert parsers[name].parse(text) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("seed", "4294967296", "give 0 or more, below 2**32"),
        ("seed", "-1", "give 0 or more"),
        ("seed", "1e3", "give a whole number, 0 or more"),
        ("seed", "True", "give a whole number"),
        ("seed", "9" * 5_000, "give a whole number"),
        ("seed", "", "give a whole number"),
        ("rate", "nan", "give 0 to 1"),
        ("rate", "1e30", "give 0 to 1"),
        ("rate", "1e-46", "it is 0 in float32; give 0 to 1"),
        ("rate", "fast", "give a number, 0 to 1"),
        ("truncations", "", "give numbers, each 0 to 100, such as 0.5,1,0"),
        ("truncations", "1,inf", "give numbers"),
        ("truncations", "1," * 100 + "1", "at most 100"),
        ("file", "", "is empty"),
        ("title", " ", "is empty"),
    ],
)
def test_a_value_outside_of_the_range_names_flag_value_and_remedy(parsers, name, text, says):
    with pytest.raises(UserError) as error:
        parsers[name].parse(text)
    message = str(error.value)
    assert message.startswith(f"--_test_{name}={text[:70]}") and says in message and len(message) < 300


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.stem)
def test_every_number_path_and_text_of_a_command_has_a_range(file):
    plain = re.findall(r'DEFINE_(?:integer|float|string|spaceseplist)\(\s*"(\w+)"', file.read_text())
    assert set(plain) <= WORDS_OF_OTHERS
