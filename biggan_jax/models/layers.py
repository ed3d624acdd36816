"""Layers of BigGAN: convolution, linear, batch norm, class embedding and self-attention.

Brock et al. 2019, section 3 and appendix B. Parameters are float32 and layers compute in `dtype`, but batch
statistics and the softmax are always float32 or wider. A parameter called `kernel` is a weight for spectral
norm and orthogonal regularisation (`spectral_norm.py`); layers know nothing of either.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from biggan_jax.models import convolution

initializer = nn.initializers.orthogonal()  # section 3


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """Returns float32, or `dtype` if it is wider."""
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nn.Module):
    """Convolution: `[N, H, W, C]` → `[N, H', W', features]`.

    Attributes:
      features: Number of output channels.
      size: Side of the kernel.
      use_bias: Whether to add a bias.
      removed_bias: Whether a later batch norm removes the bias again. Its gradient is then 0, but computes to
        rounding noise, which Adam scales up to full steps: a random walk that differs with the number of
        devices. Such a bias gets a gradient of exactly 0 and keeps its value.
      operation: `convolution.conv`, or one of the two in that module that also change the resolution.
      dtype: Type that the layer computes in.
    """

    features: int
    size: int = 3
    use_bias: bool = True
    removed_bias: bool = False
    operation: Callable[[jax.Array, jax.Array], jax.Array] = convolution.conv
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves `x`."""
        x = x.astype(self.dtype)
        kernel = self.param("kernel", initializer, (self.size, self.size, x.shape[-1], self.features))
        y = self.operation(x, kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
            y += lax.stop_gradient(bias) if self.removed_bias else bias
        return y


class Linear(nn.Module):
    """Linear layer, `x @ kernel + bias`: `[N, C]` → `[N, features]`.

    Attributes:
      features: Number of outputs.
      use_bias: Whether to add a bias.
      dtype: Type that the layer computes in.
      precision: Precision of the product; None for JAX's default.
    """

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    precision: lax.Precision | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiplies `x` by the kernel and adds the bias."""
        kernel = self.param("kernel", initializer, (x.shape[-1], self.features))
        y = jnp.dot(x.astype(self.dtype), kernel.astype(self.dtype), precision=self.precision)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


@dataclasses.dataclass(frozen=True)
class BatchNormSettings:
    """Settings that all batch norms of a network share.

    Attributes:
      epsilon: Number added to variances.
      axis_name: Mapped axis of the replicas that share statistics; None for a single replica.
      group: Number of neighbouring images in the batch that share statistics, on one replica or on several;
        0 for the whole batch of all replicas, as in the paper.
    """

    epsilon: float
    axis_name: str | None = None
    group: int = 0


class BatchNorm(nn.Module):
    """Normalises each channel over the batch, then scales and shifts it.

    Training keeps no running averages: sampling uses standing statistics (Brock et al. 2019, appendix C.1). A
    call with the collection `statistics` mutable stores the batch statistics there. A call with
    `stored_statistics=True` normalises by that collection.
    """

    settings: BatchNormSettings

    @nn.compact
    def __call__(self, x: jax.Array, gain: jax.Array, bias: jax.Array, stored_statistics: bool) -> jax.Array:
        """Normalises `x: [N, H, W, C]`; `gain` and `bias` are `[N, C]`, or `[C]` for all images."""
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
        """Returns mean and variance: [C], or [N, C] if this replica holds images of several groups."""
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
    """Batch norm with one learned gain and bias for each channel: the last one of the generator."""

    settings: BatchNormSettings

    @nn.compact
    def __call__(self, x: jax.Array, stored_statistics: bool) -> jax.Array:
        """Normalises `x: [N, H, W, C]`."""
        gain = self.param("gain", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        norm = BatchNorm(self.settings, name="normalize")
        return norm(x, gain, bias, stored_statistics)


class ClassEmbedding(nn.Module):
    """One learned vector for each class, without spectral norm: labels `i32[N]` → `[N, features]`.

    Weights of all classes, `f32[N, num_classes]`, in place of labels give mixtures of the vectors.

    Attributes:
      num_classes: Number of classes.
      features: Length of a vector.
    """

    num_classes: int
    features: int

    @nn.compact
    def __call__(self, labels: jax.Array) -> jax.Array:
        """Looks the labels up, or mixes the vectors by weights."""
        embedding = self.param("embedding", initializer, (self.num_classes, self.features))
        if labels.ndim == 2:
            return jnp.dot(labels, embedding, precision=lax.Precision.HIGHEST)
        return jnp.take(embedding, labels, axis=0)


class SelfAttention(nn.Module):
    """Non-local block (Zhang et al. 2018, section 3): `x + γ · o(attend(θ(x), φ(x), g(x)))`.

    γ starts at 0. Keys and values are max-pooled 2×2, and the logits are not scaled by 1/√d.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds attention over all positions to `x: [N, H, W, C]`."""
        n, h, w, c = x.shape

        def project(features: int, name: str) -> Conv:
            return Conv(features, size=1, use_bias=False, dtype=self.dtype, name=name)

        def pool(y: jax.Array) -> jax.Array:
            return y.reshape(n, h // 2, 2, w // 2, 2, -1).max(axis=(2, 4)).reshape(n, h * w // 4, -1)

        query_NxPxD = project(c // 8, "theta")(x).reshape(n, h * w, c // 8)
        key_NxQxD = pool(project(c // 8, "phi")(x))
        value_NxQxE = pool(project(c // 2, "g")(x))
        # The attention weights of one image fit into the caches of a CPU: a third of the time there.
        attended = lax.platform_dependent(
            query_NxPxD, key_NxQxD, value_NxQxE, cpu=attend_one_by_one, default=attend
        ).reshape(n, h, w, c // 2)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(self.dtype) * project(c, "o")(attended)


def attend(query_NxPxD: jax.Array, key_NxQxD: jax.Array, value_NxQxE: jax.Array) -> jax.Array:
    """Returns the mean of the values, weighted by the softmax of query · key: `[N, P, E]`."""
    dtype = value_NxQxE.dtype
    weights_NxPxQ = jax.nn.softmax(_logits(query_NxPxD, key_NxQxD), axis=-1).astype(dtype)
    return jnp.einsum("npq,nqe->npe", weights_NxPxQ, value_NxQxE)


def attend_one_by_one(query_NxPxD: jax.Array, key_NxQxD: jax.Array, value_NxQxE: jax.Array) -> jax.Array:
    """Computes `attend` image by image, and divides last: the output has fewer elements than the weights."""

    def attend_one(image: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        query, key, value = (x[None] for x in image)
        logits = _logits(query, key)
        weights = jnp.exp(logits - lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
        attended = jnp.einsum(
            "npq,nqe->npe", weights.astype(value.dtype), value, preferred_element_type=weights.dtype
        )
        return (attended / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)[0]

    return lax.map(attend_one, (query_NxPxD, key_NxQxD, value_NxQxE))


def _logits(query_NxPxD: jax.Array, key_NxQxD: jax.Array) -> jax.Array:
    return jnp.einsum(
        "npd,nqd->npq", query_NxPxD, key_NxQxD, preferred_element_type=at_least_float32(query_NxPxD.dtype)
    )
