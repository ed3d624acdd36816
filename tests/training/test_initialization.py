"""Runs that begin with networks already trained: what is taken over, what is new, and what is refused."""

import functools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import plain_networks as plain
import pytest
import tiny_runs
from absl import flags
from compiling import xla_flags
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from test_hosts import free_address
from test_loop import stop_after
from tiny_runs import (
    CLASSES,
    assert_same_state,
    noise_images,  # noqa: F401
    rows,
    saved,
)

from biggan_jax.config import validate
from biggan_jax.data import batches
from biggan_jax.exports.export_files import GENERATOR, TRAINING, write_export
from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import normalize, power_iteration
from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import EXIT_RESUMABLE, UserError
from biggan_jax.sampling.exported_generator import ExportedGenerator, TrainedNetwork
from biggan_jax.training.run import loop
from biggan_jax.training.run.initialization import SPREAD, first_state
from biggan_jax.training.run.saved_run import restore
from biggan_jax.training.step.state import abstract_state, create_state

make_config = functools.partial(tiny_runs.make_config, d_steps=1)  # which compiles sooner
FINETUNE = Path(__file__).parents[2] / "configs" / "finetune.py"
NAMES = tuple(f"class {label}" for label in range(CLASSES))
TABLES = {"model.shared_embedding": False, "model.hierarchical_latents": False}


def random_network(shapes, seed: int) -> TrainedNetwork:
    params = jax.tree.map(np.float32, plain.random_params(shapes.params, seed))
    rng = np.random.default_rng(seed)
    units = {path: rng.normal(size=vector.shape) for path, vector in sorted(shapes.u.items())}
    return TrainedNetwork(params, {path: np.float32(u / np.linalg.norm(u)) for path, u in units.items()})


def divided(network: TrainedNetwork) -> dict:
    """By the largest singular values themselves."""
    leaves = flatten_dict(network.params, sep="/")
    vectors = {}
    for path in network.u:
        matrix = leaves[path].reshape(-1, leaves[path].shape[-1])
        vectors[path] = np.linalg.svd(matrix, full_matrices=False)[2][0]
    return jax.device_get(normalize(network.params, power_iteration(network.params, vectors, 1e-4), 1e-4))


def write(folder, config, names=NAMES, generator=True, discriminator=True) -> ExportedGenerator:
    """An export of random networks."""
    shapes = abstract_state(config)
    network = random_network(shapes.generator, 1)
    exported = ExportedGenerator(
        model=config.model,
        params=divided(network),
        statistics={},
        truncation_kind="threshold",
        class_names=names,
        generator=network if generator else None,
        discriminator=random_network(shapes.discriminator, 2) if discriminator else None,
    )
    write_export(folder, exported)
    return exported


def begin(config, tmp_path, names=NAMES):
    """The first state, and what was said."""
    said = []
    state = first_state(config, epath.Path(tmp_path / "run"), names, said.append)
    assert jax.tree.structure(state) == jax.tree.structure(abstract_state(config))
    return jax.device_get(state), said


def flat(tree) -> dict[str, np.ndarray]:
    return flatten_dict(tree, sep="/")


def assert_taken_over(state, network: TrainedNetwork) -> None:
    assert_same_state(state.params, network.params)
    assert_same_state(state.u, network.u)


def test_without_a_name_the_state_is_random(tmp_path):
    config = make_config()
    state, said = begin(config, tmp_path)
    assert_same_state(state, create_state(config))
    assert not said


@pytest.mark.slow
def test_both_networks_of_an_export_go_on_and_adam_begins_anew(tmp_path):
    exported = write(tmp_path / "export", make_config())
    config = make_config(init_from=str(tmp_path / "export"), **{"model.epsilon": 1e-3})
    state, said = begin(config, tmp_path)
    assert_taken_over(state.generator, exported.generator)
    assert_taken_over(state.discriminator, exported.discriminator)
    assert_same_state(state.ema_params, exported.generator.params)
    fresh = create_state(config)
    rest = {
        "generator": fresh.generator,
        "discriminator": fresh.discriminator,
        "ema_params": fresh.ema_params,
    }
    assert_same_state(state.replace(**rest), fresh)
    for network in (state.generator, state.discriminator):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(network.opt_state))
    assert said == [
        f"starting from G and D of {tmp_path / 'export'}",
        "  classes: all 5 keep their embeddings",
        "  changed since then: model.epsilon 0.0001 → 0.001",
    ]


@pytest.mark.slow
def test_the_first_logits_of_a_run_are_those_of_the_imported_discriminator(tmp_path):
    exported = write(tmp_path / "export", make_config())
    config = make_config(init_from=str(tmp_path / "export"), total_steps=1, log_every=1)
    assert loop.train(config, tmp_path / "run") == 0
    source = loop.open_source()
    batch = next(batches(source, batch_size=8, d_steps=1, seed=0, start_step=0, random_flip=True))
    network = exported.discriminator
    weights = flat(jax.tree.map(np.float64, network.params))
    for path, u in network.u.items():  # one power iteration
        matrix = weights[path].reshape(-1, len(u))
        v = matrix @ u / np.linalg.norm(matrix @ u)
        weights[path] = weights[path] / np.linalg.norm(v @ matrix)
    weights = unflatten_dict(weights, sep="/")
    images = batch["images"][0] / 127.5 - 1.0
    logits = plain.discriminator(weights, images, batch["labels"][0], (1, 0))
    assert np.std(logits) > 0.01
    assert rows(tmp_path / "run")[0]["d_real"] == pytest.approx(logits.mean(), abs=1e-4)


@pytest.mark.slow
def test_classes_of_the_same_name_keep_their_embeddings_and_new_ones_stand_near_the_mean(tmp_path):
    old = write(tmp_path / "export", make_config())
    names = ("class 3", "cat", "class 0", "dog", "class 1", "bird")
    config = make_config(init_from=str(tmp_path / "export"), **{"model.num_classes": 6})
    state, said = begin(config, tmp_path, names)
    assert "  classes: 3 known by name, 3 new: cat, dog, bird" in said
    changed = {"class_embedding/embedding": 0, "projection/kernel": 1}
    for network, before in ((state.generator, old.generator), (state.discriminator, old.discriminator)):
        for path, leaf in flat(before.params).items():
            found = flat(network.params)[path]
            if path not in changed:
                np.testing.assert_array_equal(found, leaf, err_msg=path)
                continue
            table, was = np.moveaxis(found, changed[path], 0), np.moveaxis(leaf, changed[path], 0)
            np.testing.assert_array_equal(table[[0, 2, 4]], was[[3, 0, 1]])
            away = (table[[1, 3, 5]] - was.mean(0)) / was.std(0)
            assert 0 < np.abs(away).min() and np.abs(away).max() < 5 * SPREAD
        for path, u in before.u.items():
            if path != "projection/kernel":
                np.testing.assert_array_equal(network.u[path], u, err_msg=path)
    assert_same_state(state.ema_params, state.generator.params)
    kernel = state.discriminator.params["projection"]["kernel"]
    largest = np.linalg.svd(kernel)[1][0]
    u = state.discriminator.u["projection/kernel"]
    assert np.linalg.norm(kernel @ u) == pytest.approx(largest, rel=1e-3), (
        "its σ is right from the first step on"
    )
    assert_same_state(state, begin(config, tmp_path, names)[0])
    other = begin(
        make_config(init_from=config.init_from, seed=1, **{"model.num_classes": 6}), tmp_path, names
    )
    assert np.any(other[0].discriminator.params["projection"]["kernel"] != kernel)


@pytest.mark.slow
def test_tables_by_class_get_new_rows_too(tmp_path):
    old = write(tmp_path / "export", make_config(**TABLES))
    config = make_config(init_from=str(tmp_path / "export"), **TABLES, **{"model.num_classes": 2})
    state, said = begin(config, tmp_path, ("class 4", "cat"))
    assert "  classes: 1 known by name, 1 new: cat" in said
    tables = [path for path in flat(state.generator.params) if path.endswith("embedding")]
    assert len(tables) == 4
    for path in tables:
        found, was = (flat(tree)[path] for tree in (state.generator.params, old.generator.params))
        np.testing.assert_array_equal(found[0], was[4])
        assert np.abs((found[1] - was.mean(0)) / was.std(0)).max() < 5 * SPREAD


@pytest.mark.parametrize(
    ("before", "now", "count", "words"),
    [
        ((), NAMES, 5, "all 5 keep their embeddings, by number, because their names are unknown"),
        (NAMES, NAMES[:3], 5, "all 5 keep their embeddings"),  # there are no images of the last two
        ((), tuple("abcdefghij"), 10, "10 new: a, b, c, d, e, f, g, h, …"),
        (NAMES, tuple("abcde"), 5, "0 known by name, 5 new: a, b, c, d, e"),
        (NAMES, tuple("abcdefghij"), 10, "10 new: a, b, c, d, e, f, g, h, …"),
        (NAMES, NAMES[::-1], 5, "5 known by name, 0 new"),
    ],
)
def test_what_becomes_of_the_classes_is_said(tmp_path, before, now, count, words):
    write(tmp_path / "export", make_config(), before)
    config = make_config(init_from=str(tmp_path / "export"), **{"model.num_classes": count})
    (line,) = (line for line in begin(config, tmp_path, now)[1] if "classes" in line)
    assert words in line and line.endswith(words[-5:])


def test_of_a_generator_alone_the_divided_weights_go_on_and_draw_the_same(tmp_path):
    exported = write(tmp_path / "export", make_config(), generator=False, discriminator=False)
    config = make_config(init_from=str(tmp_path / "export"))
    state, said = begin(config, tmp_path)
    assert "  G: from weights divided by their σ, because the export has no training.safetensors" in said
    assert "  D: random weights, because the source has none" in said
    assert_same_state(state.discriminator, create_state(config).discriminator)
    assert_same_state(state.generator.params, exported.params)
    weights = normalize(
        exported.params, power_iteration(exported.params, state.generator.u, 1e-4), config.model.epsilon
    )
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(6, config.model.latent_dim)), rng.integers(CLASSES, size=6)
    draw = jax.jit(make_generator(config.model).apply)
    images = [draw({"params": params}, z, labels) for params in (weights, exported.params)]
    np.testing.assert_allclose(*images, atol=2e-3)


@pytest.mark.slow
def test_a_generator_in_training_goes_on_with_a_random_discriminator(tmp_path):
    exported = write(tmp_path / "export", make_config(), discriminator=False)
    narrow = {"model.discriminator_channels": (2, 2)}  # its discriminator is another one
    config = make_config(init_from=str(tmp_path / "export"), **narrow)
    state, said = begin(config, tmp_path)
    assert_taken_over(state.generator, exported.generator)
    assert_same_state(state.discriminator, create_state(config).discriminator)
    assert said[0].startswith("starting from G of")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four steps with a checkpoint every second."""
    workdir = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        noise_images.__wrapped__(monkeypatch)
        assert loop.train(make_config(checkpoint_every=2, total_steps=4), workdir) == 0
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize(("place", "step"), [("", 4), ("checkpoints/2", 2), ("checkpoints/00000004", 4)])
def test_a_run_begins_with_the_networks_of_anothers_checkpoint(trained, tmp_path, place, step):
    config = make_config(init_from=str(trained / place), seed=3)
    state, _ = begin(config, tmp_path)
    there = restore(epath.Path(trained), make_config(), step).state
    assert there.step == step
    assert_same_state(state.generator.params, there.generator.params)
    assert_same_state(state.generator.u, there.generator.u)
    assert_same_state(state.discriminator.params, there.discriminator.params)
    assert_same_state(state.discriminator.u, there.discriminator.u)
    assert_same_state(state.ema_params, there.generator.params)
    assert state.step == 0
    np.testing.assert_array_equal(state.rng, create_state(config).rng)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.generator.opt_state))


@pytest.mark.slow
def test_a_run_knows_its_classes_by_name_too(trained, tmp_path):
    config = make_config(init_from=str(trained), **{"model.num_classes": 10})
    said = begin(config, tmp_path, ("class 4", "class 1", *"abcdefgh"))[1]
    assert "  classes: 2 known by name, 8 new: a, b, c, d, e, f, g, h" in said


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_end_without_what_it_began_with(
    trained, tmp_path, monkeypatch
):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    config = make_config(init_from=str(copy), seed=3)
    assert loop.train(config, tmp_path / "unstopped") == 0
    with monkeypatch.context() as patch:
        stop_after(3, signal.SIGTERM, patch)
        assert loop.train(config, tmp_path / "run") == EXIT_RESUMABLE
    shutil.rmtree(copy)
    assert loop.train(config, tmp_path / "run") == 0
    ends = [saved(tmp_path / name, config).state for name in ("run", "unstopped")]
    assert_same_state(*ends)


@pytest.mark.slow
def test_the_runs_own_workdir_is_refused_until_it_has_a_checkpoint_of_its_own(trained, tmp_path, capsys):
    own = tmp_path / "run"
    shutil.copytree(trained, own)
    config = make_config(init_from=str(own), total_steps=4)
    assert loop.train(config, own) == 0
    assert "already finished" in capsys.readouterr().out
    shutil.rmtree(own / "checkpoints")
    (tmp_path / "link").symlink_to(own)
    for name in (own, tmp_path / "link", own / "checkpoints" / "4"):
        with pytest.raises(UserError, match="is the run's own workdir: name another"):
            loop.train(make_config(init_from=str(name)), own)


@pytest.mark.slow
def test_what_is_no_export_and_no_run_is_refused_by_name(trained, tmp_path):
    def refuse(name, words):
        with pytest.raises(UserError, match=words) as error:
            begin(make_config(init_from=str(name)), tmp_path)
        assert str(error.value).startswith(f"config.init_from = '{name}'")

    refuse(
        tmp_path / "none", "no config.json in .*none; name an export, a run's workdir, or WORKDIR/checkpoints"
    )
    refuse("s3://bucket/run", "give a local directory or gs://")
    (tmp_path / "config.json").write_text("{")
    refuse(tmp_path, "cannot read .*config.json")
    refuse(trained / "checkpoints" / "3", "the checkpoints in .* are of the steps 2, 4")
    (tmp_path / "run2").mkdir()
    shutil.copy(trained / "config.json", tmp_path / "run2")
    refuse(tmp_path / "run2", "no checkpoint yet")
    export = tmp_path / "export"
    write(export, make_config())
    for name in (TRAINING, GENERATOR):
        content = (export / name).read_bytes()
        (export / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        refuse(export, f"{name} is not the exported file")
        (export / name).unlink()
        refuse(export, f"cannot read .*{name}")
        (export / name).write_bytes(content)
    settings = json.loads((export / "config.json").read_text())
    (export / "config.json").write_text(json.dumps(settings | {"version": 99}))
    refuse(export, "version 99")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"model.channels": 8},
            [r"  model.channels: 4 → 8\n", r"G's block_0/conv_1/bias \[4\] → \[8\]", r"… and \d+ more"],
        ),
        (
            {"model.discriminator_channels": (1, 2)},
            [r"  model.discriminator_channels: \[1, 1\] → \[1, 2\]\n"],
        ),
        ({"model.latent_dim": 6}, ["model.latent_dim: 4 → 6", r"linear/kernel \[2, 64\] → \[3, 64\]"]),
        (TABLES, [r"G's block_0/norm_1/bias/embedding none → \[4\]", "model.shared_embedding: True → False"]),
    ],
)
def test_another_architecture_is_refused_with_fields_and_tensors(tmp_path, fields, words):
    write(tmp_path / "export", make_config())
    config = make_config(init_from=str(tmp_path / "export"), **fields)
    with pytest.raises(UserError) as error:
        begin(config, tmp_path)
    message = str(error.value)
    for word in words:
        assert re.search(word, message), message
    assert f"set these fields as they are there, as --config=configs/finetune.py:{tmp_path}" in message


def test_a_discriminator_that_halves_elsewhere_is_another_one_although_all_its_tensors_fit(tmp_path):
    widths = {"model.discriminator_channels": (1, 2)}
    write(tmp_path / "export", make_config(**widths, **{"model.discriminator_downsample": (1, 0)}))
    here = {"model.discriminator_downsample": (0, 1), "init_from": str(tmp_path / "export")}
    words = r"architecture \(there → here\):\n  model.discriminator_downsample: \[1, 0\] → \[0, 1\]\nset"
    with pytest.raises(UserError, match=words):
        begin(make_config(**widths, **here), tmp_path)


def parse(monkeypatch, *words: str):
    """The config of a command line."""
    values = flags.FlagValues()
    cli.define_config(values)
    monkeypatch.setattr(sys, "argv", ["command", *words])
    cli.parse(sys.argv, values)
    return values.config


@pytest.mark.slow
def test_the_config_for_fine_tuning_takes_its_networks_from_what_it_is_given(trained, tmp_path, monkeypatch):
    write(tmp_path / "export", make_config(**TABLES, **{"model.epsilon": 1e-5}))
    mine = ["--config.data.source=folder:mine", "--config.model.num_classes=3"]
    for name, expected in (
        (tmp_path / "export", make_config(**TABLES, **{"model.epsilon": 1e-5})),
        (trained, make_config()),
        (trained / "checkpoints" / "2", make_config()),
    ):
        config = parse(monkeypatch, f"--config={FINETUNE}:{name}", *mine)
        validate(config)
        assert config.init_from == str(name) and config.is_locked
        expected.model.num_classes = 3
        assert config.model.to_dict() == expected.model.to_dict()
    begin(config, tmp_path, ("a", "b", "c"))  # fits
    with pytest.raises(
        UserError, match="2 problems:\n  config.*model.num_classes = 0.*\n  .*data.source = ''"
    ):
        validate(parse(monkeypatch, f"--config={FINETUNE}:{trained}"))
    with pytest.raises(UserError, match=r"finetune.py: give the networks to begin with: --config=finetune:E"):
        parse(monkeypatch, f"--config={FINETUNE}", *mine)
    with pytest.raises(UserError, match=r"finetune.py:none: config.init_from = 'none': no config.json"):
        parse(monkeypatch, f"--config={FINETUNE}:none", *mine)


@pytest.mark.slow
def test_of_several_processes_the_first_alone_reads_what_the_run_begins_with(tmp_path):
    """The second finds nothing under that name where it stands, and draws the same all the same."""
    fields = {
        "model.generator_channels": (1, 1, 1, 1),
        "model.discriminator_channels": (1, 1, 1, 1),
        "model.channels": 4,
        "batch_size": 4,
        "total_steps": 1,
        "log_every": 1,
        "sample_every": 0,
    }
    file = FINETUNE.with_name("fashion_mnist.py")
    config = runpy.run_path(str(file))["get_config"]()
    config.update_from_flattened_dict(fields)
    write(tmp_path / "here" / "export", config, names=())
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "biggan_jax.train", f"--config={file}", "--config.init_from=export"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = os.environ | {"XLA_FLAGS": xla_flags(devices=1)}

    def row(*places: str) -> dict:
        workdir = tmp_path / f"run of {len(places)}"
        where = [f"--coordinator_address={free_address()}", f"--num_processes={len(places)}"]
        running = [
            subprocess.Popen(
                [*command, f"--workdir={workdir}", *where, f"--process_id={index}"],
                cwd=tmp_path / place,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index, place in enumerate(places)
        ]
        for process in running:
            _, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
        return rows(workdir)[0]

    alone, together = row("here"), row("here", "elsewhere")
    for name in ("d_real", "d_fake", "g_loss"):
        assert together[name] == pytest.approx(alone[name], rel=1e-4), name
