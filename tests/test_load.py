"""`biggan_jax.load` in a process of its own: its imports, its images and its errors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_exports import make_exported

import biggan_jax
from biggan_jax.exports.export_files import write_export
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler

# In a process of its own: pytest's has imported nearly everything.
LOAD = """
import json, sys, time
import jax
start = time.perf_counter()
import biggan_jax
from biggan_jax.exports import export_files
from biggan_jax.sampling import sampler  # what load imports when it is called
seconds = time.perf_counter() - start
generator = biggan_jax.load(sys.argv[1])
images = generator.sample(classes=["sandal", 2], truncation=0.7, seed=3)
packages = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"seconds": seconds, "packages": packages, "images": images.tolist()}))
"""
HEAVY = {"tensorflow", "tensorflow_datasets", "torch", "optax", "orbax", "matplotlib", "scipy", "pandas"}


@pytest.fixture
def folder(tmp_path):
    write_export(tmp_path / "export", make_exported(), {"README.md": b"card"})
    return tmp_path / "export"


def test_loading_and_sampling_import_no_training_code_and_give_the_same_images(folder, capsys):
    done = subprocess.run([sys.executable, "-c", LOAD, folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    jax_takes = {"scipy"}
    assert not (HEAVY - jax_takes) & set(result["packages"])
    expected = Sampler(make_exported()).sample(["sandal", 2], truncation=0.7, seed=3)
    np.testing.assert_array_equal(np.array(result["images"], np.uint8), expected)
    with capsys.disabled():
        print(f" [imported in {result['seconds']:.2f} s, JAX aside]", end="")


def test_importing_the_package_alone_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import biggan_jax; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "biggan_jax" in done.stdout.split()
    assert not {"jax", "flax", "numpy", "absl"} & {name.split(".")[0] for name in done.stdout.split()}


def test_a_path_may_be_text_and_settings_are_handed_on(folder):
    one = biggan_jax.load(str(folder), batch_size=2)
    other = biggan_jax.load(folder)
    assert one.class_names == other.class_names == ("sandal", "bag", "ankle boot")
    labels = [0, 1, 2]
    np.testing.assert_array_equal(one.sample(labels), one.sample(labels[:1] + labels[1:]))
    difference = np.abs(one.sample(labels).astype(int) - other.sample(labels))
    assert difference.max() <= 1


def test_a_folder_that_is_no_export_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="is no export"):
        biggan_jax.load(tmp_path)
