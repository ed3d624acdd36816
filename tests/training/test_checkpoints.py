"""Checkpoints: what comes back, what is refused, and what damage is survived."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import xla_flags
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from biggan_jax.config import default_config
from biggan_jax.runtime.errors import UserError
from biggan_jax.training.run.checkpoints import Checkpoints

PLACES = [str(folder) for folder in Path(__file__).parents[:2]]  # of this module and of those that it imports


@flax.struct.dataclass
class State:
    step: jax.Array
    rng: jax.Array
    params: dict
    opt_state: optax.OptState


def make_state(seed: float = 0, width: int = 50, optimizer=None) -> State:
    """A small state with what the real one has: scalars, raw keys, named tuples, keys with slashes."""
    params = {"blocks": {"conv/kernel": jnp.arange(40 * width, dtype=jnp.float32).reshape(40, width) + seed}}
    params["bias"] = jnp.full((7,), seed, jnp.float32)
    return State(
        step=jnp.int32(seed),
        rng=jax.random.key_data(jax.random.key(int(seed))),
        params=params,
        opt_state=(optimizer or optax.adam(1e-3)).init(params),
    )


def make_config(**fields):
    config = default_config()
    config.update_from_flattened_dict(fields)
    return config


def save(directory, *steps, config=None, loop=None):
    checkpoints = Checkpoints(directory, config or make_config())
    for step in steps:
        checkpoints.save(step, make_state(step), loop or {})
    checkpoints.wait()
    checkpoints.close()


def restore(directory, state=None, config=None):
    checkpoints = Checkpoints(directory, config or make_config())
    try:
        return checkpoints.restore_latest(state or make_state())
    finally:
        checkpoints.close()


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


def test_state_step_config_and_loop_come_back_bit_for_bit(tmp_path):
    loop = {"unlogged": [{"d_loss": float(np.float32(0.1))}]}
    save(tmp_path, 3, config=make_config(seed=5), loop=loop)
    restored = restore(tmp_path)
    assert_same(restored.state, make_state(3))
    assert (restored.step, restored.loop, restored.config["seed"]) == (3, loop, 5)
    assert restored.config["model"]["generator_channels"] == []


def test_an_empty_directory_restores_nothing(tmp_path):
    assert restore(tmp_path) is None


def test_the_newest_are_kept_and_the_newest_is_restored(tmp_path):
    save(tmp_path, 1, 2, 3, 4, config=make_config(**{"checkpoints.keep": 2}))
    assert sorted(os.listdir(tmp_path)) == ["00000003", "00000004"]
    assert restore(tmp_path).step == 4


def test_a_state_saved_by_many_devices_restores_in_a_process_of_one(tmp_path):
    mesh = Mesh(np.array(jax.devices()), ("replicas",))
    assert mesh.size > 1
    checkpoints = Checkpoints(tmp_path, make_config())
    checkpoints.save(2, jax.device_put(make_state(2), NamedSharding(mesh, PartitionSpec())), {})
    checkpoints.wait()
    script = (
        "import sys, jax, numpy as np; sys.path[:0] = sys.argv[2:]; import test_checkpoints as t;"
        "assert jax.device_count() == 1; r = t.restore(sys.argv[1]); t.assert_same(r.state, t.make_state(2))"
    )
    environment = os.environ | {"XLA_FLAGS": xla_flags(devices=1), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, str(tmp_path), *PLACES]
    subprocess.run(command, check=True, env=environment)


def test_the_step_after_a_save_may_overwrite_the_donated_state(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x * 0 - 1 if x.ndim else x, state), donate_argnums=0)
    state = make_state(6, width=200_000)
    expected = jax.tree.map(np.array, state)
    checkpoints = Checkpoints(tmp_path, make_config())
    checkpoints.save(6, state, {})
    state = jax.block_until_ready(step(state))
    checkpoints.wait()
    assert_same(checkpoints.restore_latest(expected).state, expected)


def test_saving_a_step_twice_is_harmless(tmp_path):
    save(tmp_path, 4, 4)
    save(tmp_path, 4)
    assert restore(tmp_path).step == 4


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model.channels": 64}, ["model.channels: 96 → 64"]),
        ({"model.num_classes": 9, "model.latent_dim": 6}, ["num_classes: 1000 → 9", "latent_dim: 120 → 6"]),
        ({"model.generator_channels": (8, 4, 2, 1)}, [r"generator_channels: \[\] → \[8, 4, 2, 1\]"]),
    ],
)
def test_another_architecture_is_refused_with_the_fields_that_differ(tmp_path, fields, named):
    save(tmp_path, 3)
    for name in named:
        with pytest.raises(UserError, match=name):
            restore(tmp_path, config=make_config(**fields))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"optimizer": optax.sgd(1.0)}, "state.opt_state.0.mu.bias: gone"),
        ({"optimizer": optax.chain(optax.adam(1.0), optax.ema(0.9))}, "state.opt_state.1.*: new"),
        ({"width": 51}, r"state.params.blocks.conv/kernel: .*40, 50.* → .*40, 51"),
    ],
)
def test_another_optimiser_or_shape_is_refused_where_the_config_is_the_same(tmp_path, state, named):
    save(tmp_path, 3)
    with pytest.raises(UserError, match=named):
        restore(tmp_path, make_state(**state))


def test_fields_that_shape_no_parameter_do_not_stop_a_run(tmp_path):
    save(tmp_path, 3)
    fields = {"model.dtype": "bfloat16", "model.remat": True, "optimizer.beta2": 0.9, "batch_size": 8}
    assert restore(tmp_path, config=make_config(**fields)).step == 3


def damage_truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def damage_empty(path):
    os.truncate(path, 0)


def test_a_config_that_is_not_the_one_saved_is_damage(tmp_path, caplog):
    save(tmp_path, 3, 6)
    file = tmp_path / "00000006" / "config" / "metadata"
    file.write_text(file.read_text().replace('"batch_size": 2048', '"batch_size": 2049'))
    assert restore(tmp_path).step == 3
    assert "the hash differs" in caplog.text


def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def largest(directory, pattern="*"):
    return max((p for p in directory.rglob(pattern) if p.is_file()), key=lambda p: p.stat().st_size)


def noise(seed):
    numbers = np.random.default_rng(seed).normal(size=(40, 50)).astype(np.float32)
    return make_state(seed).replace(params={"blocks": {"conv/kernel": numbers}, "bias": numbers[0, :7]})


def test_a_bit_flipped_in_an_array_is_noticed_by_its_digest(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, make_config())
    for step in (3, 6):
        checkpoints.save(step, noise(step), {})
    checkpoints.wait()
    checkpoints.close()
    flip(largest(tmp_path / "00000006" / "state"))
    assert_same(restore(tmp_path).state, noise(3))
    assert "arrays changed since it was saved: state.params.blocks.conv/kernel" in caplog.text


@pytest.mark.parametrize("item", ["loop", "digests"])
def test_a_bit_flipped_in_the_values_beside_the_state_is_noticed(tmp_path, caplog, item):
    save(tmp_path, 3, 6, loop={"unlogged": [{"d_loss": 0.125}]})
    file = tmp_path / "00000006" / item / "metadata"
    text = file.read_text()
    file.write_text(text.replace("125", "135") if item == "loop" else text.replace("40, 50", "40, 51", 1))
    restored = restore(tmp_path)
    assert (restored.step, restored.loop) == (3, {"unlogged": [{"d_loss": 0.125}]})
    assert f"its {item} have changed" in caplog.text or f"of its {item} have changed" in caplog.text


@pytest.mark.parametrize("damaged", ['{"fid": 4.0}', '{"fid": 0.0', "[" * 5000, "\x00"])
def test_scores_that_have_changed_rank_no_checkpoint(tmp_path, caplog, damaged):
    config = make_config(**{"checkpoints.best": 1, "checkpoints.metric": "fid"})
    checkpoints = Checkpoints(tmp_path, config)
    for step, score in {1: 5.0, 2: 9.0}.items():
        checkpoints.save(step, make_state(step), {}, {"fid": score})
    checkpoints.wait()
    assert checkpoints.best == 1
    checkpoints.close()
    (tmp_path / "00000002" / "metrics" / "metrics").write_text(damaged)
    checkpoints = Checkpoints(tmp_path, config)
    assert (checkpoints.best, checkpoints.restore_latest(make_state()).step) == (1, 2)
    checkpoints.close()
    assert f"the scores of the checkpoint {tmp_path}/00000002 do not rank it" in caplog.text


def test_a_checkpoint_of_an_older_version_is_read_and_said_to_be_unverified(tmp_path, caplog):
    save(tmp_path, 3)
    shutil.rmtree(tmp_path / "00000003" / "digests")
    assert_same(restore(tmp_path).state, make_state(3))
    assert "00000003 was written without digests, so its content could not be verified" in caplog.text


def test_rows_of_the_steps_after_a_save_are_not_in_it(tmp_path):
    checkpoints = Checkpoints(tmp_path, make_config())
    loop = {"unlogged": [{"d_loss": 1.0}]}
    checkpoints.save(3, make_state(3, width=200_000), loop)
    loop["unlogged"] += [{"d_loss": 2.0}] * 1000
    checkpoints.wait()
    restored = checkpoints.restore_latest(make_state(width=200_000))
    assert restored.loop == {"unlogged": [{"d_loss": 1.0}]}
    checkpoints.close()


SCORES = {1: 5.0, 2: None, 3: 2.0, 4: math.nan, 5: 3.0, 6: 4.0, 7: 9.0}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"keep": 2}, [6, 7]),
        ({"keep": 1, "keep_every": 3}, [3, 6, 7]),
        ({"keep": 1, "best": 2, "metric": "fid"}, [3, 5, 7]),
        ({"keep": 1, "best": 2, "metric": "fid", "higher_is_better": True}, [1, 7]),
        ({"keep": 2, "keep_every": 4, "best": 1, "metric": "fid"}, [3, 4, 6, 7]),
    ],
)
def test_which_checkpoints_stay_is_as_the_config_says_and_a_restart_forgets_no_score(tmp_path, rules, kept):
    config = make_config(**{f"checkpoints.{name}": value for name, value in rules.items()})
    for step, score in SCORES.items():
        checkpoints = Checkpoints(tmp_path, config)
        checkpoints.save(step, make_state(step), {}, {"fid": score, "d_loss": 0.0})
        checkpoints.wait()
        checkpoints.close()
    assert sorted(int(name) for name in os.listdir(tmp_path)) == kept
    assert Checkpoints(tmp_path, config, read_only=True).steps == kept


def test_those_after_a_step_can_be_deleted(tmp_path):
    save(tmp_path, 1, 2, 3)
    checkpoints = Checkpoints(tmp_path, make_config())
    checkpoints.delete_after(1)
    assert checkpoints.steps == [1] and os.listdir(tmp_path) == ["00000001"]
    assert checkpoints.restore_latest(make_state()).step == 1
    checkpoints.close()


STATE_FILES = ["state/_METADATA", "state/manifest.ocdbt", "state/d/*", "state/ocdbt.process_0/d/*"]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # orbax's, from its event loop
@pytest.mark.parametrize("damage", [damage_truncate, damage_empty, os.remove])
@pytest.mark.parametrize("file", [*STATE_FILES, "config/metadata"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, capfd, file, damage):
    save(tmp_path, 3, 6)
    paths = list((tmp_path / "00000006").glob(file))
    assert paths
    damage(max(paths, key=lambda path: path.stat().st_size))
    restored = restore(tmp_path)
    assert_same(restored.state, make_state(3))
    assert f"skipping the checkpoint {tmp_path}/00000006" in caplog.text
    assert "Traceback" not in capfd.readouterr().err
    # The run comes to step 6 again, and saves it in the damaged one's place.
    save(tmp_path, 6)
    assert_same(restore(tmp_path).state, make_state(6))
    assert sorted(os.listdir(tmp_path)) == ["00000003", "00000006", "unreadable-00000006"]


def test_a_save_cut_off_before_its_end_leaves_no_checkpoint(tmp_path):
    save(tmp_path, 3, 6)
    (tmp_path / "00000006").rename(tmp_path / "00000006.orbax-checkpoint-tmp")
    assert restore(tmp_path).step == 3
    save(tmp_path, 6)
    assert restore(tmp_path).step == 6


def test_looking_at_a_run_disturbs_neither_its_save_under_way_nor_its_damaged_checkpoints(tmp_path):
    save(tmp_path, 3, 6)
    damage_empty(tmp_path / "00000006" / "state" / "manifest.ocdbt")
    (tmp_path / "00000009.orbax-checkpoint-tmp").mkdir()
    before = sorted(os.listdir(tmp_path))
    assert Checkpoints(tmp_path, make_config(), read_only=True).restore_latest(make_state()).step == 3
    assert sorted(os.listdir(tmp_path)) == before


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again_in_silence(tmp_path):
    save(tmp_path, 3, 6)
    for path in tmp_path.glob("*/state/manifest.ocdbt"):
        damage_empty(path)
    with pytest.raises(UserError, match="none of the checkpoints in .* can be read"):
        restore(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["00000003", "00000006"]


def test_a_place_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "run").write_text("a file, not a directory")
    with pytest.raises(UserError, match="run/checkpoints would be below .*run, which is a file: give"):
        Checkpoints(tmp_path / "run" / "checkpoints", make_config())


def test_a_full_disk_is_reported_and_leaves_the_checkpoint_before(tmp_path):
    save(tmp_path, 3)
    script = (
        "import sys, resource; sys.path[:0] = sys.argv[2:]; import test_checkpoints as t;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); t.save_large(sys.argv[1])"
    )
    command = [sys.executable, "-c", script, str(tmp_path), *PLACES]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert result.stdout.startswith(f"cannot write a checkpoint to {tmp_path}: ")
    assert "File too large" in result.stdout and "the last good one is of step 3" in result.stdout
    assert restore(tmp_path).step == 3


def save_large(directory):
    noise = np.random.default_rng(0).normal(size=(1000, 1000)).astype(np.float32)
    checkpoints = Checkpoints(directory, make_config())
    try:
        checkpoints.save(6, {"noise": noise}, {})
        checkpoints.wait()
    except UserError as error:
        print(error)


def test_a_checkpoint_that_may_not_be_read_is_an_error_and_not_passed_over(tmp_path):
    save(tmp_path, 3, 6)
    data = next((tmp_path / "00000006" / "state" / "d").iterdir())
    data.chmod(0)
    if os.access(data, os.R_OK):
        pytest.skip("this user, such as root, may read everything")
    with pytest.raises(UserError, match="not permitted to read the checkpoint .*00000006"):
        restore(tmp_path)
