"""One TPU slice: the gcloud commands for it, its state, and what its hosts report.

A slice is asked for as a queued resource, which gets a node of the same name when there is room for it. A
spot slice that is taken back leaves the queued resource behind, SUSPENDED, where it counts against the quota
until it is deleted.
"""

import json
import math
import shlex
import time
from dataclasses import dataclass
from typing import NamedTuple

import gcloud
from gcloud import Lacking, NotFound, Unreachable
from rich.console import Console

from biggan_jax.runtime.errors import UserError

# What a new slice's hosts run, by what the accelerator type begins with.
RUNTIME_VERSIONS = {
    "v6e-": "v2-alpha-tpuv6e",
    "v5p-": "v2-alpha-tpuv5",
    "v5litepod-": "v2-alpha-tpuv5-lite",
}
OTHER_RUNTIME_VERSION = "tpu-ubuntu2204-base"  # v2, v3, v4
ARCHIVE = "biggan_jax.tar.gz"
HOST = "bash biggan_jax/code/launch/tpu_host.sh"
UNPACK = (
    "mkdir -p biggan_jax && rm -rf biggan_jax/code && mkdir biggan_jax/code && "
    f"tar -xzf {ARCHIVE} -C biggan_jax/code && {HOST} setup"
)
FAILED_REQUESTS = 3  # after so many, asking for the slice is given up
REQUESTS_FOR_QUOTA = 8  # of a slice that was there before
LONGEST_WAIT = 32  # between two requests, in `poll_seconds`
SECONDS_TO_ANSWER = 90  # for all hosts; gcloud would try one that is dead for minutes
TAKEN = ("SUSPENDING", "SUSPENDED", "FAILED")  # of a slice that was there
NODE_TAKEN = ("PREEMPTED", "TERMINATED", "STOPPED", "STOPPING", "DELETING")


class State(NamedTuple):
    """Of a slice: the queued resource's state, None if there is none; Google's message; how many hosts."""

    name: str | None
    message: str = ""
    hosts: int = 0


class Host(NamedTuple):
    """What launch/tpu_host.sh reports of one host."""

    state: str  # running, ended, stopped, gone, idle or busy
    exit_code: int | None
    last_line: str


@dataclass(frozen=True)
class Slice:
    """The commands, as lists of words: no shell of this machine reads them."""

    name: str
    zone: str | None
    project: str | None
    accelerator_type: str | None
    runtime_version: str | None
    spot: bool
    poll_seconds: float  # between two looks; also the first wait after a passing error

    def create(self) -> list[str]:
        kind = self.accelerator_type or ""
        version = next((v for start, v in RUNTIME_VERSIONS.items() if kind.startswith(start)), None)
        return [
            *self._words("queued-resources", "create", self.name),
            f"--node-id={self.name}",
            f"--accelerator-type={kind}",
            f"--runtime-version={self.runtime_version or version or OTHER_RUNTIME_VERSION}",
            *(["--spot"] if self.spot else []),
        ]

    def describe(self) -> list[str]:
        return [*self._words("queued-resources", "describe", self.name), "--format=json"]

    def describe_node(self) -> list[str]:
        return [*self._words("tpu-vm", "describe", self.name), "--format=json"]

    def delete(self) -> list[str]:
        return [*self._words("queued-resources", "delete", self.name), "--force"]

    def copy(self, archive: str) -> list[str]:
        where = f"{self.name}:{ARCHIVE}"
        flags = ["--worker=all", "--scp-flag=-oConnectTimeout=10"]
        return [*self._words("tpu-vm", "scp", archive, where), *flags]

    def on_hosts(self, command: str, worker: str = "all") -> list[str]:
        """Has the hosts' shells run `command`, whose every word from outside must be quoted."""
        return [
            *self._words("tpu-vm", "ssh", self.name),
            f"--worker={worker}",
            "--ssh-flag=-oConnectTimeout=10",
            "--ssh-flag=-oServerAliveInterval=20",
            f"--command={command}",
        ]

    def _words(self, group: str, verb: str, *names: str) -> list[str]:
        place = [f"--{key}={value}" for key in ("zone", "project") if (value := getattr(self, key))]
        return ["gcloud", "compute", "tpus", group, verb, *names, *place, "--quiet"]


def host_command(verb: str, *words: str) -> str:
    """What the hosts' shells are to run for a verb of tpu_host.sh."""
    return shlex.join([*HOST.split(), verb, *words])


def look(tpu: Slice) -> State:
    """The slice's state now; SUSPENDED also if its node was taken and the queued resource doesn't say so yet.

    Raises:
      Unreachable, UserError: from gcloud.
    """
    try:
        resource = json.loads(gcloud.call(tpu.describe(), tpu.poll_seconds))["state"]
    except NotFound:
        return State(None)
    name = resource["state"]
    failure = resource.get("failedData", {}).get("error", {})
    if name != "ACTIVE":
        return State(name, failure.get("message", ""))
    try:
        node = json.loads(gcloud.call(tpu.describe_node(), tpu.poll_seconds))
    except NotFound:
        return State("SUSPENDED", "its node is gone")
    if node.get("state") in NODE_TAKEN:
        return State("SUSPENDED", f"its node is {node['state']}")
    return State(name, hosts=len(node.get("networkEndpoints", ())) or 1)


def ask(tpu: Slice, verb: str, *words: str) -> dict[str, Host]:
    """Each host's report after a verb of tpu_host.sh, by worker number; those out of reach are left out.

    Raises:
      UserError: none answers, for a reason that the person at the keyboard can put right.
    """
    failed, out, err = gcloud.attempt_once(tpu.on_hosts(host_command(verb, *words)), SECONDS_TO_ANSWER)
    reports = {}
    for line in out.splitlines():
        match line.split("\t", 4):
            case ["host", worker, state, code, last_line]:
                reports[worker] = Host(state, int(code) if code.isdigit() else None, last_line)
    if failed and not reports and gcloud.remedy(err):
        raise UserError(gcloud.explained(err))
    return reports


def acquire(tpu: Slice, again: bool = False) -> int:
    """Asks for the slice unless it is there, and waits for it; returns the number of its hosts.

    A zone that is full is asked for as long as it takes.

    Args:
      tpu: the slice.
      again: whether it was there before. A lack of quota, too, is waited out for a while then: the slice that
        was taken back may still be counted.

    Raises:
      Unreachable: at the first look; later ones are repeated for as long as it takes.
      UserError: from gcloud, or the request fails over and over.
    """
    known, looks, failures = None, 0, 0
    with Console().status("waiting for the slice") as waiting:
        while True:
            try:
                state = look(tpu)
            except Unreachable as error:
                if not looks:
                    raise
                say(f"no answer, trying on: {error}")
                continue
            if state.name != known or not looks:
                known = state.name
                say(f"{tpu.name}: {known or 'not there yet'} {state.message}".rstrip())
                waiting.update(f"waiting for the slice: {known}")
            looks += 1
            if known == "ACTIVE":
                return state.hosts
            refusal = None
            if known == "FAILED":
                refusal = UserError(f"the request for {tpu.name} failed: {gcloud.explained(state.message)}")
            elif known == "SUSPENDED":
                delete(tpu)
            elif known is None:
                try:
                    create(tpu)
                except Lacking as error:
                    refusal = error
            if refusal:
                failures += 1
                if failures >= _most_requests(str(refusal), again):
                    raise refusal
                say(f"asking for it again in a while: {refusal}")
                if known:
                    delete(tpu)
            time.sleep(tpu.poll_seconds * min(2**failures, LONGEST_WAIT))


def _most_requests(refusal: str, again: bool) -> float:
    if gcloud.FULL.search(refusal):
        return math.inf
    if gcloud.QUOTA.search(refusal):
        return REQUESTS_FOR_QUOTA if again else 1
    return FAILED_REQUESTS


def create(tpu: Slice) -> None:
    """Puts the request into the queue."""
    if not tpu.accelerator_type:
        raise UserError("--accelerator_type=TYPE is missing: which slice to create, such as v3-128")
    try:
        gcloud.call(tpu.create(), tpu.poll_seconds)
    except UserError as error:
        if "ALREADY_EXISTS" not in str(error):  # an attempt that seemed to fail had come through
            raise


def delete(tpu: Slice) -> bool:
    """Deletes the queued resource with its node; False if there is none."""
    try:
        gcloud.call(tpu.delete(), tpu.poll_seconds)
    except NotFound:
        return False
    return True


def install(tpu: Slice, archive: str) -> None:
    """Sends the packed code to all hosts and sets them up."""
    with Console().status("setting up the hosts, some minutes"):
        gcloud.call(tpu.copy(archive), tpu.poll_seconds)
        gcloud.call(tpu.on_hosts(UNPACK), tpu.poll_seconds)
    say("the hosts are set up")


def say(text: str) -> None:
    """Prints what happened, and when."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
