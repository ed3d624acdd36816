"""Files for other engines: the JobSet's numbers agree, and slurm.sbatch treats each ending as it says."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


@pytest.mark.parametrize("script", ["tpu_host.sh", "slurm.sbatch"])
def test_shellcheck_finds_nothing_in_a_script(script):
    checked = subprocess.run([SHELLCHECK, LAUNCH / script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


# ---- gke_jobset.yaml


@pytest.fixture
def jobset() -> dict:
    return yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())


def test_as_many_pods_start_as_the_slice_has_hosts(jobset):
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = math.prod(int(side) for side in topology.split("x"))
    assert job["parallelism"] == job["completions"]
    assert job["parallelism"] * pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == chips
    assert job["completionMode"] == "Indexed"  # TPU_WORKER_ID is made of the index


def test_exit_code_2_fails_the_jobset_and_every_other_starts_all_pods_again(jobset):
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"], rule["onExitCodes"]["values"]) == (
        "FailJob",
        "In",
        [2],
    )
    assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    assert pod["restartPolicy"] == "Never" and job["backoffLimit"] == 0  # a pod policy works with these only
    (policy,) = jobset["spec"]["failurePolicy"]["rules"]
    assert policy["action"] == "FailJobSet" and policy["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0


def test_what_the_user_puts_in_reaches_the_command_without_a_shell(jobset):
    container = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    own = jobset["metadata"]["annotations"]
    assert (values["CONFIG"], values["WORKDIR"]) == (own["biggan/config"], own["biggan/workdir"])
    assert container["image"] == own["biggan/image"]
    assert {"--config=$(CONFIG)", "--workdir=$(WORKDIR)"} < set(container["command"])
    assert not {"sh", "bash"} & set(container["command"])
    for key in own:  # as Kubernetes has it
        assert re.fullmatch(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?", key)


# ---- slurm.sbatch

# Runs the command once for each of $CODES, which its $PYTHON exits with, and like srun ends with the highest.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
highest=0
for TASK_CODE in $CODES; do
  export TASK_CODE
  "$@"; code=$?
  if ((code > highest)); then highest=$code; fi
done
exit $highest
"""
PYTHON = f"""#!{sys.executable} -IS
import json, os, sys
open(os.environ["SEEN"], "a").write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(int(os.environ["TASK_CODE"]))
"""


@pytest.fixture
def slurm(tmp_path):
    """Runs the script as SLURM would; returns its exit code, what was requeued, and the tasks' arguments."""
    scripts = {
        "srun": SRUN,
        "squeue": '#!/bin/bash\necho "$STATE"\n',
        "scontrol": '#!/bin/bash\necho "$@" >>"$REQUEUED"\n',
        "py thon": PYTHON,
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(codes: str, *words: str, starts_before: int = 0, state: str = "RUNNING"):
        seen, requeued = tmp_path / "seen", tmp_path / "requeued"
        for file in (seen, requeued):
            file.write_text("")
        environment = {
            "PATH": f"{tmp_path}:{Path(shutil.which('bash')).parent}",
            "SLURM_JOB_ID": "17",
            "SLURM_RESTART_COUNT": str(starts_before),
            "PYTHON": str(tmp_path / "py thon"),
            "CODES": codes,
            "STATE": state,
            "SEEN": str(seen),
            "REQUEUED": str(requeued),
        }
        done = subprocess.run(
            ["bash", LAUNCH / "slurm.sbatch", *words], env=environment, cwd=tmp_path, capture_output=True
        )
        tasks = [json.loads(line) for line in seen.read_text().splitlines()]
        return done.returncode, requeued.read_text().strip(), tasks

    return run


@pytest.mark.parametrize(
    ("codes", "starts_before", "state", "code", "requeued"),
    [
        ("0 0", 0, "RUNNING", 0, ""),
        ("75 75", 40, "RUNNING", 0, "requeue 17"),
        ("75 137", 0, "RUNNING", 0, "requeue 17"),  # one was killed, the other lost it
        ("1 75", 9, "RUNNING", 0, "requeue 17"),
        ("137 75", 10, "RUNNING", 137, ""),  # over and over
        ("75 2 137", 0, "RUNNING", 2, ""),  # a mistake, whatever the others say
        ("127", 0, "RUNNING", 2, ""),
        ("75 75", 0, "COMPLETING", 75, ""),  # scancel
    ],
)
def test_the_job_goes_back_into_the_queue_as_its_tasks_end(
    slurm, codes, starts_before, state, code, requeued
):
    found, did, tasks = slurm(codes, starts_before=starts_before, state=state)
    assert (found, did) == (code, requeued)
    assert len(tasks) == len(codes.split())


def test_slurms_arguments_reach_every_task_as_they_were_given(slurm, tmp_path):
    words = ["--config=a b.py", "--workdir=it's; touch pwned", '--config.x="$(touch pwned)"', "*"]
    _, _, tasks = slurm("0 0", *words)
    assert tasks == [["-m", "biggan_jax.train", *words]] * 2
    assert not (tmp_path / "pwned").exists()


# When the run is under way, all processes of the task are sent SIGTERM; what is left when it ends is killed.
SRUN_WITH_SIGNAL = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
setsid "$@" & task=$!
until [[ -e up ]]; do sleep 0.05; done
kill -TERM -- -$task
wait $task
code=$?
kill -KILL -- -$task 2>/dev/null
exit $code
"""
SAVING = f"""#!{sys.executable} -IS
import signal, sys, time
def save(*_):
    time.sleep(0.5)
    open("saved", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
open("up", "w").close()
time.sleep(60)
"""


def test_a_task_that_slurm_sends_sigterm_counts_as_ended_only_when_the_run_has_saved(slurm, tmp_path):
    (tmp_path / "srun").write_text(SRUN_WITH_SIGNAL)
    (tmp_path / "py thon").write_text(SAVING)
    code, requeued, _ = slurm("")
    assert (code, requeued) == (0, "requeue 17") and (tmp_path / "saved").exists()


def test_slurm_reads_the_options_and_every_task_has_its_gpu():
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    # SLURM reads them up to the first line that is a command.
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = {}
    for number, line in enumerate(lines):
        if line.startswith("#SBATCH "):
            assert number < first_command
            name, _, value = line.removeprefix("#SBATCH --").partition("=")
            options[name] = value
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert {"requeue", "signal"} < options.keys()
