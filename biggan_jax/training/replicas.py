"""The mapping of the step over replicas: the one place that knows about devices.

Both mappings keep the state as plain arrays, replicated over the devices without a device axis, and take
batches with a leading replica axis; which one runs is a word in the config.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "replicas"
MAPPINGS = ("pmap", "shard_map")


class Replicas:
    """The devices of a run and how a function of one replica runs on all of them."""

    def __init__(self, mapping: str = "pmap", devices: Sequence[jax.Device] | None = None):
        """Takes `devices` (default: all), one replica each.

        Raises:
          ValueError: `mapping` is not in `MAPPINGS`.
        """
        if mapping not in MAPPINGS:
            raise ValueError(f"replicas.mapping = {mapping!r}: choose one of {MAPPINGS}")
        self.mapping = mapping
        self.devices = list(jax.devices() if devices is None else devices)
        self._mesh = Mesh(np.array(self.devices), (AXIS,))

    @property
    def count(self) -> int:
        return len(self.devices)

    @property
    def must_wait(self) -> bool:
        """Whether each step must be done before the next is dispatched.

        Several simulated devices on one CPU share a thread pool, and two steps in flight can each hold
        threads that the other's collectives wait for.
        """
        return self.count > 1 and self.devices[0].platform == "cpu"

    def map(self, function: Callable[..., Any], donate: bool = True) -> Callable[..., Any]:
        """Compiles `function(state, batch)` of one replica to one of all.

        The state is replicated in and out, the batch's leading axis is the replicas', and the results must be
        the same on every replica (they come out of collectives over `AXIS`, or of the state alone). The
        state's buffers are donated: don't use the old state again.
        """
        donated = (0,) if donate else ()
        if self.mapping == "pmap":
            return jax.pmap(
                function,
                axis_name=AXIS,
                in_axes=(None, 0),
                out_axes=None,
                devices=self.devices,
                donate_argnums=donated,
            )
        mapped = jax.shard_map(
            lambda state, batch: function(state, jax.tree.map(lambda x: x[0], batch)),
            mesh=self._mesh,
            in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
            out_specs=PartitionSpec(),
            check_vma=False,  # batch norm's and the gradients' pmean make the results equal on all replicas
        )
        return jax.jit(mapped, donate_argnums=donated)

    def put_state(self, state: Any) -> Any:
        """The state on every device, replicated."""
        return jax.device_put(state, NamedSharding(self._mesh, PartitionSpec()))

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits `[d_steps, B, …]` over the devices: `[replicas, d_steps, B / replicas, …]`, in order."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))

        def split(x: np.ndarray) -> jax.Array:
            parts = x.reshape(x.shape[0], self.count, -1, *x.shape[2:]).swapaxes(0, 1)
            return jax.device_put(parts, sharding)

        return jax.tree.map(split, batch)
