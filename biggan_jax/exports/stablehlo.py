"""The sampler as one StableHLO program that JAX runs without this package, on CPUs, GPUs and TPUs.

Weights and statistics are constants in it. It is called with any number of latents, of their labels, and with
the truncation, and interpolates batch norm's statistics as `truncation.statistics_at` does.
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

PROGRAM = "sampler.stablehlo"  # its file
PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST = 2_000_000_000  # bytes of constants; the file format ends at 2^31
KNOTS = 2001  # of the table of spreads
WIDEST = {"threshold": 8.0, "scale": 1.0}  # truncation in it: of normal numbers, 1e-15 are beyond ±8


def sampler_program(exported: ExportedGenerator) -> bytes:
    """Compiles a generator for `jax.export.deserialize`.

    What is loaded has `call(z, labels, truncation)`, with z f32[b, latent_dim], labels i32[b] from 0 to
    num_classes - 1 and truncation f32[], and returns u8[b, resolution, resolution, 3]. A truncation outside
    of the stored ones is taken for the nearest of them.

    Raises:
      UserError: the weights and statistics are too large for one file, or the package flatbuffers is missing.
    """
    model, kind = exported.model, exported.truncation_kind
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((exported.params, dict(exported.statistics))))
    if size > LARGEST:
        raise UserError(
            f"--stablehlo: weights and statistics take {size / 1e9:.1f} GB, and such a file holds 2 GB at "
            "most; leave --stablehlo out, or store fewer --truncations"
        )
    generator = make_generator(model)
    truncations = sorted(exported.statistics, key=lambda stored: spread(kind, stored))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(exported.statistics[t] for t in truncations))

    def sample(z: jax.Array, labels: jax.Array, truncation: jax.Array) -> jax.Array:
        # The barrier keeps XLA from working out at length, while it compiles, what follows from constants.
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
    """Each operation names the line of Python that it is of: here by the file's name, without folders."""
    setting = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, setting)
    jax.config.update(setting, r".*[/\\]")
    try:
        yield
    finally:
        jax.config.update(setting, before)


def _mixed(stored: Tree, position: jax.Array) -> Tree:
    """Statistics between those stored, [T, C]: at position 1.25, three quarters of row 1 and one of row 2."""
    rows = jax.tree.leaves(stored)[0].shape[0]
    shares = jnp.maximum(1 - jnp.abs(position - np.arange(rows, dtype=np.float32)), 0)
    return jax.tree.map(lambda leaf: (shares[:, None] * leaf).sum(axis=0), stored)


def _position(kind: TruncationKind, truncations: Sequence[float], truncation: jax.Array) -> jax.Array:
    """Where a truncation lies among the stored ones, by its spread, as a number from 0 to T - 1.

    Looked up in a table, in which the stored ones are: there, it is a whole number.
    """
    whole = untruncated(kind)
    known = {*np.linspace(0, WIDEST[kind], KNOTS).tolist(), *truncations} - {whole}
    places = [spread(kind, stored) for stored in truncations]
    knots = sorted(known)
    positions = np.interp([spread(kind, knot) for knot in knots], places, np.arange(len(places)))
    found = jnp.interp(truncation, np.float32(knots), np.float32(positions))
    return jnp.where(truncation == whole, np.float32(np.interp(1.0, places, np.arange(len(places)))), found)
