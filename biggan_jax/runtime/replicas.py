"""The mapping of the step over replicas: the one place that knows about devices.

Both mappings keep the state as plain arrays, replicated over the devices without a device axis, and take
batches with a leading replica axis; which one runs is a word in the config. The devices may be those of
several processes: each then feeds its own, which are neighbours in the order of replicas.
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
    """The devices of a run and how a function of one replica runs on all of them."""

    def __init__(self, mapping: str = "pmap", devices: Sequence[jax.Device] | None = None):
        """Takes `devices` (default: all of all processes), one replica each.

        Raises:
          ValueError: `mapping` is not in `MAPPINGS`.
        """
        if mapping not in MAPPINGS:
            raise ValueError(f"replicas.mapping = {mapping!r}: choose one of {MAPPINGS}")
        self.mapping = mapping
        # On pods, the devices of a process don't have numbers in a row.
        devices = jax.devices() if devices is None else devices
        self.devices = sorted(devices, key=lambda device: (device.process_index, device.id))
        self._local = [device for device in self.devices if device.process_index == jax.process_index()]
        self._mesh = Mesh(np.array(self.devices), (AXIS,))

    @property
    def count(self) -> int:
        return len(self.devices)

    @property
    def _alone(self) -> bool:
        return len(self._local) == self.count

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
        """The first process's state on every device, replicated.

        Args:
          state: arrays that are whole in this process. In the other processes only shapes and types count.
        """
        if self._alone:
            return jax.device_put(state, NamedSharding(self._mesh, PartitionSpec()))
        shared = self._from_first(state)
        if self.mapping == "shard_map":
            return shared
        # Across processes pmap takes arrays of this process's devices, and gives them back.
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
          batch: `labels: [*steps, B]` and what else has these leading axes, such as
            `images: [*steps, B, H, W, 3]`; B is the global batch's size over the number of processes.

        Returns:
          The same with a leading replica axis: `labels: [replicas, *steps, B of one replica]`.
        """
        axis = batch["labels"].ndim - 1

        def split(x: np.ndarray) -> jax.Array | np.ndarray:
            parts = x.reshape(*x.shape[:axis], len(self._local), -1, *x.shape[axis + 1 :])
            return self._put_parts(np.moveaxis(parts, axis, 0))

        return jax.tree.map(split, batch)

    def put_scalar(self, value: float) -> jax.Array | np.ndarray:
        """This process's number as that of each of its replicas: f32[replicas]."""
        return self._put_parts(np.full(len(self._local), value, np.float32))

    def abstract_state(self, state: Any) -> Any:
        """What `put_state` would give of `state`, by shape, type and place; for devices of any machine."""
        return self._abstract(state, PartitionSpec())

    def abstract_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What `put_batch` would give of the whole global `batch`, by shape, type and place."""
        axis = batch["labels"].ndim - 1

        def split(x: Any) -> jax.ShapeDtypeStruct:
            of_replica = x.shape[axis] // self.count
            shape = (self.count, *x.shape[:axis], of_replica, *x.shape[axis + 1 :])
            return jax.ShapeDtypeStruct(shape, x.dtype)

        return self._abstract(jax.tree.map(split, batch), PartitionSpec(AXIS))

    def abstract_scalar(self) -> jax.ShapeDtypeStruct:
        """What `put_scalar` would give, by shape, type and place."""
        return self._abstract(jax.ShapeDtypeStruct((self.count,), np.float32), PartitionSpec(AXIS))

    def _abstract(self, tree: Any, spec: PartitionSpec) -> Any:
        sharding = NamedSharding(self._mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    def _put_parts(self, parts: np.ndarray) -> jax.Array | np.ndarray:
        """This process's replicas' parts, `[replicas here, …]`, each on its device."""
        if self.mapping == "pmap" and not self._alone:
            return parts  # it has its own way
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.make_array_from_process_local_data(sharding, parts, (self.count, *parts.shape[1:]))

    def broadcast(self, value: Any) -> Any:
        """What the first process says, in all of them: anything that JSON holds."""
        if self._alone:
            return value
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = int(self._from_first(np.int32(text.size)))
        return json.loads(np.asarray(self._from_first(np.resize(text, length))).tobytes())

    def _from_first(self, tree: Any) -> Any:
        """The first process's arrays, replicated over all devices: a sum of them and zeros."""
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
    """`apply(variables, images)` as a function of the images, compiled, with `variables` on each device.

    Other processes of a run have no part in it: each looks at images of its own.

    Args:
      apply: a pure function of both, whose outputs have a row for each image.
      variables: its weights.

    Returns:
      A function of images `[N, …]`, where the number of this process's devices divides N.
    """
    mesh = Mesh(np.array(jax.local_devices()), ("replica",))
    copied, split = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("replica")))
    compiled = jax.jit(apply, in_shardings=(copied, split), out_shardings=split)
    variables = jax.device_put(variables, copied)
    # Put there first: of several processes, jit takes no NumPy array that is to be split.
    return lambda images: compiled(variables, jax.device_put(images, split))
