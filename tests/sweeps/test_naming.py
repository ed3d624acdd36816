"""Names of runs: the same for the same override, another for another, and harmless."""

import itertools
import re
import shlex

import pytest

from biggan_jax.config import default_config
from biggan_jax.runtime.config_file import field_names
from biggan_jax.sweeps.naming import MAX_LENGTH, run_name

KNOWN = field_names(default_config())


def test_the_order_in_which_fields_are_given_does_not_rename_a_run():
    override = {"seed": 1, "model.channels": 64, "optimizer.beta1": 0.5}
    names = {run_name(dict(items), KNOWN) for items in itertools.permutations(override.items())}
    assert names == {"channels=64,beta1=0.5,seed=1"}


def test_fields_of_one_last_word_are_told_apart():
    assert run_name({"model.epsilon": 0.01}, KNOWN) == "model.epsilon=0.01"
    assert run_name({"batch_size": 8}, KNOWN) == "batch_size=8"
    assert run_name({"sampling.batch_size": 8}, KNOWN) == "sampling.batch_size=8"


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ({"model.shared_embedding": False}, "shared_embedding=false"),
        ({"model.generator_channels": (8, 4, 2)}, "generator_channels=8x4x2"),
        ({"optimizer.g_learning_rate": 5e-05}, "g_learning_rate=5e-05"),
        ({"remedies.r1": 10.0}, "r1=10"),
        ({}, "base"),
        ({"name": "row8-ortho", "seed": 1}, "row8-ortho"),
    ],
)
def test_values_are_spelled_as_people_write_them(override, name):
    assert run_name(override, KNOWN) == name


HARMFUL = ["a b", "a_b", "a/b", "../up", "..", ".hidden", "-rf", "--", "x; rm -rf $HOME", "it's", 'say "no"']
HARMFUL += ["`id`", "$(id)", "a\nb", "größer", "*", "%j", "a|b", "&", "~", "x" * 300, "x" * 301]


def test_whatever_a_name_holds_it_is_a_file_name_that_shells_take_as_it_is_and_unlike_all_others():
    names = [run_name({"name": name}, KNOWN) for name in HARMFUL]
    names += [run_name({"data.source": f"folder:{name}"}, KNOWN) for name in HARMFUL]
    for name in names:
        assert shlex.quote(name) == name and "/" not in name and len(name) <= MAX_LENGTH
        assert re.match(r"[\w=]", name) and "\n" not in name
    assert len(set(names)) == len(names)
