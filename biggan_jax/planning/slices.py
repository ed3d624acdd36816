"""TPU slices that this machine does not have: their devices, as the TPU compiler describes them.

The compiler is the package libtpu. It compiles for a slice without access to one, given only its name: the
generation and the shape in chips, such as v3:8x8.
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

from biggan_jax.runtime.chips import CHIPS
from biggan_jax.runtime.errors import UserError

EXAMPLES = "v3:8x8 (128 cores), v4:4x4x4, v5e:8x8, v5p:4x4x4, v6e:8x8"
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


class Generation(NamedTuple):
    """A generation of TPUs. A JAX device is a core of v2 and v3, and a chip of the others.

    Attributes:
      peak_tflops: Peak of one device in TFLOP/s, dense, in bfloat16.
      clock: Cycles a second.
      dimensions: Dimensions of the network of chips.
      chips: Number of chips in a whole pod.
      chip_config: Name that the compiler gives to the way in which cores form a device.
    """

    peak_tflops: float
    clock: float
    dimensions: int
    chips: int
    chip_config: str = "default"


# Peaks are in runtime/chips.py, with their sources. Clocks of v2 to v4: the same papers. Google publishes no
# later clocks: those of v5e and v5p follow from their peaks with 4 and 8 matrix units of 128×128, and v6e is
# assumed to have the clock of v5p. Dimensions and sizes of pods: cloud.google.com/tpu/docs.
GENERATIONS = {
    "v2": Generation(CHIPS["v2"].peak_tflops, 0.70e9, 2, 256),
    "v3": Generation(CHIPS["v3"].peak_tflops, 0.94e9, 2, 1024),
    "v4": Generation(CHIPS["v4"].peak_tflops, 1.05e9, 3, 4096, "megacore"),
    "v5e": Generation(CHIPS["v5e"].peak_tflops, 1.50e9, 2, 256),
    "v5p": Generation(CHIPS["v5p"].peak_tflops, 1.75e9, 3, 8960),
    "v6e": Generation(CHIPS["v6e"].peak_tflops, 1.75e9, 2, 256),
}


class Slice(NamedTuple):
    """A slice of TPUs.

    Attributes:
      name: Name, such as `v3:8x8`.
      generation: Generation of its TPUs.
      devices: Descriptions of its devices, which JAX compiles for.
      hosts: Number of hosts.
      hbm_limit: Bytes of one device's memory that the compiler allows a program.
    """

    name: str
    generation: Generation
    devices: Sequence[jax.Device]
    hosts: int
    hbm_limit: int


def open_slice(name: str) -> Slice:
    """Describes a slice.

    Args:
      name: Generation and chips along each side, such as `v3:8x8`.

    Returns:
      The slice.

    Raises:
      UserError: No such slice exists, or the compiler for TPUs is not installed.
    """
    generation = _generation(name)
    _prepare_compiler()
    try:
        topology = topologies.get_topology_desc(name, platform="tpu", chip_config_name=generation.chip_config)
    except jax.errors.JaxRuntimeError as error:
        kind, _, reason = str(error).splitlines()[0].partition(": ")
        if kind != "INVALID_ARGUMENT":
            raise
        raise UserError(
            f"--topology={name}: {reason}; hosts have 2×2 chips: give sides such as those of {EXAMPLES}"
        ) from error
    hosts = len({device.process_index for device in topology.devices})
    return Slice(name, generation, topology.devices, hosts, _hbm_limit(topology.devices[0]))


def _generation(name: str) -> Generation:
    match = re.fullmatch(r"(v\w+):([1-9]\d{0,4}(?:x[1-9]\d{0,4}){1,3})", name)
    if match is None:
        raise UserError(
            f"--topology={name}: give a generation and its chips along each side, such as {EXAMPLES}"
        )
    if match[1] not in GENERATIONS:
        raise UserError(f"--topology={name}: {match[1]} is none of {', '.join(GENERATIONS)}; give {EXAMPLES}")
    generation = GENERATIONS[match[1]]
    sides = [int(side) for side in match[2].split("x")]
    # The compiler does not report these two errors: it ends the process.
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
    """Sets JAX up to compile for TPUs, before its first computation.

    Raises:
      UserError: libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the compiler for TPUs is not installed: pip install '.[tpu]' (0.5 GB; after it, "
            "JAX_PLATFORMS=cpu keeps other commands from using TPUs of this machine)"
        )
    jax.config.update("jax_platforms", "cpu")  # TPUs of this machine stay unused
    # What libtpu asks about a TPU host. Without these it queries a server and logs errors.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # its lock protects TPUs in use
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v3-8")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def _hbm_limit(device: jax.Device) -> int:
    """Compiles a program that no device can hold, and reads the limit from the compiler's refusal."""
    here = SingleDeviceSharding(device)
    too_much = jax.ShapeDtypeStruct((2**50,), np.uint8, sharding=here)
    try:
        jax.jit(lambda x: x + 1, out_shardings=here).lower(too_much).compile()
    except jax.errors.JaxRuntimeError as error:
        return refusal(error)[1]
    raise RuntimeError(f"the compiler claims that a petabyte fits into {device.device_kind}")


def refusal(error: jax.errors.JaxRuntimeError) -> tuple[int, int]:
    """Reads the sizes in the compiler's error for lack of memory.

    Args:
      error: Error of the compiler.

    Returns:
      Bytes that the program needs, and bytes that the device has.

    Raises:
      JaxRuntimeError: `error` itself, if its reason is not a lack of memory.
    """
    sizes = re.search(
        r"\(([\d.]+)([KMGTP]?)\) exceeds available HBM \(([\d.]+)([KMGTP]?)\)"  # libtpu of 2026
        r"|Used ([\d.]+)([KMGTP]?) of ([\d.]+)([KMGTP]?) hbm",  # libtpu of earlier years
        str(error),
    )
    if not str(error).startswith("RESOURCE_EXHAUSTED") or sizes is None:
        raise error
    needed, needed_unit, limit, limit_unit = filter(lambda group: group is not None, sizes.groups())
    return round(float(needed) * UNITS[needed_unit]), round(float(limit) * UNITS[limit_unit])
