"""The sampler as one StableHLO program, which JAX runs without this package on CPUs, GPUs and TPUs.

Weights and statistics are constants in the program. Its arguments are any number of latents, their labels and
the truncation. It interpolates statistics as `truncation.statistics_at` does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.generation import generate, to_pixels
from biggan_jax.sampling.truncation import TruncationKind, spread, untruncated

PROGRAM = "sampler.stablehlo"  # name of the file
PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST = 2_000_000_000  # bytes of constants; the file format holds less than 2^31
KNOTS = 2001  # in the table of spreads
WIDEST = {"threshold": 8.0, "scale": 1.0}  # largest truncation in the table; 1e-15 of a normal is beyond ±8


def sampler_program(exported: ExportedGenerator) -> bytes:
    """Lowers a generator to a program for `jax.export.deserialize`.

    The loaded program has `call(z, labels, truncation)`, with z f32[b, latent_dim], labels i32[b] from 0 to
    num_classes - 1 and truncation f32[]. It returns u8[b, resolution, resolution, 3]. A truncation outside of
    the stored ones counts as the nearest of them.

    Args:
      exported: The generator.

    Returns:
      Content of the file.

    Raises:
      UserError: If weights and statistics are too large for one file, or the package flatbuffers is missing.
    """
    model, kind = exported.model, exported.truncation_kind
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((exported.params, dict(exported.statistics))))
    if size > LARGEST:
        raise UserError(
            f"--stablehlo: weights and statistics take {size / 1e9:.1f} GB, and such a file holds 2 GB at "
            "most; leave --stablehlo out, or give fewer --truncations"
        )
    generator = make_generator(model)
    truncations = sorted(exported.statistics, key=lambda stored: spread(kind, stored))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(exported.statistics[t] for t in truncations))

    def sample(z: jax.Array, labels: jax.Array, truncation: jax.Array) -> jax.Array:
        # The barrier keeps XLA from evaluating the constants for minutes while it compiles.
        weights, stored = jax.lax.optimization_barrier((exported.params, stacked))
        statistics = _mixed(stored, _position(kind, truncations, truncation))
        return to_pixels(generate(generator, weights, statistics, z, labels))

    (count,) = jax.export.symbolic_shape("b")
    arguments = (
        jax.ShapeDtypeStruct((count, model.latent_dim), jnp.float32),
        jax.ShapeDtypeStruct((count,), jnp.int32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    with _no_paths():
        program = jax.export.export(jax.jit(sample), platforms=PLATFORMS)(*arguments)
    try:
        return bytes(program.serialize())
    except ImportError as error:
        raise UserError("--stablehlo needs the package flatbuffers: pip install flatbuffers") from error


@contextmanager
def _no_paths() -> Iterator[None]:
    """Leaves folders out of the Python file names that the operations of the program carry."""
    setting = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, setting)
    jax.config.update(setting, r".*[/\\]")
    try:
        yield
    finally:
        jax.config.update(setting, before)


def _mixed(stored: Tree, position: jax.Array) -> Tree:
    """Interpolates stored statistics [T, C]: position 1.25 is three quarters of row 1 and one of row 2."""
    rows = jax.tree.leaves(stored)[0].shape[0]
    shares = jnp.maximum(1 - jnp.abs(position - np.arange(rows, dtype=np.float32)), 0)
    return jax.tree.map(lambda leaf: (shares[:, None] * leaf).sum(axis=0), stored)


def _position(kind: TruncationKind, truncations: Sequence[float], truncation: jax.Array) -> jax.Array:
    """Returns the position of a truncation among the T stored ones, by its spread: 0 to T - 1.

    The position is interpolated in a table that contains the stored truncations, so theirs are integers.
    """
    no_truncation = untruncated(kind)
    known = {*np.linspace(0, WIDEST[kind], KNOTS).tolist(), *truncations} - {no_truncation}
    places = [spread(kind, stored) for stored in truncations]
    knots = sorted(known)
    positions = np.interp([spread(kind, knot) for knot in knots], places, np.arange(len(places)))
    position = jnp.interp(truncation, np.asarray(knots, np.float32), np.asarray(positions, np.float32))
    last = np.float32(np.interp(1.0, places, np.arange(len(places))))
    return jnp.where(truncation == no_truncation, last, position)
