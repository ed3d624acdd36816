"""Inception's weights: conversion, where they are found, what is kept, and downloads that go wrong."""

import hashlib
import http.server
import logging
import threading

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch_writer
from inception_state import random_state
from rich.console import Console

from biggan_jax.evaluation.networks import inception_weights
from biggan_jax.evaluation.networks.inception_weights import convert, download, obtain
from biggan_jax.runtime.errors import UserError

QUIET = Console(quiet=True)
STATE = random_state(seed=0)
CONVERTED = "inception-2015-12-05.safetensors"  # as older versions kept the weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A .pth file that stands in for the published one, in its format."""
    path = tmp_path_factory.mktemp("published") / "weights.pth"
    path.write_bytes(torch_writer.save(STATE, legacy=True))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch, published):
    """An empty cache, on a machine without network where the file `published` is the published one."""
    monkeypatch.setenv("BIGGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BIGGAN_INCEPTION", raising=False)
    monkeypatch.setattr(inception_weights, "SHA256", hashlib.sha256(published.read_bytes()).hexdigest())
    monkeypatch.setattr(inception_weights, "download", lambda *_: pytest.fail("downloaded"))
    return tmp_path / "cache"


def kept_in(cache):
    return cache / f"pt_inception-2015-12-05-{inception_weights.SHA256[:8]}.pth"


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_batch_norm_is_folded_into_kernel_and_bias():
    layer = "Mixed_6b.branch7x7_2"
    weight, gain, bias, mean, variance = (
        STATE[f"{layer}.{name}"].astype(np.float64)
        for name in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    )
    folded = convert(STATE, "name")["params"]["Mixed_6b"]["branch7x7_2"]
    patch = np.random.default_rng(0).standard_normal((128, 1, 7))  # one 1×7 window of 128 channels
    normalized = (np.einsum("ochw,chw->o", weight, patch) - mean) / np.sqrt(variance + 1e-3)
    ours = np.einsum("hwco,chw->o", folded["kernel"].astype(np.float64), patch) + folded["bias"]
    np.testing.assert_allclose(ours, normalized * gain + bias, atol=1e-5)
    assert folded["kernel"].shape == (1, 7, 128, 128) and folded["kernel"].dtype == np.float32


def test_files_from_before_batches_were_counted_are_read_too():
    older = {name: array for name, array in STATE.items() if not name.endswith("num_batches_tracked")}
    assert_same(convert(older, "name"), convert(STATE, "name"))


def test_missing_surplus_and_misshapen_tensors_are_named():
    state = dict(STATE)
    del state["Mixed_5b.branch1x1.bn.running_mean"], state["Mixed_7c.branch_pool.conv.weight"]
    state["AuxLogits.fc.weight"] = np.zeros(3)
    state["fc.weight"] = np.zeros((1000, 2048), np.float32)
    with pytest.raises(UserError) as caught:
        convert(state, "my.pth")
    message = str(caught.value)
    assert message.startswith("my.pth holds another network")
    assert "missing: Mixed_5b.branch1x1.bn.running_mean, Mixed_7c.branch_pool.conv.weight;" in message
    assert "surplus: AuxLogits.fc.weight;" in message
    assert "of another shape: fc.weight [1000, 2048] in place of [1008, 2048])" in message


def test_another_networks_file_is_named_without_listing_all_of_it():
    with pytest.raises(UserError, match=r"missing: .* and 468 more") as caught:
        convert({"weight": np.zeros(2)}, "name")
    assert len(str(caught.value)) < 600
    for other in ([1, 2], {"state_dict": {}}, {"epoch": 3}):
        with pytest.raises(UserError, match="not a state dict"):
            convert(other, "name")


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_weights_that_are_not_finite_are_refused_by_layer(value):
    variance = STATE["Mixed_7a.branch3x3_1.bn.running_var"].copy()
    variance[3] = value
    with pytest.raises(UserError, match=r"weights of Mixed_7a.branch3x3_1 are not finite"):
        convert(STATE | {"Mixed_7a.branch3x3_1.bn.running_var": variance}, "name")


def test_published_weights_from_a_path_are_kept_and_found_without_it(cache, published):
    first = obtain(published, QUIET)
    assert first.sha256 == inception_weights.SHA256
    assert_same(first.variables, convert(STATE, "name"))
    assert list(cache.iterdir()) == [kept_in(cache)]  # no part of a file is left
    assert kept_in(cache).read_bytes() == published.read_bytes()
    again = obtain(None, QUIET)
    assert again.sha256 == first.sha256
    assert_same(again.variables, first.variables)
    copied = obtain(kept_in(cache), QUIET)  # and by path, on a machine to which only it was copied
    assert copied.sha256 == first.sha256


def test_the_environment_names_a_file_and_a_path_goes_before_it(cache, published, monkeypatch, tmp_path):
    monkeypatch.setenv("BIGGAN_INCEPTION", str(published))
    assert obtain(None, QUIET).sha256 == inception_weights.SHA256
    monkeypatch.setenv("BIGGAN_INCEPTION", str(tmp_path / "none.pth"))
    assert obtain(published, QUIET).sha256 == inception_weights.SHA256
    with pytest.raises(UserError, match=r"cannot read .*none.pth: No such file .*classifier"):
        obtain(None, QUIET)


def test_other_weights_are_used_under_their_own_hash_and_not_kept(cache, tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file(STATE | {"fc.weight": STATE["fc.weight"] * 2}, path)
    other = obtain(path, QUIET)
    assert other.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(other.variables["params"]["fc"]["kernel"], STATE["fc.weight"].T * 2)
    assert not list(cache.iterdir())


def test_a_file_whose_name_holds_another_hash_is_damaged(cache, published, tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(published.read_bytes())
    with pytest.raises(UserError, match="is damaged: its SHA-256 begins with"):
        obtain(path, QUIET)


@pytest.mark.parametrize("damage", ["cut short", "a flipped bit", "empty"])
def test_kept_weights_that_were_damaged_are_downloaded_anew(cache, published, monkeypatch, caplog, damage):
    obtain(published, QUIET)
    kept = kept_in(cache)
    content = bytearray(kept.read_bytes())
    if damage == "a flipped bit":
        content[-100] ^= 1
    kept.write_bytes({"cut short": content[:-100], "empty": b""}.get(damage, content))
    asked = []
    monkeypatch.setattr(
        inception_weights, "download", lambda *arguments: asked.append(arguments) or published.read_bytes()
    )
    with caplog.at_level(logging.WARNING):
        obtain(None, QUIET)
    assert "damaged" in caplog.text and kept.name in caplog.text
    assert asked == [(inception_weights.URL, inception_weights.SHA256, QUIET)]
    obtain(None, QUIET)  # what was damaged has been replaced
    assert len(asked) == 1


def test_weights_that_an_older_version_converted_serve_with_a_warning_unless_they_changed(cache, caplog):
    about = {"source_sha256": inception_weights.SHA256, "tensors_sha256": inception_weights._hash(STATE)}
    cache.mkdir(exist_ok=True)
    safetensors.numpy.save_file(STATE, cache / CONVERTED, about)
    weights = obtain(None, QUIET)
    assert weights.sha256 == inception_weights.SHA256
    assert_same(weights.variables, convert(STATE, "name"))
    assert f"{cache / CONVERTED} was converted by an older version" in caplog.text
    content = bytearray((cache / CONVERTED).read_bytes())
    content[-100] ^= 1
    (cache / CONVERTED).write_bytes(content)
    with pytest.raises(UserError, match="tensors differ from those that were written"):
        obtain(cache / CONVERTED, QUIET)


def test_kept_weights_are_compared_with_the_hash_in_the_code_and_not_with_one_beside_them(
    cache, published, monkeypatch
):
    """Other weights in the published format do not pass for the published ones."""
    obtain(published, QUIET)
    other = STATE | {"fc.weight": STATE["fc.weight"] * 2}
    kept_in(cache).write_bytes(torch_writer.save(other, legacy=True))
    monkeypatch.setattr(inception_weights, "download", lambda *_: published.read_bytes())
    assert_same(obtain(None, QUIET).variables, convert(STATE, "name"))


def test_a_cache_that_cannot_be_written_costs_a_warning_only(cache, published, caplog):
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert obtain(published, QUIET).sha256 == inception_weights.SHA256
    assert "could not be kept" in caplog.text


CONTENT = np.random.default_rng(0).bytes(50_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Gives CONTENT; the attributes of the server say how it misbehaves."""

    def do_GET(self):
        self.server.asked.append(self.headers["Range"])
        if len(self.server.asked) <= self.server.unavailable:
            self.send_error(self.server.error)
            return
        start = 0
        if self.headers["Range"] and self.server.resumes:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        content = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        breaks = len(self.server.asked) <= self.server.breaks
        self.wfile.write(content[: len(content) // 2] if breaks else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(inception_weights, "WAITS", (0.0, 0.0, 0.0))
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        server.asked, server.content, server.resumes = [], CONTENT, True
        server.breaks, server.unavailable, server.error = 0, 0, 503
        server.url = f"http://127.0.0.1:{server.server_port}/weights.pth"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_what_the_server_has(server):
    assert download(server.url, HASH, QUIET) == CONTENT
    assert server.asked == [None]


def test_a_broken_connection_is_taken_up_where_it_broke(server):
    server.breaks = 2
    assert download(server.url, HASH, QUIET) == CONTENT
    assert server.asked == [None, "bytes=25000-", "bytes=37500-"]


def test_a_server_that_cannot_resume_is_asked_for_the_whole_again(server):
    server.breaks, server.resumes = 1, False
    assert download(server.url, HASH, QUIET) == CONTENT
    assert len(server.asked) == 2


def test_a_busy_server_is_asked_again_and_one_without_the_file_is_not(server):
    server.unavailable = 2
    assert download(server.url, HASH, QUIET) == CONTENT
    server.asked.clear()
    server.unavailable, server.error = 10, 404
    with pytest.raises(UserError, match=r"could not be downloaded \(Not Found\)"):
        download(server.url, HASH, QUIET)
    assert len(server.asked) == 1


def test_a_download_that_always_breaks_says_how_far_it_came(server):
    server.breaks = 10
    with pytest.raises(UserError, match=r"broke after 46,875 of 50,000 bytes"):
        download(server.url, HASH, QUIET)
    assert len(server.asked) == 4


def test_another_file_than_expected_is_never_used(server):
    server.content = b"<html>Please log in to this network</html>"
    with pytest.raises(UserError, match=f"its SHA-256 is {hashlib.sha256(server.content).hexdigest()}, not"):
        download(server.url, HASH, QUIET)


def test_without_network_the_message_says_where_to_get_it_and_what_works_without(monkeypatch):
    monkeypatch.setattr(inception_weights, "WAITS", (0.0,))
    with pytest.raises(UserError) as caught:
        download("http://127.0.0.1:9/weights.pth", HASH, QUIET)
    message = str(caught.value)
    assert "Connection refused" in message and inception_weights.URL in message
    assert "inception:PATH" in message and "$BIGGAN_INCEPTION" in message and "'classifier'" in message
