"""The layers BigGAN is built of: convolution, linear, batch norm, conditional batch norm, self-attention.

Parameters are float32 and computing happens in `dtype`, but batch norm's statistics and the softmax are
always float32 or wider. A leaf called `kernel` is a weight in the sense of spectral norm and orthogonal
regularisation (`spectral_norm.py`); layers use the kernels they are given and know nothing of either.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from biggan_jax.models import convolution, ready

initializer = nn.initializers.orthogonal()


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nn.Module):
    """`size`×`size` convolution: `[N, H, W, C]` → `[N, H', W', features]`.

    `operation` is `convolution.conv`, or one of the two there that also change the resolution.

    `removed_bias` says that a batch norm further on takes the bias away again, whatever its value. Its
    gradient is 0 then, but computes to rounding noise, which Adam would scale up to full steps: another
    random walk on every number of devices. So it gets exactly 0, and keeps the value it has.
    """

    features: int
    size: int = 3
    use_bias: bool = True
    removed_bias: bool = False
    operation: Callable[[jax.Array, jax.Array], jax.Array] = convolution.conv
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.dtype)
        if self.has_variable("ready", "kernel"):
            y = ready.convolve(x, self.get_variable("ready", "kernel").astype(self.dtype))
        else:
            kernel = self.param("kernel", initializer, (self.size, self.size, x.shape[-1], self.features))
            y = self.operation(x, kernel.astype(self.dtype))
            wanted = self.is_mutable_collection("ready") and not self.is_initializing()
            if wanted and self.size == 3:
                kernels = ready.make_ready(self.operation, kernel, x.shape[1], self.dtype)
                self.put_variable("ready", "kernel", kernels)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
            y += lax.stop_gradient(bias) if self.removed_bias else bias
        return y


class Linear(nn.Module):
    """`x @ kernel + bias`: `[N, C]` → `[N, features]`."""

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    precision: lax.Precision | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", initializer, (x.shape[-1], self.features))
        y = jnp.dot(x.astype(self.dtype), kernel.astype(self.dtype), precision=self.precision)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


@dataclasses.dataclass(frozen=True)
class BatchNormSettings:
    """What every batch norm of a network has in common.

    Attributes:
      epsilon: added to variances.
      axis_name: the mapped axis of the replicas that share statistics; None for one replica alone.
      group: how many images, neighbours in the batch, share statistics, be they on one replica or on several;
        0 for the whole batch of all replicas, as in the paper.
    """

    epsilon: float
    axis_name: str | None = None
    group: int = 0


class BatchNorm(nn.Module):
    """Normalises every channel over the batch, then scales and shifts it.

    While training there are no running averages: sampling uses standing statistics (Brock et al. 2019,
    section 4), which are gathered by calling with the collection `statistics` mutable (it receives this
    batch's mean and variance) and used by calling with `stored_statistics=True`.
    """

    settings: BatchNormSettings

    @nn.compact
    def __call__(self, x: jax.Array, gain: jax.Array, bias: jax.Array, stored_statistics: bool) -> jax.Array:
        """Normalises `x: [N, H, W, C]`; `gain` and `bias` are `[N, C]`, or `[C]` for all images alike."""
        if stored_statistics:
            mean, variance = (
                self.get_variable("statistics", "mean"),
                self.get_variable("statistics", "variance"),
            )
        else:
            mean, variance = self._moments(x.astype(at_least_float32(x.dtype)))
            if self.is_mutable_collection("statistics"):
                self.put_variable("statistics", "mean", mean)
                self.put_variable("statistics", "variance", variance)
        scale = gain * lax.rsqrt(variance + self.settings.epsilon)
        shift = bias - mean * scale
        if scale.ndim == 2:
            scale, shift = scale[:, None, None, :], shift[:, None, None, :]
        return (x * scale + shift).astype(x.dtype)

    def _moments(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance: [C], or [N, C] where this replica's images are of several groups."""
        count, axis_name, group = x.shape[0], self.settings.axis_name, self.settings.group
        if 0 < group < count:
            x = x.reshape(count // group, -1, x.shape[-1])
            moments = jnp.stack([x.mean(axis=1), jnp.square(x).mean(axis=1)]).repeat(group, axis=1)
        else:
            moments = jnp.stack([x.mean(axis=(0, 1, 2)), jnp.square(x).mean(axis=(0, 1, 2))])
            if axis_name is not None:
                moments = lax.pmean(moments, axis_name, axis_index_groups=self._replica_groups(count))
        mean, mean_of_squares = moments
        return mean, jnp.maximum(mean_of_squares - jnp.square(mean), 0)

    def _replica_groups(self, count: int) -> list[list[int]] | None:
        replicas = lax.psum(1, self.settings.axis_name)
        members = self.settings.group // count or replicas
        if members == replicas:
            return None
        return [list(range(first, first + members)) for first in range(0, replicas, members)]


class AffineBatchNorm(nn.Module):
    """Batch norm with a learned gain and bias a channel: the generator's last one."""

    settings: BatchNormSettings

    @nn.compact
    def __call__(self, x: jax.Array, stored_statistics: bool) -> jax.Array:
        gain = self.param("gain", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        norm = BatchNorm(self.settings, name="normalize")
        return norm(x, gain, bias, stored_statistics)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias come from the condition (Brock et al. 2019, section 3.1).

    The condition is a vector `[N, D]` (shared class embedding and latent chunk), and they are linear
    projections of it, the gain's centred on 1. Or, with `num_classes`, it is labels, and every class has its
    own gain and bias, as in SAGAN and the paper's baseline.
    """

    num_classes: int | None
    settings: BatchNormSettings
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, stored_statistics: bool) -> jax.Array:
        if self.num_classes is not None:
            tables = [ClassEmbedding(self.num_classes, x.shape[-1], name=name) for name in ("gain", "bias")]
            gain, bias = (table(condition) for table in tables)
        else:
            tables = [
                Linear(x.shape[-1], use_bias=False, dtype=self.dtype, name=name) for name in ("gain", "bias")
            ]
            gain, bias = (table(condition).astype(at_least_float32(self.dtype)) for table in tables)
        norm = BatchNorm(self.settings, name="normalize")
        return norm(x, 1 + gain, bias, stored_statistics)


class ClassEmbedding(nn.Module):
    """One learned vector a class, not spectrally normalised: labels `i32[N]` → `[N, features]`.

    Weights of all classes, `f32[N, num_classes]`, in place of labels give mixtures of the vectors.
    """

    num_classes: int
    features: int

    @nn.compact
    def __call__(self, labels: jax.Array) -> jax.Array:
        embedding = self.param("embedding", initializer, (self.num_classes, self.features))
        if labels.ndim == 2:
            return jnp.dot(labels, embedding, precision=lax.Precision.HIGHEST)
        return jnp.take(embedding, labels, axis=0)


class SelfAttention(nn.Module):
    """Non-local block (Zhang et al. 2018, section 3): `x + γ · o(attend(θ(x), φ(x), g(x)))`, γ = 0 at first.

    Keys and values are max-pooled 2×2; the softmax has no 1/√d.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n, h, w, c = x.shape

        def project(features: int, name: str) -> Conv:
            return Conv(features, size=1, use_bias=False, dtype=self.dtype, name=name)

        def pool(y: jax.Array) -> jax.Array:
            return y.reshape(n, h // 2, 2, w // 2, 2, -1).max(axis=(2, 4)).reshape(n, h * w // 4, -1)

        query_NxPxD = project(c // 8, "theta")(x).reshape(n, h * w, c // 8)
        key_NxQxD = pool(project(c // 8, "phi")(x))
        value_NxQxE = pool(project(c // 2, "g")(x))
        # A CPU's caches hold the weights of one image, and not of many: this takes a third of the time there.
        attended = lax.platform_dependent(
            query_NxPxD, key_NxQxD, value_NxQxE, cpu=attend_one_by_one, default=attend
        ).reshape(n, h, w, c // 2)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(self.dtype) * project(c, "o")(attended)


def attend(query_NxPxD: jax.Array, key_NxQxD: jax.Array, value_NxQxE: jax.Array) -> jax.Array:
    """The mean of the values, weighted by the softmax of query · key: `[N, P, E]`."""
    dtype = value_NxQxE.dtype
    weights_NxPxQ = jax.nn.softmax(_logits(query_NxPxD, key_NxQxD), axis=-1).astype(dtype)
    return jnp.einsum("npq,nqe->npe", weights_NxPxQ, value_NxQxE)


def attend_one_by_one(query_NxPxD: jax.Array, key_NxQxD: jax.Array, value_NxQxE: jax.Array) -> jax.Array:
    """The same, an image after another, and divided last: there are fewer values than weights."""

    def of_one(image: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        query, key, value = (x[None] for x in image)
        logits = _logits(query, key)
        weights = jnp.exp(logits - lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
        attended = jnp.einsum(
            "npq,nqe->npe", weights.astype(value.dtype), value, preferred_element_type=weights.dtype
        )
        return (attended / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)[0]

    return lax.map(of_one, (query_NxPxD, key_NxQxD, value_NxQxE))


def _logits(query_NxPxD: jax.Array, key_NxQxD: jax.Array) -> jax.Array:
    return jnp.einsum(
        "npd,nqd->npq", query_NxPxD, key_NxQxD, preferred_element_type=at_least_float32(query_NxPxD.dtype)
    )
