"""Describes the networks of a config: their modules, shapes, parameters and arithmetic.

Examples:
  python -m biggan_jax.describe --config=configs/imagenet128.py
  python -m biggan_jax.describe --config=configs/imagenet128.py --config.model.channels=64
  python -m biggan_jax.describe --config=configs/imagenet512.py --json

Output shapes are height×width×channels. GFLOP are 10⁹ multiplications and additions of the convolutions and
matrix products in one forward pass of one image, as computed here: less than the plain form of the network
takes, because resampling is merged into convolutions. Spectral norm, which is paid once a step, is not in
them. No weights are made, so this takes seconds at any size.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import rich.box
import rich.console
import rich.table
from absl import flags

from biggan_jax import config
from biggan_jax.models import flops
from biggan_jax.models.networks import make_discriminator, make_generator
from biggan_jax.runtime import cli


def describe(model: Any) -> dict[str, Any]:
    """Measures both networks by shapes alone.

    Args:
      model: the `model` section of a config.

    Returns:
      `{"generator": …, "discriminator": …}`, each with `parameters`, `gflops_per_image` (see the module's
      docstring) and `modules`, a list of `name`, `output_shape` (of one image), `parameters` and
      `gflops_per_image`, in the order they are called.
    """
    latent = jax.ShapeDtypeStruct((1, model.latent_dim), jnp.float32)
    image = jax.ShapeDtypeStruct((1, model.resolution, model.resolution, 3), jnp.float32)
    return {
        "generator": _describe_network(make_generator(model), latent),
        "discriminator": _describe_network(make_discriminator(model), image),
    }


def _describe_network(network: nn.Module, inputs: jax.ShapeDtypeStruct) -> dict[str, Any]:
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    variables = jax.eval_shape(lambda x, y: network.init(jax.random.key(0), x, y), inputs, labels)
    shapes: dict[str, tuple[int, ...]] = {}

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
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


def table(title: str, network: dict[str, Any]) -> rich.table.Table:
    """One network's description as a table."""
    result = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_footer=True)
    result.add_column("module", "total")
    result.add_column("output", justify="right")
    result.add_column("parameters", f"{network['parameters']:,}", justify="right")
    result.add_column("GFLOP/image", f"{network['gflops_per_image']:.3f}", justify="right")
    for module in network["modules"]:
        result.add_row(
            module["name"],
            "×".join(map(str, module["output_shape"])) or "scalar",
            f"{module['parameters']:,}",
            f"{module['gflops_per_image']:.3f}",
        )
    return result


def main(argv: Sequence[str]) -> None:
    del argv
    config.validate(flags.FLAGS.config)
    networks = describe(flags.FLAGS.config.model)
    if flags.FLAGS.json:
        print(json.dumps(networks))
        return
    console = rich.console.Console()
    for name, network in networks.items():
        console.print(table(name, network))
    total = sum(network["parameters"] for network in networks.values())
    console.print(f"both networks: {total:,} parameters")


if __name__ == "__main__":
    cli.define_config()
    flags.DEFINE_bool("json", False, "print one JSON object instead of tables")
    cli.run(main)
