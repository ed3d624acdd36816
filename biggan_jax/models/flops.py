"""Counts the arithmetic of a traced function: convolutions and matrix products, by module.

The count is taken from the jaxpr, so it is of the operations as computed: a convolution written another way
counts by that way. A multiplication and its addition are 2 FLOP; padding counts as if it were data, as is
the custom, but zeros that a dilation inserts do not. What nothing uses, such as the function's value where
only its gradient is asked for, is not counted: compilers drop it. Everything else (batch norm, activations,
pooling) is left out: it is bound by memory, not arithmetic.
"""

import collections
import math
from collections.abc import Iterable, Iterator

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

Scope = tuple[str, ...]


def count(jaxpr: ClosedJaxpr) -> int:
    """FLOP of the convolutions and matrix products in `jaxpr` (of `jax.make_jaxpr`)."""
    return sum(by_scope(jaxpr).values())


def by_scope(jaxpr: ClosedJaxpr) -> dict[Scope, int]:
    """FLOP by `jax.named_scope`, in order of first use, such as `{("Generator", "block_0", "conv_1"): …}`.

    Flax names the scope of each module after it.

    Raises:
      ValueError: there is arithmetic in a `while` loop, whose number of turns is not known beforehand.
    """
    totals: dict[Scope, int] = collections.defaultdict(int)
    for scope, flops in _walk(jaxpr.jaxpr, ()):
        totals[scope] += flops
    return dict(totals)


def _walk(jaxpr: Jaxpr, outer: Scope) -> Iterator[tuple[Scope, int]]:
    for eqn in _used(jaxpr):
        # The scopes inside a nested jaxpr are relative to the equation that holds it.
        scope = outer + tuple(filter(None, str(eqn.source_info.name_stack).split("/")))
        name = eqn.primitive.name
        if name == "conv_general_dilated":
            yield scope, convolution(eqn)
        elif name == "dot_general":
            yield scope, matrix_product(eqn)
        elif name == "scan":
            for inner, flops in _walk(eqn.params["jaxpr"].jaxpr, scope):
                yield inner, flops * eqn.params["length"]
        elif name == "cond":  # also what platform_dependent becomes; one branch runs, at worst the costliest
            yield from max(
                (list(_walk(branch.jaxpr, scope)) for branch in eqn.params["branches"]), key=_total
            )
        elif name == "while":
            if _total(_walk(eqn.params["body_jaxpr"].jaxpr, scope)):
                raise ValueError(
                    f"a while loop in {'/'.join(scope)} has arithmetic, an unknown number of times"
                )
        else:
            for value in eqn.params.values():  # jit, remat, custom_vjp_call and others hold one jaxpr each
                if isinstance(value, ClosedJaxpr):
                    yield from _walk(value.jaxpr, scope)
                elif isinstance(value, Jaxpr):
                    yield from _walk(value, scope)


def _used(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """The equations that results or effects come from, in order; all results of `jaxpr` count as used."""
    wanted = {var for var in jaxpr.outvars if isinstance(var, Var)}
    found = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not wanted.isdisjoint(eqn.outvars):
            wanted.update(var for var in eqn.invars if isinstance(var, Var))
            found.append(eqn)
    return found[::-1]


def _total(counts: Iterable[tuple[Scope, int]]) -> int:
    return sum(flops for _, flops in counts)


def matrix_product(eqn: JaxprEqn) -> int:
    """FLOP of a `dot_general`: 2 for every output element and contracted index."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def convolution(eqn: JaxprEqn) -> int:
    """FLOP of a `conv_general_dilated`: 2 for every output element and kernel tap that meets data."""
    params = eqn.params
    _, kernel_spec, out_spec = params["dimension_numbers"]
    kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    batch, features = (out[axis] for axis in out_spec[:2])
    channels = kernel[kernel_spec[1]]  # of one feature group
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


def _taps(out: int, kernel: int, stride: int, kernel_dilation: int, input_dilation: int, padding: int) -> int:
    """Pairs of output position and kernel tap, along one axis, that do not meet an inserted zero."""
    positions = stride * np.arange(out)[:, None] + kernel_dilation * np.arange(kernel) - padding
    return int(np.sum(positions % input_dilation == 0))
