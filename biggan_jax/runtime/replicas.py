"""The mapping of functions over replicas: the only module that places arrays on devices.

Both mappings keep the state as plain arrays, replicated over the devices without a device axis, and take
batches with a leading replica axis. `config.replicas.mapping` chooses one. The devices may belong to several
processes. Each process then feeds its own devices, which are neighbours in the order of the replicas.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from biggan_jax.runtime.mappings import MAPPINGS

AXIS = "replicas"


class Replicas:
    """Devices of a run, with one replica on each, and the mapping of a replica's function over them.

    Args:
      mapping: One of `MAPPINGS`.
      devices: Devices to use; by default all devices of all processes.

    Attributes:
      mapping: Name of the mapping.
      devices: Devices in the order of the replicas.

    Raises:
      ValueError: `mapping` is not in `MAPPINGS`.
    """

    def __init__(self, mapping: str = "pmap", devices: Sequence[Any] | None = None):
        if mapping not in MAPPINGS:
            raise ValueError(f"replicas.mapping = {mapping!r}: choose one of {MAPPINGS}")
        self.mapping = mapping
        # On pods the devices of a process have no consecutive numbers.
        devices = jax.devices() if devices is None else devices
        self.devices = sorted(devices, key=lambda device: (device.process_index, device.id))
        self._local = [device for device in self.devices if device.process_index == jax.process_index()]
        self._mesh = Mesh(np.array(self.devices), (AXIS,))

    @property
    def count(self) -> int:
        """Number of replicas."""
        return len(self.devices)

    @property
    def _alone(self) -> bool:
        return len(self._local) == self.count

    @property
    def must_wait(self) -> bool:
        """Whether each step must end before the next one is dispatched.

        Several simulated devices on one CPU share a thread pool. Two steps in flight could each hold threads
        that the collectives of the other wait for.
        """
        return self.count > 1 and self.devices[0].platform == "cpu"

    def map(self, function: Callable[..., Any], donate: bool = True) -> Callable[..., Any]:
        """Compiles a function of one replica into a function of all replicas.

        Args:
          function: Pure `function(state, batch)`, which may use collectives over `AXIS`. Its results must be
            the same on every replica: they depend on the state alone, or come from collectives.
          donate: Whether the state's buffers are donated; the caller must not use the old state again.

        Returns:
          The compiled `function(state, batch)`. State and results are replicated; the leading axis of the
          batch is the axis of the replicas.
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
            check_vma=False,  # pmean of batch statistics and gradients makes the results equal
        )
        return jax.jit(mapped, donate_argnums=donated)

    def put_state(self, state: Any) -> Any:
        """Replicates the first process's state on every device.

        Args:
          state: Tree of complete arrays. In the other processes only shapes and types matter.
        """
        if self._alone:
            return jax.device_put(state, NamedSharding(self._mesh, PartitionSpec()))
        shared = self._from_first(state)
        if self.mapping == "shard_map":
            return shared
        # Across processes pmap takes and returns arrays on this process's devices.
        here = NamedSharding(Mesh(np.array(self._local), (AXIS,)), PartitionSpec())
        return jax.tree.map(
            lambda x: jax.make_array_from_single_device_arrays(
                x.shape, here, [shard.data for shard in x.addressable_shards]
            ),
            shared,
        )

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits this process's part of a batch over its devices, in order.

        Args:
          batch: `labels: [*steps, B]`, and further arrays with the same leading axes, such as
            `images: [*steps, B, H, W, 3]`. B is the size of the global batch divided by the number of
            processes.

        Returns:
          The batch with a leading replica axis, such as `labels: [replicas, *steps, B / local replicas]`.
        """
        axis = batch["labels"].ndim - 1

        def split(x: np.ndarray) -> jax.Array | np.ndarray:
            parts = x.reshape(*x.shape[:axis], len(self._local), -1, *x.shape[axis + 1 :])
            return self._put_parts(np.moveaxis(parts, axis, 0))

        return jax.tree.map(split, batch)

    def put_scalar(self, value: float) -> jax.Array | np.ndarray:
        """Returns f32[replicas], in which each of this process's replicas has the number `value`."""
        return self._put_parts(np.full(len(self._local), value, np.float32))

    def abstract_state(self, state: Any) -> Any:
        """Returns shapes, types and shardings of `put_state(state)`; the devices need not be present."""
        return self._abstract(state, PartitionSpec())

    def abstract_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns shapes, types and shardings of `put_batch` for a complete global batch."""
        axis = batch["labels"].ndim - 1

        def split(x: Any) -> jax.ShapeDtypeStruct:
            of_replica = x.shape[axis] // self.count
            shape = (self.count, *x.shape[:axis], of_replica, *x.shape[axis + 1 :])
            return jax.ShapeDtypeStruct(shape, x.dtype)

        return self._abstract(jax.tree.map(split, batch), PartitionSpec(AXIS))

    def abstract_scalar(self) -> jax.ShapeDtypeStruct:
        """Returns shape, type and sharding of the result of `put_scalar`."""
        return self._abstract(jax.ShapeDtypeStruct((self.count,), np.float32), PartitionSpec(AXIS))

    def _abstract(self, tree: Any, spec: PartitionSpec) -> Any:
        sharding = NamedSharding(self._mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    def _put_parts(self, parts: np.ndarray) -> jax.Array | np.ndarray:
        """Puts `parts: [local replicas, …]` on the devices of this process."""
        if self.mapping == "pmap" and not self._alone:
            return parts  # pmap places them by itself
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.make_array_from_process_local_data(sharding, parts, (self.count, *parts.shape[1:]))

    def broadcast(self, value: Any) -> Any:
        """Returns the first process's `value`, which JSON must be able to hold, in every process."""
        if self._alone:
            return value
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = int(self._from_first(np.int32(text.size)))
        return json.loads(np.asarray(self._from_first(np.resize(text, length))).tobytes())

    def _from_first(self, tree: Any) -> Any:
        """Replicates the first process's arrays over all devices: as the sum of them and zeros."""
        each, shared = (NamedSharding(self._mesh, spec) for spec in (PartitionSpec(AXIS), PartitionSpec()))
        first = jax.process_index() == self.devices[0].process_index

        def part(x: Any) -> jax.Array:
            parts = np.zeros((len(self._local), *np.shape(x)), x.dtype)
            if first:
                parts[0] = x
            return jax.make_array_from_process_local_data(each, parts, (self.count, *np.shape(x)))

        def total(parts: Any) -> Any:
            return jax.tree.map(lambda x: x.sum(0, dtype=x.dtype), parts)

        return jax.jit(total, out_shardings=shared)(jax.tree.map(part, tree))


def on_local_devices(apply: Callable[..., Any], variables: Any) -> Callable[[np.ndarray], Any]:
    """Compiles `apply(variables, images)` for all devices of this process.

    Each device holds `variables` and gets its part of the images. Other processes of a run take no part; each
    has images of its own.

    Args:
      apply: Pure function of variables and images, whose outputs have a row for each image.
      variables: Weights of the network.

    Returns:
      A function of images `[N, …]`. The number of this process's devices must divide N.
    """
    mesh = Mesh(np.array(jax.local_devices()), ("replica",))
    copied, split = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("replica")))
    compiled = jax.jit(apply, in_shardings=(copied, split), out_shardings=split)
    variables = jax.device_put(variables, copied)
    # Placed first: with several processes, jit takes no NumPy array that it would have to split.
    return lambda images: compiled(variables, jax.device_put(images, split))
