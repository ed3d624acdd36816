"""How tests compile: XLA's flags and one cache of compiled programs, for pytest and the processes it starts.

Compiling takes most of the tests' time. Networks of a few pixels can do without LLVM's optimisation, and
XLA's older code generator compiles a training step in 40 % of the time that its fusion emitters take.
"""

import os

QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def xla_flags(devices: int) -> str:
    """Returns the value of `XLA_FLAGS` for a process that simulates a number of devices."""
    return f"--xla_force_host_platform_device_count={devices} {QUICKLY}"


def set_defaults(devices: int) -> None:
    """Completes the environment of this process before JAX is imported; the user's own settings stay."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    given = os.environ.get("XLA_FLAGS", "")
    names = [flag.split("=")[0] for flag in given.split()]
    missing = [flag for flag in xla_flags(devices).split() if flag.split("=")[0] not in names]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *missing])


def cache(folder: str) -> dict[str, str]:
    """Returns the variables that keep every compiled program in a folder."""
    return {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def set_cache(folder: str) -> None:
    """Keeps every compiled program in a folder, for this process and for those that it starts."""
    for name, value in cache(folder).items():
        os.environ.setdefault(name, value)
