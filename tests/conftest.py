"""Tests run on the CPU, which poses as four devices, unless the environment says otherwise.

On simulated devices, wait for each step before the next (`jax.block_until_ready`): two steps with
collectives in flight at once deadlock.
"""

import os

# Before JAX is imported: it reads both when it first looks for devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=4".strip()
