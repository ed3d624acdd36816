"""Count of the arithmetic of a traced function: convolutions and matrix products, by module.

The count comes from the jaxpr, so it is of the operations as computed: a convolution in another form counts
in that form. A multiplication and its addition are 2 FLOP. Padding counts as data, as is customary; zeros
that a dilation inserts do not. Unused results do not count, since compilers drop them. All else (batch norm,
activations, pooling) is left out: memory limits it, not arithmetic.
"""

import collections
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

Scope = tuple[str, ...]


def count(jaxpr: ClosedJaxpr) -> int:
    """Counts the FLOP of the convolutions and matrix products in a jaxpr (of `jax.make_jaxpr`)."""
    return sum(by_scope(jaxpr).values())


def by_scope(jaxpr: ClosedJaxpr) -> dict[Scope, int]:
    """Counts FLOP by `jax.named_scope`, in order of first use: `{("Generator", "block_0", "conv_1"): …}`.

    Flax names the scope of each module after the module.

    Raises:
      ValueError: If a `while` loop has arithmetic, since its number of iterations is unknown.
    """
    totals: dict[Scope, int] = collections.defaultdict(int)
    for scope, flops in _walk(jaxpr.jaxpr, ()):
        totals[scope] += flops
    return dict(totals)


def _walk(jaxpr: Jaxpr, outer: Scope) -> Iterator[tuple[Scope, int]]:
    for eqn in _used(jaxpr):
        # Scopes in a nested jaxpr are relative to its equation.
        scope = outer + tuple(filter(None, str(eqn.source_info.name_stack).split("/")))
        name = eqn.primitive.name
        if name == "conv_general_dilated":
            yield scope, convolution(eqn)
        elif name == "dot_general":
            yield scope, matrix_product(eqn)
        elif name == "scan":
            for inner, flops in _walk(eqn.params["jaxpr"].jaxpr, scope):
                yield inner, flops * eqn.params["length"]
        elif name == "cond":  # Also from platform_dependent. One branch runs, at most the costliest.
            yield from max(
                (list(_walk(branch.jaxpr, scope)) for branch in eqn.params["branches"]), key=_total
            )
        elif name == "while":
            if _total(_walk(eqn.params["body_jaxpr"].jaxpr, scope)):
                raise ValueError(
                    f"a while loop in {'/'.join(scope)} has arithmetic, with an unknown number of iterations"
                )
        else:
            for value in eqn.params.values():  # jit, remat, custom_vjp_call and others hold a jaxpr.
                if isinstance(value, ClosedJaxpr):
                    yield from _walk(value.jaxpr, scope)
                elif isinstance(value, Jaxpr):
                    yield from _walk(value, scope)


def _used(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """Returns the equations that results or effects depend on, in order."""
    wanted = {var for var in jaxpr.outvars if isinstance(var, Var)}
    used = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not wanted.isdisjoint(eqn.outvars):
            wanted.update(var for var in eqn.invars if isinstance(var, Var))
            used.append(eqn)
    return used[::-1]


def _total(counts: Iterable[tuple[Scope, int]]) -> int:
    return sum(flops for _, flops in counts)


def matrix_product(eqn: JaxprEqn) -> int:
    """Counts the FLOP of a `dot_general`: 2 for each output element and contracted index."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = _shape(eqn.invars[0])
    return 2 * math.prod(_shape(eqn.outvars[0])) * math.prod(left[axis] for axis in contracted)


def convolution(eqn: JaxprEqn) -> int:
    """Counts the FLOP of a `conv_general_dilated`: 2 for each output element and kernel tap on data."""
    params = eqn.params
    _, kernel_spec, out_spec = params["dimension_numbers"]
    kernel, out = _shape(eqn.invars[1]), _shape(eqn.outvars[0])
    batch, features = (out[axis] for axis in out_spec[:2])
    channels = kernel[kernel_spec[1]]  # in one feature group
    taps = math.prod(
        _taps(out[out_axis], kernel[kernel_axis], *geometry)
        for out_axis, kernel_axis, *geometry in zip(
            out_spec[2:],
            kernel_spec[2:],
            params["window_strides"],
            params["rhs_dilation"],
            params["lhs_dilation"],
            (low for low, _ in params["padding"]),
            strict=True,
        )
    )
    return 2 * batch * features * channels * taps


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape  # JAX types `aval` without the shape that arrays have.


def _taps(out: int, kernel: int, stride: int, kernel_dilation: int, input_dilation: int, padding: int) -> int:
    """Counts the pairs of output position and kernel tap on one axis that meet no inserted zero."""
    positions = stride * np.arange(out)[:, None] + kernel_dilation * np.arange(kernel) - padding
    return int(np.sum(positions % input_dilation == 0))
