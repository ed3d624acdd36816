"""The pod launcher against a gcloud that plays quota errors, pre-emption and dead hosts, with real shells."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["--name=pod", "--zone=zone-a", "--poll_seconds=0.05"]
SLICE = ["--accelerator_type=v3-32", "--spot"]
WORKDIR = "gs://bucket/run"

# Steps up to the goal, counted in what stands for the bucket; every process sees what the others did.
# A file events/STEP-WORKER has that worker do at that step or soon after, once, what it says.
TRAINING = """
import json, os, pathlib, signal, sys, time

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
home = pathlib.Path.home()
place, me = home.parents[1], int(home.name)
bucket = place / "bucket"
bucket.mkdir(exist_ok=True)
(bucket / f"listens-{me}").touch()
step, lost = bucket / "step", bucket / "lost"

def steps():
    return int(step.read_text()) if step.exists() else 0

if me == 0:
    lost.unlink(missing_ok=True)
    with open(bucket / "starts", "a") as file:
        file.write(json.dumps([steps(), sys.argv[1:]]) + "\\n")
    deadline = time.monotonic() + 20  # a host that starts late would miss the steps of its events
    while len(list(bucket.glob("listens-*"))) < len(list(home.parent.iterdir())) and not asked:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
else:
    time.sleep(0.1)
while steps() < int((place / "goal").read_text()):
    due = [e for e in (place / "events").glob(f"*-{me}") if int(e.name.split("-")[0]) <= steps()]
    for event in due:
        what = event.read_text()
        event.unlink()
        if what == "preempt":
            (place / "preempt").touch()
            time.sleep(60)
        lost.touch()
        if what == "dead":
            (home / "dead").touch()
        if what in ("dead", "kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        print(f"error: the event {what}", flush=True)
        sys.exit(int(what))
    if asked or lost.exists():
        print("saved", flush=True)
        lost.touch()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as biggan_jax.runtime.cli does
        sys.exit(75)
    if me == 0:
        (bucket / "new").write_text(str(steps() + 1))
        (bucket / "new").rename(step)
        print("step", steps(), flush=True)
    time.sleep(0.1)
print("finished", flush=True)
"""


class Cloud:
    """The fake gcloud's place, a small git clone with the launcher in it, and what is run there."""

    def __init__(self, place: Path):
        self.place = place
        self.started: list[subprocess.Popen] = []
        self.clone = place / "clone of 'it'; $(touch pwned)"
        shutil.copytree(ROOT / "launch", self.clone / "launch", ignore=shutil.ignore_patterns("__pycache__"))
        (self.clone / "train.py").write_text(TRAINING)
        for words in (["init", "--quiet"], ["add", "."]):
            subprocess.run(["git", *words], cwd=self.clone, check=True)
        gcloud = place / "bin" / "gcloud"
        gcloud.parent.mkdir()
        gcloud.write_text(
            f'#!/bin/bash\nexec {sys.executable} -I -S {ROOT}/tests/launch/fake_gcloud.py "$@"\n'
        )
        gcloud.chmod(0o755)
        (place / "events").mkdir()
        self.goal(10)
        self.environment = {
            "PATH": f"{gcloud.parent}:{os.environ['PATH']}",
            "HOST_PATH": os.environ["PATH"],
            "HOME": str(place),
            "FAKE_GCLOUD": str(place),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.plays()

    def plays(self, **scenario) -> None:
        default = {"hosts": 3, "states": ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]}
        (self.place / "scenario.json").write_text(json.dumps(default | scenario))

    def goal(self, steps: int) -> None:
        (self.place / "goal.new").write_text(str(steps))
        (self.place / "goal.new").rename(self.place / "goal")

    def event(self, step: int, worker: int, what: str) -> None:
        (self.place / "events" / f"{step}-{worker}").write_text(what)

    def start(self, verb: str, *words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "launch/tpu_pod.py", verb, *FLAGS, *words],
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def call(self, verb: str, *words: str) -> tuple[int, str]:
        process = self.start(verb, *words)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def run(self, *flags: str) -> tuple[int, str]:
        return self.call("run", *SLICE, f"--workdir={WORKDIR}", *flags, "--", "python", "train.py")

    def calls(self) -> list[list[str]]:
        file = self.place / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def story(self) -> list[str]:
        """The calls that change something, in order, by a word each."""
        words = []
        for call in self.calls():
            if call[4] == "ssh":
                command = next(word for word in call if word.startswith("--command="))
                words.append(re.search(r"tpu_host.sh (\w+)", command)[1])
            else:
                words.append(call[4])
        return [word for word in words if word not in ("describe", "poll")]

    def starts(self) -> list[tuple[int, list[str]]]:
        """Of every start of the training: the step it went on from, and its arguments."""
        file = self.place / "bucket" / "starts"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for_step(self, step: int) -> None:
        """Also for all three to listen to signals."""
        path, deadline = self.place / "bucket" / "step", time.monotonic() + 60
        while (
            not path.exists() or int(path.read_text()) < step or len(list(path.parent.glob("listens-*"))) < 3
        ):
            assert time.monotonic() < deadline, f"no step {step}"
            time.sleep(0.02)


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    yield cloud
    for process in cloud.started:
        process.kill()
        process.communicate()
    for group in tmp_path.glob("*/*/biggan_jax/run/group"):
        try:
            os.killpg(int(group.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


CREATED = ["create", "scp", "setup", "start"]


def test_a_preempted_slice_is_created_again_and_the_run_goes_on_where_it_was(cloud):
    cloud.event(4, 0, "preempt")
    code, out = cloud.run("--delete_when_finished")
    assert code == 0, out
    assert cloud.story() == [*CREATED, "delete", *CREATED, "delete"], out
    assert [step for step, _ in cloud.starts()] == [0, 4], out
    assert "taken back: SUSPENDING" in out and "finished" in out
    create = next(call for call in cloud.calls() if call[4] == "create")
    assert {"--node-id=pod", "--accelerator-type=v3-32", "--spot", "--zone=zone-a"} < set(create)


def test_a_host_that_dies_for_good_has_the_slice_created_again(cloud):
    cloud.event(3, 1, "dead")
    code, out = cloud.run()
    assert code == 0, out
    assert cloud.story() == [*CREATED, "delete", *CREATED], out
    assert len(cloud.starts()) == 2 and cloud.starts()[1][0] >= 3
    assert "1 do not answer" in out and "a host is dead" in out


def test_resumable_ends_and_killed_processes_are_started_again_on_the_same_slice(cloud):
    cloud.event(2, 2, "75")
    cloud.event(5, 0, "kill")
    code, out = cloud.run()
    assert code == 0, out
    assert cloud.story() == [*CREATED, "restart", "restart"], out
    first, second, third = (step for step, _ in cloud.starts())
    assert first == 0 and 2 <= second < 5 and third == 5, out
    assert "137" in out and "(2 of 10)" in out


def test_a_mistake_is_shown_and_not_repeated(cloud):
    cloud.event(2, 1, "2")
    code, out = cloud.run()
    assert code == 2, out
    assert "1| error: the event 2" in out
    assert len(cloud.starts()) == 1


def test_a_run_that_fails_over_and_over_is_given_up(cloud):
    code, out = cloud.call(
        "run", *SLICE, f"--workdir={WORKDIR}", "--max_restarts=2", "--", "bash", "-c", "exit 1"
    )
    assert code == 1, out
    assert cloud.story() == [*CREATED, "restart", "restart"] and "after 2 restarts; giving up" in out


def test_a_slice_that_is_taken_while_it_is_set_up_is_created_again(cloud):
    broken = "ERROR: (gcloud.compute.tpus.tpu-vm.scp) This TPU has terminal state PREEMPTED"
    cloud.plays(states=["ACTIVE", "SUSPENDED"], errors={"tpu-vm scp": [broken]})
    code, out = cloud.run()
    assert code == 0, out
    assert cloud.story() == ["create", "scp", "delete", *CREATED], out


def test_processes_that_hang_when_another_has_failed_are_killed(cloud):
    script = 'trap "" TERM; if [[ $HOME == */1 && ! -e failed ]]; then touch failed again; exit 1; fi; '
    script += "if [[ -e again ]]; then exit 0; fi; touch again; sleep 60"
    code, out = cloud.call("run", *SLICE, f"--workdir={WORKDIR}", "--", "bash", "-c", script)
    assert code == 0, out
    assert cloud.story() == [*CREATED, "kill", "restart"], out


def test_brackets_in_what_the_training_says_do_not_end_the_watching(cloud):
    script = "echo 'placed on [/job:train] [red]'; sleep 1"
    code, out = cloud.call("run", *SLICE, f"--workdir={WORKDIR}", "--", "bash", "-c", script)
    assert code == 0 and "3 ended with 0" in out, out


def test_stop_saves_and_the_watching_run_does_not_start_it_again(cloud):
    cloud.goal(10**6)
    watching = cloud.start("run", *SLICE, f"--workdir={WORKDIR}", "--", "python", "train.py")
    cloud.wait_for_step(2)
    code, out = cloud.call("stop")
    assert code == 0 and "3 stopped with 75" in out, out
    out, _ = watching.communicate(timeout=120)
    assert watching.returncode == 75 and "stopped on request" in out
    assert "restart" not in cloud.story()
    code, out = cloud.call("logs", "--worker=all", "--lines=1")
    assert code == 0 and "0| saved" in out and "2| saved" in out
    code, out = cloud.call("status")
    assert code == 0 and re.search(r"pod: ACTIVE\n(host \d: stopped with exit code 75  saved\n){3}", out), out


def test_a_stop_between_two_starts_is_not_forgotten(cloud):
    cloud.run()
    started = ("running", "ended")  # `true` may have ended when the host reports
    for command, states in (("stop", ["stopped"]), ("restart true", ["stopped"]), ("start true", started)):
        found = subprocess.run(
            ["bash", "biggan_jax/code/launch/tpu_host.sh", *command.split()],
            cwd=cloud.place / "hosts" / "0",
            env=cloud.environment | {"HOME": str(cloud.place / "hosts" / "0")},
            capture_output=True,
            text=True,
        )
        assert found.stdout.split("\t")[2] in states, (command, found)


def test_ctrl_c_leaves_the_training_running_and_the_same_command_watches_it_again(cloud):
    cloud.goal(10**6)
    watching = cloud.start("run", *SLICE, f"--workdir={WORKDIR}", "--", "python", "train.py")
    cloud.wait_for_step(2)
    while "3 running" not in watching.stdout.readline():
        assert watching.poll() is None
    watching.send_signal(signal.SIGINT)
    out, _ = watching.communicate(timeout=120)
    assert watching.returncode == 130, out
    assert "a training goes on" in out and "launch/tpu_pod.py stop --name=pod --zone=zone-a" in out
    code, out = cloud.call("run", f"--workdir={WORKDIR}", "--", "python", "other.py")
    assert code == 2 and "another command runs on pod" in out, out
    again = cloud.start("run", *SLICE, f"--workdir={WORKDIR}", "--", "python", "train.py")
    while "watching it" not in again.stdout.readline():
        assert again.poll() is None
    cloud.goal(0)
    assert again.wait(timeout=120) == 0
    assert len(cloud.starts()) == 1, (cloud.starts(), again.stdout.read())
    assert cloud.story().count("scp") == 1


NASTY = ["it's", 'a "b"', "$(touch pwned)", "; touch pwned;", "`touch pwned`", "--x=%TPU% \\", "a\tb"]


def test_no_character_of_a_workdir_or_an_argument_is_read_by_a_shell(cloud):
    workdir = 'gs://bucket/o\'clock; "x" $(touch pwned) && rm *'
    code, out = cloud.call("run", *SLICE, f"--workdir={workdir}", "--", "python", "train.py", *NASTY)
    assert code == 0, out
    assert cloud.starts() == [[0, [*NASTY, f"--workdir={workdir}"]]]
    assert not list(cloud.place.rglob("pwned"))


def test_a_dry_run_calls_nothing_and_prints_what_a_run_then_does(cloud):
    words = [*SLICE, "--workdir=gs://a b'c;d", "--", "python", "train.py", "x y"]
    code, out = cloud.call("run", "--dry_run", *words)
    assert code == 0 and not cloud.calls()
    printed = [shlex.split(line) for line in out.splitlines()]
    code, out = cloud.call("run", *words)
    assert code == 0, out
    done = cloud.calls()
    assert {tuple(call) for call in done} == {tuple(words) for words in printed if words[0] == "gcloud"}
    packing = next(line for line in printed if line[0] != "gcloud")
    archive = next(call for call in done if call[4] == "scp")[5]
    assert packing[-1] == archive and Path(archive).exists()
    for verb in ("create", "setup", "status", "logs", "stop", "delete"):
        code, out = cloud.call(verb, "--dry_run", *SLICE)
        assert code == 0 and out.startswith("gcloud ") and cloud.calls() == done


def test_the_working_tree_is_sent_but_not_what_git_does_not_track(cloud):
    (cloud.clone / "train.py").write_text("changed = True\n")
    (cloud.clone / "key.json").write_text("{}")
    code, out = cloud.call("setup")
    assert code == 2, out  # no slice yet
    cloud.call("create", *SLICE)
    code, out = cloud.call("setup")
    assert code == 0 and "not sent" in out and "key.json" in out, out
    for host in range(3):
        home = cloud.place / "hosts" / str(host)
        sent = home / "biggan_jax" / "code"
        assert (sent / "train.py").read_text() == "changed = True\n"
        assert not (sent / "key.json").exists()
        assert f"--editable {sent}[tpu,gcs]" in (home / "python3.log").read_text()


QUOTA = (
    "ERROR: (gcloud.compute.tpus.queued-resources.create) RESOURCE_EXHAUSTED: Quota limit "
    "'TPUV3PreemptiblePodPerProjectPerRegionForTPUAPI' has been exceeded. Limit: 0 in region europe-west4."
)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (QUOTA, "request more TPU quota"),
        ("ERROR: You do not currently have an active account selected.", "gcloud auth login"),
        ("ERROR: Failed to find attribute [project].", "--project=PROJECT"),
        ("ERROR: PERMISSION_DENIED: Permission tpu.nodes.create denied", "roles/tpu.admin"),
        ("ERROR: INVALID_ARGUMENT: Cloud TPU received an invalid AcceleratorType", "accelerator-types list"),
    ],
)
def test_an_error_that_can_be_put_right_is_told_with_googles_words_and_the_remedy(cloud, text, remedy):
    cloud.plays(errors={"queued-resources create": [text]})
    code, out = cloud.run()
    assert code == 2 and text in out and remedy in out, out
    assert "Traceback" not in out and cloud.story() == ["create"]


def test_a_passing_error_is_tried_again_but_not_for_ever(cloud):
    passing = "ERROR: UNAVAILABLE: The service is currently unavailable."
    exists = "ERROR: ALREADY_EXISTS: Requested entity already exists"
    cloud.plays(errors={"queued-resources create": [passing, ""], "queued-resources describe": [passing]})
    code, out = cloud.call("create", *SLICE)
    assert code == 0 and cloud.story() == ["create", "create"], out
    cloud.plays(errors={"queued-resources delete": [passing] * 9})
    code, out = cloud.call("delete")
    assert code == 2 and "UNAVAILABLE" in out and cloud.story().count("delete") == 5, out
    cloud.plays(errors={"queued-resources create": [exists]})
    assert cloud.call("create", *SLICE)[0] == 0


def test_a_request_that_fails_in_the_queue_is_made_again_unless_the_quota_is_the_reason(cloud):
    cloud.plays(states=["CREATING", "FAILED"], failure="an internal trouble")
    code, out = cloud.call("create", *SLICE)
    assert code == 2 and "an internal trouble" in out
    assert cloud.story() == ["create", "delete", "create", "delete", "create"], out
    cloud.call("delete")
    cloud.plays(states=["FAILED"], failure="Quota 'TPUV3sPreemptible' exhausted. Limit 0")
    code, out = cloud.call("create", *SLICE)
    assert code == 2 and "Limit 0\nrequest more TPU quota" in out and cloud.story()[-1] == "create"


FULL = (
    'There is no more capacity in the zone "zone-a"; you can try in another zone where Cloud TPU Nodes are '
    "offered"
)


def test_a_full_zone_is_asked_for_as_long_as_it_takes(cloud):
    cloud.plays(
        states=["FAILED"], failure=FULL, errors={"queued-resources create": [f"ERROR: {FULL}", "", ""]}
    )
    asking = cloud.start("create", *SLICE)
    while cloud.story().count("create") < 5:
        assert asking.poll() is None
        time.sleep(0.05)
    cloud.plays(failure=FULL)
    out, _ = asking.communicate(timeout=60)
    assert asking.returncode == 0 and "try another --zone" in out and "requesting the slice again" in out, out


def test_quota_that_a_slice_which_was_taken_back_still_holds_does_not_end_the_run(cloud):
    cloud.plays(errors={"queued-resources create": ["", QUOTA, QUOTA]})
    cloud.event(3, 0, "preempt")
    code, out = cloud.run()
    assert code == 0 and len(cloud.starts()) == 2, out
    assert cloud.story() == [*CREATED, "delete", "create", "create", *CREATED], out


def test_what_an_earlier_preemption_left_behind_is_cleared_away(cloud):
    (cloud.place / "state.json").write_text('{"states": ["SUSPENDED"]}')
    code, out = cloud.call("create", *SLICE)
    assert code == 0 and cloud.story() == ["delete", "create"], out


def test_without_gcloud_it_says_how_to_get_it(cloud):
    (cloud.place / "bin" / "gcloud").unlink()
    cloud.environment["PATH"] = str(cloud.place / "bin")
    for verb in ("status", "logs"):
        code, out = cloud.call(verb)
        assert code == 2 and out.startswith("error: ") and "cloud.google.com/sdk/docs/install" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--name=pod", "--workdir=gs://b/r"], "give the command after --"),
        (["run", "--name=pod", "--workdir=/tmp/run", "--", "x"], "gs://BUCKET"),
        (["run", "--name=a b;c", "--workdir=gs://b/r", "--", "x"], "small letters"),
        (["fly", "--name=pod"], "fly: give one of create, setup"),
        (["--name=pod"], "no verb: give one of"),
        (["status"], "--name is missing"),
        (["status", "--name=pod", "--", "x"], "status takes no command"),
        (["logs", "--name=pod", "--worker=0;ls"], "give a number or all"),
        (["create", "--name=pod"], "--accelerator_type=TYPE is missing"),
    ],
)
def test_a_wrong_command_line_is_an_error_with_the_remedy(cloud, words, message):
    result = subprocess.run(
        [sys.executable, "launch/tpu_pod.py", *words],
        cwd=cloud.clone,
        env=cloud.environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and message in result.stderr, result
    assert "create" not in cloud.story()
