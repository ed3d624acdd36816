"""BigGAN and BigGAN-deep as the published files hold them, for the tests: numpy in float64.

Written from the formats, tensor by tensor under the files' own names; shares nothing with the readers. The
operations are `plain_networks`', on maps of [N, H, W, C].
"""

import numpy as np
import plain_networks as plain


def in_float64(values: dict) -> dict:
    return {name: np.asarray(array, np.float64) for name, array in values.items()}


class TorchLayers:
    """Layers of PyTorch files: kernels [out, in, h, w], σ by `sigma(name, matrix [out, in])`."""

    def __init__(self, state: dict, weight: str, sigma):
        self.state, self.weight, self.sigma = in_float64(state), weight, sigma

    def divided(self, name: str) -> np.ndarray:
        weight = self.state[f"{name}.{self.weight}"]
        return weight / self.sigma(self.state, name, weight.reshape(len(weight), -1))

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.divided(name).T + self.state.get(f"{name}.bias", 0.0)

    def conv(self, x: np.ndarray, name: str) -> np.ndarray:
        layer = {"kernel": self.divided(name).transpose(2, 3, 1, 0)}
        return plain.conv(x, layer | {"bias": self.state.get(f"{name}.bias", 0.0)})

    def attention(self, x: np.ndarray, names: dict[str, str], gamma: str) -> np.ndarray:
        kernels = {ours: {"kernel": self.divided(name).transpose(2, 3, 1, 0)} for ours, name in names.items()}
        return plain.attention(x, kernels | {"gamma": self.state[gamma].reshape(())})


class TensorFlowLayers:
    """Layers of TensorFlow's variables: kernels [h, w, in, out], a power iteration from u0, ε under roots."""

    def __init__(self, variables: dict, average: str):
        self.state, self.average = in_float64(variables), average

    def divided(self, name: str) -> np.ndarray:
        weight = self.state[f"{name}/w/{self.average}"]
        matrix, u = weight.reshape(-1, weight.shape[-1]), self.state[f"{name}/u0"]
        v = u @ matrix.T
        v /= np.sqrt((v**2).sum() + 1e-4)
        u = v @ matrix
        u /= np.sqrt((u**2).sum() + 1e-4)
        return weight / (v @ matrix @ u.T).item()

    def bias(self, name: str) -> np.ndarray | float:
        return self.state.get(f"{name}/b/{self.average}", np.zeros(1)).reshape(-1)

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.divided(name) + self.bias(name)

    def conv(self, x: np.ndarray, name: str) -> np.ndarray:
        return plain.conv(x, {"kernel": self.divided(name), "bias": self.bias(name)})

    def attention(self, x: np.ndarray, names: dict[str, str], gamma: str) -> np.ndarray:
        kernels = {ours: {"kernel": self.divided(name)} for ours, name in names.items()}
        return plain.attention(x, kernels | {"gamma": self.state[f"{gamma}/{self.average}"].reshape(())})


def whiten(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - mean) / np.sqrt(variance + epsilon)


def per_image(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, None, None, :]


def plain_block(x, norm_1, conv_1, norm_2, conv_2, shortcut) -> np.ndarray:
    h = conv_1(plain.upsample(plain.relu(norm_1(x))))
    return conv_2(plain.relu(norm_2(h))) + shortcut(plain.upsample(x))


def deep_block(x, norms, convs, up: bool) -> np.ndarray:
    enlarge = plain.upsample if up else lambda h: h
    h = convs[0](plain.relu(norms[0](x)))
    h = convs[1](enlarge(plain.relu(norms[1](h))))
    h = convs[2](plain.relu(norms[2](h)))
    h = convs[3](plain.relu(norms[3](h)))
    return h + enlarge(x[..., : h.shape[3]])
