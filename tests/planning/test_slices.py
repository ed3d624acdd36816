"""Names of slices, refusals of the compiler, and a machine without it."""

import importlib.util
import types

import jax
import pytest

from biggan_jax.planning import slices
from biggan_jax.planning.slices import open_slice, refusal
from biggan_jax.runtime.errors import UserError

REFUSED = jax.errors.JaxRuntimeError(
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for "
    "HLO temporaries (15.00G) exceeds available HBM (7.48G). HLO module: jit__lambda.\nSee https://openxla.org/"
)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("v3-128", "give a generation and its chips along each side, such as v3:8x8"),
        ("", "give a generation"),
        ("v3:0x8", "give a generation"),
        ("v9:2x2", "v9 is none of v2, v3"),
        ("v5e:4x4x4", "have 2 sides, not 3"),
        ("v4:8x8", "have 3 sides, not 2"),
        ("v5e:32x32", "1,024 chips, and a pod of v5e has 256"),
    ],
)
def test_names_that_are_no_slice_are_refused_by_name_with_examples(name, problem):
    with pytest.raises(UserError, match=rf"--topology={name}: .*{problem}.*v4:4x4x4"):
        open_slice(name)


def test_without_libtpu_the_error_says_how_to_install_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "libtpu" else found(name))
    with pytest.raises(UserError, match=r"pip install '\.\[tpu\]'"):
        open_slice("v3:2x2")


def test_the_compilers_own_reason_is_passed_on_for_sides_that_hosts_do_not_divide(monkeypatch):
    def refuse(name, platform, chip_config_name):
        raise jax.errors.JaxRuntimeError(f'INVALID_ARGUMENT: Topology layout "{name}" is not divisible\nmore')

    monkeypatch.setattr(slices, "_prepare_compiler", lambda: None)
    monkeypatch.setattr(slices.topologies, "get_topology_desc", refuse)
    with pytest.raises(UserError, match=r'--topology=v3:7x3: Topology layout "v3:7x3" is not divisible; '):
        open_slice("v3:7x3")


def test_devices_of_several_hosts_are_counted_by_host(monkeypatch):
    devices = [types.SimpleNamespace(process_index=i // 8) for i in range(32)]
    asked = []
    monkeypatch.setattr(slices, "_prepare_compiler", lambda: None)
    monkeypatch.setattr(slices, "_hbm_limit", lambda device: 123)
    monkeypatch.setattr(
        slices.topologies,
        "get_topology_desc",
        lambda name, platform, chip_config_name: (
            asked.append((name, platform, chip_config_name)) or types.SimpleNamespace(devices=devices)
        ),
    )
    pod = open_slice("v4:2x2x4")
    assert (pod.name, len(pod.devices), pod.hosts, pod.hbm_limit) == ("v4:2x2x4", 32, 4, 123)
    assert asked == [("v4:2x2x4", "tpu", "megacore")]  # one device a chip, as a run has them


def test_a_refusal_names_what_is_needed_and_what_there_is_in_binary_units():
    assert refusal(REFUSED) == (15 * 2**30, round(7.48 * 2**30))
    older = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 512.5M of 15.48G hbm."
    assert refusal(jax.errors.JaxRuntimeError(older)) == (round(512.5 * 2**20), round(15.48 * 2**30))


@pytest.mark.parametrize("message", ["INTERNAL: a bug", "RESOURCE_EXHAUSTED: in words of another version"])
def test_other_errors_of_the_compiler_stay_errors(message):
    error = jax.errors.JaxRuntimeError(message)
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        refusal(error)
    assert raised.value is error
