"""Names of the variables in the modules of TF-Hub, and the architecture inferred from their shapes.

The converters in huggingface's pytorch-pretrained-BigGAN (deep) and in ajbrock's BigGAN-PyTorch (the others)
read the same names from the modules.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from biggan_jax.exports.weights.layout import ParameterShape, Tensor, parse_layer, refuse
from biggan_jax.exports.weights.model_section import model_section
from biggan_jax.models.architecture import INITIAL_RESOLUTION
from biggan_jax.runtime.errors import UserError

EPSILON = 1e-4  # in batch norm and in spectral norm


class Dialect(NamedTuple):
    """Names of the parts in one of the two families."""

    average: str  # suffix of averaged weights
    first: str
    last: str
    last_norm: str
    last_statistics: str
    norm: str
    statistics: str
    gain: str
    bias: str


PLAIN = Dialect(
    average="ema_b999900",
    first="Generator/G_Z/G_linear",
    last="Generator/conv_2d",
    last_norm="Generator/ScaledCrossReplicaBN",
    last_statistics="Generator/ScaledCrossReplicaBNbn",
    norm="HyperBN",
    statistics="CrossReplicaBN",
    gain="gamma",
    bias="beta",
)
DEEP = Dialect(
    average="ema_0.9999",
    first="Generator/GenZ/G_linear",
    last="Generator/conv_to_rgb",
    last_norm="Generator/BatchNorm",
    last_statistics="Generator/BatchNorm",
    norm="BatchNorm",
    statistics="BatchNorm",
    gain="scale",
    bias="offset",
)


def infer_model(shapes: Mapping[str, ParameterShape], dialect: Dialect, source: str) -> ConfigDict:
    """Returns the `model` section of a generator from the shapes of its variables.

    Args:
      shapes: Shapes of the variables, by name.
      dialect: Names of the parts.
      source: Name of the file in errors.

    Raises:
      UserError: If the network is not supported, or the variables that decide are missing.
    """
    deep, average = dialect is DEEP, dialect.average
    numbers = [
        int(match[1] or 0)
        for name in shapes
        if (match := re.match(r"Generator/GBlock(?:_(\d{1,3}))?/", name))
    ]
    blocks = max(numbers, default=-1) + 1
    depth, last = (2, "conv3") if deep else (1, "conv1")

    layers = [f"{_block(index)}/{last}" for index in range(depth - 1, blocks, depth)]
    needed = {f"{layer}/w/{average}": 4 for layer in layers}
    needed |= {f"linear/w/{average}": 2, f"{dialect.first}/w/{average}": 2}
    refuse(
        source,
        {
            "missing": needed.keys() - shapes.keys(),
            "of another shape": (
                f"{name} {list(shapes[name])} in place of {axes} axes"
                for name, axes in needed.items()
                if name in shapes and len(shapes[name]) != axes
            ),
        },
    )
    classes, embedding = shapes[f"linear/w/{average}"]
    inputs, outputs = shapes[f"{dialect.first}/w/{average}"]
    widths = [outputs // INITIAL_RESOLUTION**2, *(shapes[f"{layer}/w/{average}"][3] for layer in layers)]
    latent = inputs - embedding if deep else inputs * (blocks + 1)
    if latent < 1:
        raise UserError(
            f"{source}: {dialect.first} has {inputs} inputs, and the class embedding has {embedding}"
        )
    return model_section(
        source,
        deep=deep,
        widths=widths,
        num_classes=classes,
        latent_dim=latent,
        class_embedding_dim=embedding,
        hierarchical=not deep,
        attention_resolution=_attention_resolution(shapes, average, widths, source),
        epsilon=EPSILON,
    )


def _attention_resolution(
    shapes: Mapping[str, ParameterShape], average: str, widths: Sequence[int], source: str
) -> int:
    """Infers the resolution of attention from its width, which one feature map of a published module has."""
    if not any(name.startswith("Generator/attention/") for name in shapes):
        return 0
    name = f"Generator/attention/theta/w/{average}"
    refuse(source, {"missing": {name} - shapes.keys()})
    width = shapes[name][-2] if len(shapes[name]) > 1 else 0
    places = [index for index, other in enumerate(widths) if other == width and index > 0]
    if len(places) != 1:
        raise UserError(
            f"{source}: attention is {width} channels wide, and so are {len(places)} of the feature maps "
            f"({widths} from 4×4 upward): its place is ambiguous"
        )
    return INITIAL_RESOLUTION << places[0]


def _block(index: int) -> str:
    return f"Generator/GBlock_{index}" if index else "Generator/GBlock"


def _numbered(name: str, number: str) -> str:
    """Returns Sonnet's name of the n-th module of a kind: the second is NAME_1."""
    return name if number == "1" else f"{name}_{int(number) - 1}"


def _module(path: str, dialect: Dialect) -> str:
    """Returns the name of a module in the file."""
    fixed = {
        "linear": dialect.first,
        "conv": dialect.last,
        "norm": dialect.last_norm,
        "class_embedding": "linear",
        "attention": "Generator/attention",
        "attention/o": "Generator/attention/o_conv",
    }
    if path in fixed:
        return fixed[path]
    if path.startswith("attention/"):
        return f"Generator/{path}"
    block, kind, number, part = parse_layer(path)
    if kind == "conv" or part is None:
        return f"{_block(int(block))}/conv{'_sc' if number == 'shortcut' else int(number) - 1}"
    return f"{_block(int(block))}/{_numbered(dialect.norm, number)}/{getattr(dialect, part)}"


def parameter(
    leaf: str, shape: ParameterShape, dialect: Dialect, shapes: Mapping[str, ParameterShape]
) -> dict[str, Tensor]:
    """Returns the tensors of the file that one parameter needs, by key for `collect`.

    Args:
      leaf: Path of the parameter.
      shape: Shape of the parameter.
      dialect: Names of the parts.
      shapes: Shapes of the variables, by name.
    """
    path, _, kind = leaf.rpartition("/")
    module, average = _module(path, dialect), dialect.average
    if path == "conv":  # all outputs; `freeze` takes three
        outputs = (shapes.get(f"{module}/w/{average}") or shape)[-1]
        shape = (*shape[:-1], max(outputs, shape[-1]))
    if path == "norm":
        kind = getattr(dialect, kind)
    elif kind != "gamma":
        kind = "b" if kind == "bias" else "w"
    tensors = {f"params/{leaf}": Tensor(f"{module}/{kind}/{average}", shape)}
    if leaf.endswith("/kernel"):
        tensors[f"u/{leaf}"] = Tensor(f"{module}/u0", (1, shape[-1]), np.ravel)
    return tensors


def accumulated(leaf: str, shape: ParameterShape, dialect: Dialect) -> Tensor:
    """Returns the variable with a statistic at truncation 1 in a published checkpoint."""
    path, _, kind = leaf.rpartition("/normalize/")
    module = dialect.last_statistics
    if path != "norm":
        block, _, number, _ = parse_layer(path)
        module = f"{_block(int(block))}/{_numbered(dialect.statistics, number)}"
    return Tensor(f"{module}/accumulated_{ {'mean': 'mean', 'variance': 'var'}[kind] }", shape)
