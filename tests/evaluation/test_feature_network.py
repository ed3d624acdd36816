"""Feature networks: what their interface promises, whichever network stands behind it."""

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from blobs import make_blobs
from inception_state import random_state
from rich.console import Console

from biggan_jax.evaluation.networks import feature_network, inception_weights
from biggan_jax.evaluation.networks.feature_network import (
    from_classifier,
    from_function,
    from_inception,
    open_feature_network,
)
from biggan_jax.evaluation.networks.inception_weights import Weights
from biggan_jax.runtime.errors import UserError

QUIET = Console(quiet=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 3), np.uint8)


def means(images):
    """The mean of each channel, and of each image."""
    values = images.astype(np.float64).mean(axis=(1, 2))
    return values, values.mean(axis=1, keepdims=True)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a user's module and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_own", raising=False)

    def write(text):
        (tmp_path / "users_own.py").write_text(text)
        return "users_own"

    yield write
    sys.modules.pop("users_own", None)


def test_any_number_of_images_keeps_its_order_through_batches_of_one_size():
    sizes = []

    def function(images):
        sizes.append(len(images))
        return means(images)

    network = from_function("name", function, 8)
    found, logits = network(IMAGES)
    np.testing.assert_allclose(found, means(IMAGES)[0], rtol=1e-6)
    np.testing.assert_allclose(logits, means(IMAGES)[1], rtol=1e-6)
    assert found.dtype == logits.dtype == np.float32
    assert sizes == [2, 64, 64, 64]  # two to try it out
    none, no_logits = network(IMAGES[:0])
    assert none.shape == (0, 3) and no_logits.shape == (0, 1)


def test_a_function_of_features_alone_gives_no_logits():
    network = from_function("name", lambda images: means(images)[0], 8)
    assert (network.features_dim, network.logits_classes) == (3, None)
    found, logits = network(IMAGES[:5])
    assert found.shape == (5, 3) and logits is None


def test_a_users_function_is_found_by_module_and_name(module):
    name = module("def pixels(images):\n    return images.reshape(len(images), -1)\n")
    network = open_feature_network(f"{name}:pixels", 8, QUIET)
    assert (network.name, network.features_dim) == ("users_own:pixels", 192)
    np.testing.assert_array_equal(network(IMAGES[:3])[0], IMAGES[:3].reshape(3, -1))
    code = Path(sys.modules[name].__file__).read_bytes()
    assert network.weights_hash == f"code-{hashlib.sha256(code).hexdigest()[:12]}"
    assert network.resize == "the function's own" and network.input_size is None


def test_a_function_may_say_its_size_resize_rule_and_hash():
    def function(images):
        return means(images)

    function.input_size, function.resize, function.weights_hash = 224, "bicubic", "abc"
    network = from_function("name", function, 8)
    assert network.identity.to_json() == {
        "network": "name",
        "input_size": 224,
        "resize": "bicubic",
        "weights_hash": "abc",
    }
    assert json.loads(json.dumps(network.identity.to_json())) == network.identity.to_json()


def test_a_network_as_an_object_is_called_like_a_function(module):
    code = "class Network:\n    def __call__(self, images):\n        return images.mean((1, 2))\n"
    name = module(f"{code}network = Network()\n")
    network = open_feature_network(f"{name}:network", 8, QUIET)
    assert network.features_dim == 3 and network.weights_hash.startswith("code-")


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda images: images, r"features of shape \[2, 8, 8, 3\] for 2 images"),
        (lambda images: means(images)[0][:1], r"features of shape \[1, 3\] for 2 images"),
        (lambda images: (means(images)[0], images), r"logits of shape \[2, 8, 8, 3\]"),
        (lambda images: images.shape["x"], r"fails on uint8\[2, 8, 8, 3\]: TypeError"),
        (lambda images: "text", "fails on"),
        (lambda images: (1, 2, 3), "fails on"),
    ],
)
def test_a_function_that_gives_something_else_is_found_out_at_once(function, words):
    with pytest.raises(UserError, match=f"the network name (returns )?{words}"):
        from_function("name", function, 8)


def test_a_function_that_goes_wrong_later_is_found_out_then():
    shorter = from_function("name", lambda images: means(images)[0][: max(2, len(images) - 1)], 8)
    with pytest.raises(UserError, match=r"features of shape \[63, 3\] for 64 images, not \[64, 3\]"):
        shorter(IMAGES)
    forgetful = from_function("name", lambda x: means(x)[0] if x.any() else means(x), 8)
    with pytest.raises(UserError, match=r"logits of shape \[\] for 64 images, not \[64, 1\]"):
        forgetful(IMAGES)


def test_features_that_are_not_finite_are_refused_but_only_those_of_real_images():
    def inverse(images):
        with np.errstate(divide="ignore"):
            return 1 / means(images)[0]

    network = from_function("name", inverse, 8)  # tried out on black images
    assert network(IMAGES)[0].shape == (150, 3)
    with pytest.raises(UserError, match="network name returns features that are not finite"):
        network(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "spec, words",
    [
        ("incepton", "unknown feature network 'incepton': choose inception,"),
        ("a b:c", "unknown feature network"),
        ("classifier", "unknown feature network"),
        ("no_such_module:function", "cannot be imported: ModuleNotFoundError.*PYTHONPATH"),
        ("numpy:no_such_function", "cannot be imported: AttributeError"),
        ("numpy:pi", "is a float, not a function"),
    ],
)
def test_a_name_of_no_network_is_refused_with_the_choice(spec, words):
    with pytest.raises(UserError, match=words):
        open_feature_network(spec, 8, QUIET)


def test_a_module_that_fails_is_named(module):
    name = module("raise RuntimeError('no weights here')\n")
    with pytest.raises(UserError, match="RuntimeError: no weights here"):
        open_feature_network(f"{name}:function", 8, QUIET)


@pytest.mark.parametrize(
    "images",
    [IMAGES / 255, IMAGES[0], IMAGES[..., :1], IMAGES.transpose(0, 3, 1, 2), IMAGES.astype(np.int32)],
)
def test_images_of_another_type_or_shape_are_refused(images):
    with pytest.raises(ValueError, match=r"must be uint8\[N, H, W, 3\]"):
        from_function("name", means, 8)(images)


def test_the_classifier_gives_its_features_and_logits(kept):
    trained, images = kept[1], make_blobs(30, seed=5)[0]
    network = from_classifier(trained)
    found, logits = network(images)
    np.testing.assert_array_equal(found, trained.features(images))
    np.testing.assert_array_equal(logits, trained.predict(images))
    assert (network.features_dim, network.logits_classes) == (found.shape[1], 3)
    assert network.identity.weights_hash == trained.hash


@pytest.fixture(scope="module")
def weights():
    return Weights(inception_weights.convert(random_state(seed=0), "random"), "abcdef0123456789")


@pytest.mark.slow
def test_inception_gives_the_same_on_one_device_and_on_four_whatever_the_batch(weights, monkeypatch):
    devices = jax.local_devices()
    assert len(devices) == 4
    together = from_inception(weights, batch_size=4)(IMAGES[:6])
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    alone = from_inception(weights, batch_size=3)(IMAGES[:6])
    for a, b, width in zip(together, alone, (2048, 1008), strict=True):
        assert a.shape == (6, width)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
    assert np.abs(together[0] - together[0][0]).max() > 0.01


def test_only_the_published_weights_bear_the_plain_name(weights):
    published = weights._replace(sha256=inception_weights.SHA256)
    assert from_inception(published).name == "inception"
    assert from_inception(published).weights_hash.startswith("6726825d")
    assert from_inception(weights).name == "inception-abcdef01"
    network = from_inception(weights)
    assert (network.input_size, network.features_dim, network.logits_classes) == (299, 2048, 1008)
    assert network.batch_size == feature_network.CPU_BATCH * 4


@pytest.mark.slow
def test_inception_is_opened_from_the_file_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "with:colon.safetensors"
    safetensors.numpy.save_file(random_state(seed=0), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_feature_network(f"inception:{path}", 8, QUIET).weights_hash == sha256
