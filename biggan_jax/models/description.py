"""Describes both networks by shapes alone: modules, output shapes, parameters and arithmetic."""

import math
from collections.abc import Callable
from typing import Any, TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from biggan_jax.models import flops
from biggan_jax.models.networks import make_discriminator, make_generator


class ModuleDescription(TypedDict):
    """One module of a network.

    Attributes:
      name: Name of the module.
      output_shape: Shape of its output for one image.
      parameters: Number of its parameters.
      gflops_per_image: Multiplications and additions of one forward pass of one image, in 10⁹.
    """

    name: str
    output_shape: list[int]
    parameters: int
    gflops_per_image: float


class NetworkDescription(TypedDict):
    """One network.

    Attributes:
      parameters: Number of parameters.
      gflops_per_image: Multiplications and additions of one forward pass of one image, in 10⁹, of
        convolutions and matrix products as they are computed.
      modules: Modules in the order in which they are called.
    """

    parameters: int
    gflops_per_image: float
    modules: list[ModuleDescription]


def describe(model: ConfigDict) -> dict[str, NetworkDescription]:
    """Returns `{"generator": …, "discriminator": …}` for the `model` section of a config.

    No weights are made, so this takes seconds at any size.
    """
    latent = jax.ShapeDtypeStruct((1, model.latent_dim), jnp.float32)
    image = jax.ShapeDtypeStruct((1, model.resolution, model.resolution, 3), jnp.float32)
    return {
        "generator": _describe_network(make_generator(model), latent),
        "discriminator": _describe_network(make_discriminator(model), image),
    }


def _describe_network(network: nn.Module, inputs: jax.ShapeDtypeStruct) -> NetworkDescription:
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    variables = jax.eval_shape(lambda x, y: network.init(jax.random.key(0), x, y), inputs, labels)
    shapes: dict[str, tuple[int, ...]] = {}

    def record(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        output = call(*args, **kwargs)
        if len(context.module.path) == 1 and context.method_name == "__call__":
            shapes[context.module.path[0]] = output.shape[1:]
        return output

    with nn.intercept_methods(record):
        jaxpr = jax.make_jaxpr(network.apply)(variables, inputs, labels)
    by_scope = flops.by_scope(jaxpr)
    parameters = variables["params"]
    return {
        "parameters": _size(parameters),
        "gflops_per_image": sum(by_scope.values()) / 1e9,
        "modules": [
            {
                "name": name,
                "output_shape": list(shape),
                "parameters": _size(parameters.get(name, {})),
                # A scope is the network's own name, then the module's.
                "gflops_per_image": sum(n for scope, n in by_scope.items() if scope[1:2] == (name,)) / 1e9,
            }
            for name, shape in shapes.items()
        ],
    }


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
