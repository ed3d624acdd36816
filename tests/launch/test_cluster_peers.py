"""skypilot.yaml and gke_jobset.yaml, read by SkyPilot itself and by the models of Kubernetes' own API."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("sky")
models = pytest.importorskip("kubeflow_trainer_api.models")  # JobSet's, generated from its OpenAPI text
pytestmark = pytest.mark.peers

LAUNCH = Path(__file__).parents[2] / "launch"

READ = """
import json, sys, sky, yaml
config = yaml.safe_load(open(sys.argv[1]))
task = sky.Task.from_yaml_config(config, env_overrides=json.loads(sys.argv[2]))
(resources,) = task.resources
print(json.dumps({
    "run": task.run, "envs": task.envs, "spot": resources.use_spot, "workdir": task.workdir,
    "accelerators": resources.accelerators, "recovery": resources.job_recovery,
}))
"""


def read_by_skypilot(tmp_path: Path, envs: list) -> subprocess.CompletedProcess:
    # In a process and a home of its own: it writes there when it is imported.
    environment = os.environ | {"HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    words = [sys.executable, "-c", READ, str(LAUNCH / "skypilot.yaml"), json.dumps(envs)]
    return subprocess.run(words, env=environment, cwd=LAUNCH.parent, capture_output=True, text=True)


def test_skypilot_reads_a_spot_job_that_starts_again_on_exit_code_75(tmp_path):
    given = {"WORKDIR": "gs://bucket/run", "SOURCE": "prepared:gs://bucket/data"}
    found = read_by_skypilot(tmp_path, list(given.items()))
    assert found.returncode == 0, found.stderr
    task = json.loads(found.stdout.splitlines()[-1])
    assert task["spot"] is True and task["workdir"] == "."
    assert task["recovery"]["recover_on_exit_codes"] == [75]
    assert task["accelerators"] == {"tpu-v5litepod-64": 1}
    assert task["envs"] == {"CONFIG": "configs/imagenet128.py"} | given


@pytest.mark.parametrize("missing", ["WORKDIR", "SOURCE"])
def test_skypilot_asks_for_the_workdir_and_the_source(tmp_path, missing):
    given = {"WORKDIR": "gs://bucket/run", "SOURCE": "prepared:gs://bucket/data"}
    del given[missing]
    found = read_by_skypilot(tmp_path, list(given.items()))
    assert found.returncode != 0 and missing in found.stderr


def test_no_word_of_skypilots_run_is_split_by_the_shell(tmp_path):
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    python = tmp_path / "biggan_venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    values = {
        "CONFIG": "a b.py",
        "WORKDIR": 'gs://it\'s; "x" $(touch pwned)',
        "SOURCE": "folder:two words; $(touch pwned)",
    }
    environment = os.environ | values | {"HOME": str(tmp_path)}
    found = subprocess.run(["bash", "-c", task["run"]], env=environment, capture_output=True, text=True)
    expected = [f"--config={values['CONFIG']}", f"--workdir={values['WORKDIR']}"]
    expected.append(f"--config.data.source={values['SOURCE']}")
    assert found.stdout.splitlines() == ["-m", "biggan_jax.train", *expected]


def lost(given, read, path: str = "") -> list[str]:
    """What of `given` is not in `read`, which may have more: defaults."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [loss for key in given for loss in lost(given[key], read.get(key), f"{path}.{key}")]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return [loss for pair in zip(given, read, strict=True) for loss in lost(*pair, f"{path}[]")]
    return [] if given == read else [path]


def read_by_kubernetes_models(jobset: dict) -> list[str]:
    """The fields that JobSet's models drop, as they don't know them; wrong types they refuse."""
    return lost(jobset, models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict())


def test_kubernetes_knows_every_field_of_the_jobset():
    jobset = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert read_by_kubernetes_models(jobset) == []
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["terminationGraceSeconds"] = 5  # and it would see a misspelt one
    assert read_by_kubernetes_models(jobset) == [
        ".spec.replicatedJobs[].template.spec.template.spec.terminationGraceSeconds"
    ]
    del pod["terminationGraceSeconds"]
    pod["containers"][0]["command"] = "python"
    with pytest.raises(ValueError, match="command"):
        read_by_kubernetes_models(jobset)
