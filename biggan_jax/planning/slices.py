"""TPU slices that this machine does not have: their devices, as the TPU compiler describes them.

The compiler is the package libtpu. It compiles for devices that are nowhere in reach, given the name of a
slice: the generation and the shape in chips, such as v3:8x8.
"""

import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from biggan_jax.runtime.errors import UserError

EXAMPLES = "v3:8x8 (128 cores), v4:4x4x4, v5e:8x8, v5p:4x4x4, v6e:8x8"
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


class Generation(NamedTuple):
    """A generation of TPUs, by what JAX calls a device: a core of v2 and v3, a chip of the others."""

    peak_tflops: float  # a second, dense, in bfloat16
    clock: float  # cycles a second
    dimensions: int  # of its network of chips
    chips: int  # of a whole pod
    chip_config: str = "default"  # the compiler's name for how cores make a device


# v2 and v3, half a chip: Jouppi et al. 2020, "A domain-specific supercomputer for training deep neural
# networks". v4: Jouppi et al. 2023, "TPU v4: an optically reconfigurable supercomputer for machine learning".
# The others: cloud.google.com/tpu/docs, but for the clocks, which it does not give: v5e's and v5p's are what
# makes the peak of their 4 and 8 matrix units of 128×128; v6e's is assumed to be v5p's.
GENERATIONS = {
    "v2": Generation(23.0, 0.70e9, 2, 256),
    "v3": Generation(61.5, 0.94e9, 2, 1024),
    "v4": Generation(275.0, 1.05e9, 3, 4096, "megacore"),
    "v5e": Generation(197.0, 1.50e9, 2, 256),
    "v5p": Generation(459.0, 1.75e9, 3, 8960),
    "v6e": Generation(918.0, 1.75e9, 2, 256),
}


class Slice(NamedTuple):
    """Devices of a slice; `hbm_limit` is what the compiler lets a program have of one device's memory."""

    name: str
    generation: Generation
    devices: Sequence[jax.Device]
    hosts: int
    hbm_limit: int  # bytes


def open_slice(name: str) -> Slice:
    """Finds what a slice consists of.

    Args:
      name: such as `v3:8x8`, the generation and the chips along each side.

    Raises:
      UserError: no such slice, or there is no compiler for TPUs on this machine.
    """
    generation = _generation(name)
    _prepare_compiler()
    try:
        found = topologies.get_topology_desc(name, platform="tpu", chip_config_name=generation.chip_config)
    except jax.errors.JaxRuntimeError as error:
        kind, _, reason = str(error).splitlines()[0].partition(": ")
        if kind != "INVALID_ARGUMENT":
            raise
        raise UserError(
            f"--topology={name}: {reason}; hosts have 2×2 chips: give sides such as those of {EXAMPLES}"
        ) from error
    hosts = len({device.process_index for device in found.devices})
    return Slice(name, generation, found.devices, hosts, _hbm_limit(found.devices[0]))


def _generation(name: str) -> Generation:
    match = re.fullmatch(r"(v\w+):([1-9]\d*(?:x[1-9]\d*)+)", name)
    if match is None:
        raise UserError(
            f"--topology={name}: give a generation and its chips along each side, such as {EXAMPLES}"
        )
    if match[1] not in GENERATIONS:
        raise UserError(f"--topology={name}: {match[1]} is none of {', '.join(GENERATIONS)}; give {EXAMPLES}")
    generation = GENERATIONS[match[1]]
    sides = [int(side) for side in match[2].split("x")]
    # Of these two the compiler says nothing: it takes the process down.
    if len(sides) != generation.dimensions:
        raise UserError(
            f"--topology={name}: slices of {match[1]} have {generation.dimensions} sides, not {len(sides)}; "
            f"give {EXAMPLES}"
        )
    if math.prod(sides) > generation.chips:
        raise UserError(
            f"--topology={name}: {math.prod(sides):,} chips, and a pod of {match[1]} has "
            f"{generation.chips:,}; give {EXAMPLES}"
        )
    return generation


def _prepare_compiler() -> None:
    """Makes JAX ready to compile for TPUs; nothing may have been computed before.

    Raises:
      UserError: libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the compiler for TPUs is not installed: pip install '.[tpu]' (0.5 GB; after it, "
            "JAX_PLATFORMS=cpu keeps other commands from looking for TPUs on this machine)"
        )
    jax.config.update("jax_platforms", "cpu")  # this machine's own TPUs, if any, are left alone
    # All that libtpu wants to know of a TPU host. Without it, it asks a server, and complains.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # the lock is for those who use the TPUs
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v3-8")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def _hbm_limit(device: jax.Device) -> int:
    """Asks the compiler for more than any device has; it refuses, and says what there is."""
    here = SingleDeviceSharding(device)
    too_much = jax.ShapeDtypeStruct((2**50,), np.uint8, sharding=here)
    try:
        jax.jit(lambda x: x + 1, out_shardings=here).lower(too_much).compile()
    except jax.errors.JaxRuntimeError as error:
        return refusal(error)[1]
    raise RuntimeError(f"the compiler takes a petabyte to fit into {device.device_kind}")


def refusal(error: jax.errors.JaxRuntimeError) -> tuple[int, int]:
    """Bytes that a program needs and that there are, of the compiler's refusal for lack of memory.

    Raises:
      JaxRuntimeError: `error` itself, if it is another one.
    """
    sizes = re.search(
        r"\(([\d.]+)([KMGTP]?)\) exceeds available HBM \(([\d.]+)([KMGTP]?)\)"  # libtpu of 2026
        r"|Used ([\d.]+)([KMGTP]?) of ([\d.]+)([KMGTP]?) hbm",  # and some years before
        str(error),
    )
    if not str(error).startswith("RESOURCE_EXHAUSTED") or sizes is None:
        raise error
    needed, needed_unit, limit, limit_unit = filter(lambda group: group is not None, sizes.groups())
    return round(float(needed) * UNITS[needed_unit]), round(float(limit) * UNITS[limit_unit])
