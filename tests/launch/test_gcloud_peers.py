"""The pod launcher with the real gcloud, which talks to a Google Cloud on this machine."""

import json
import os
import shutil

import pytest
from cloud_service import SSH, created, serving
from test_tpu_pod import NASTY, SLICE, WORKDIR, Cloud

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcloud"), reason="needs gcloud (cloud.google.com/sdk)"),
    pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="gcloud makes a key with ssh-keygen"),
]
PLACE = ["--project=proj", "--poll_seconds=0.2"]


@pytest.fixture
def requests():
    return []


@pytest.fixture
def cloud(tmp_path, requests):
    cloud = Cloud(tmp_path)
    (tmp_path / "bin" / "gcloud").unlink()  # the real one is further down the PATH
    for name in ("ssh", "scp"):
        (tmp_path / "bin" / name).write_text(SSH)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "token").write_text("none")
    with serving(dict(cloud.environment), requests) as url:
        cloud.environment |= {
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": url,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{url}compute/v1/",
            "USER": os.environ.get("USER", "root"),
        }
        yield cloud
    for process in cloud.started:
        process.kill()
        process.communicate()


def test_a_preempted_run_comes_to_its_end_through_the_real_gcloud_with_every_word_unbroken(cloud, requests):
    cloud.event(4, 0, "preempt")
    command = ["--", "python", "train.py", *NASTY]
    code, out = cloud.call("run", *PLACE, *SLICE, f"--workdir={WORKDIR}", "--delete_when_finished", *command)
    assert code == 0 and "taken back" in out and "finished" in out, out
    words = [*NASTY, f"--workdir={WORKDIR}"]
    assert cloud.starts() == [[0, words], [4, words]]
    assert not list(cloud.place.rglob("pwned"))
    wanted = {"acceleratorType": "v3-32", "runtimeVersion": "tpu-ubuntu2204-base", "nodeId": "pod"}
    assert created(requests) == [wanted | {"spot": True}] * 2
    deletions = [path for method, path, _ in requests if method == "DELETE"]
    assert len(deletions) == 2 and all("force=True" in path for path in deletions)


@pytest.mark.parametrize(
    ("code", "status", "message", "remedy"),
    [
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Quota limit 'TPUV3s' has been exceeded. Limit: 0",
            "request more TPU quota",
        ),
        (403, "PERMISSION_DENIED", "Permission 'tpu.queuedResources.create' denied", "roles/tpu.admin"),
        (403, "PERMISSION_DENIED", "Cloud TPU API has not been used in project 1", "gcloud services enable"),
        (
            400,
            "INVALID_ARGUMENT",
            "the accelerator v3-33 was not found in zone zone-a",
            "accelerator-types list",
        ),
    ],
)
def test_gclouds_own_words_for_an_answer_of_googles_are_understood(cloud, code, status, message, remedy):
    answer = {"error": {"code": code, "status": status, "message": message}}
    cloud.plays(errors={"queued-resources create": [json.dumps(answer)]})
    code, out = cloud.call("create", *PLACE, *SLICE)
    assert code == 2 and message in out and remedy in out, out


def test_a_slice_on_demand_is_created_and_deleted_and_what_is_not_there_is_said_not_to_be(cloud, requests):
    code, out = cloud.call("create", *PLACE, "--accelerator_type=v5litepod-16")
    assert code == 0, out
    (node,) = created(requests)
    assert node == {
        "acceleratorType": "v5litepod-16",
        "runtimeVersion": "v2-alpha-tpuv5-lite",
        "nodeId": "pod",
        "spot": False,
    }
    code, out = cloud.call("status", *PLACE)
    assert code == 0 and out.startswith("pod: ACTIVE\n3 of 3 hosts do not answer, or are not set up"), out
    code, out = cloud.call("delete", *PLACE)
    assert code == 0 and "deleted" in out, out
    code, out = cloud.call("delete", *PLACE)
    assert code == 0 and "there is no slice pod" in out, out
