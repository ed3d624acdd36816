"""One TPU slice: the gcloud commands for it, its state, and the reports of its hosts.

A slice is requested as a queued resource. When capacity is available, the queued resource gets a node of the
same name. A spot slice that is taken back leaves the queued resource SUSPENDED, and it counts against the
quota until it is deleted.
"""

import json
import math
import shlex
import time
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console

from biggan_jax.runtime.errors import UserError

from . import gcloud
from .gcloud import NoCapacity, NotFound, Unreachable

# The images of a new slice's hosts, by the beginning of the accelerator type.
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
FAILED_REQUESTS = 3  # before the launcher gives up
REQUESTS_FOR_QUOTA = 8  # for a slice that existed before
MAX_WAIT = 32  # between two requests, in `poll_seconds`
SECONDS_TO_ANSWER = 90  # for all hosts; gcloud would wait for a dead host for minutes
TAKEN_BACK = ("SUSPENDING", "SUSPENDED", "FAILED")  # states of a slice that was active before
NODE_TAKEN_BACK = ("PREEMPTED", "TERMINATED", "STOPPED", "STOPPING", "DELETING")


class State(NamedTuple):
    """The state of a slice.

    Attributes:
      name: State of the queued resource; None if it does not exist.
      message: Message of Google Cloud.
      hosts: Number of hosts.
    """

    name: str | None
    message: str = ""
    hosts: int = 0


class Host(NamedTuple):
    """The report of launch/tpu_host.sh on one host.

    Attributes:
      state: One of running, ended, stopped, gone, idle and busy.
      exit_code: Exit code of the command; None if it has not ended.
      last_line: Last line of its output.
    """

    state: str
    exit_code: int | None
    last_line: str


@dataclass(frozen=True)
class Slice:
    """A TPU slice, and the gcloud commands for it as lists of words, which no shell of this machine reads.

    Attributes:
      name: Name of the queued resource and of its node.
      zone: Zone; None for the default of gcloud.
      project: Project; None for the default of gcloud.
      accelerator_type: Type of a new slice, such as v3-128.
      runtime_version: Image of a new slice's hosts; None for the default of the type.
      spot: Whether a new slice is a spot slice.
      poll_seconds: Seconds between two polls, and before the first retry after a passing error.
    """

    name: str
    zone: str | None
    project: str | None
    accelerator_type: str | None
    runtime_version: str | None
    spot: bool
    poll_seconds: float

    def create(self) -> list[str]:
        """Returns the command that requests the slice."""
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
        """Returns the command that describes the queued resource."""
        return [*self._words("queued-resources", "describe", self.name), "--format=json"]

    def describe_node(self) -> list[str]:
        """Returns the command that describes the node."""
        return [*self._words("tpu-vm", "describe", self.name), "--format=json"]

    def delete(self) -> list[str]:
        """Returns the command that deletes the queued resource and its node."""
        return [*self._words("queued-resources", "delete", self.name), "--force"]

    def copy(self, archive: str) -> list[str]:
        """Returns the command that copies the packed code to all hosts."""
        where = f"{self.name}:{ARCHIVE}"
        flags = ["--worker=all", "--scp-flag=-oConnectTimeout=10"]
        return [*self._words("tpu-vm", "scp", archive, where), *flags]

    def on_hosts(self, command: str, worker: str = "all") -> list[str]:
        """Returns the command with which the hosts run `command`, a line of shell with quoted words."""
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
    """Returns the line of shell that runs a verb of tpu_host.sh on a host."""
    return shlex.join([*HOST.split(), verb, *words])


def read_state(tpu: Slice) -> State:
    """Reads the present state of a slice.

    Args:
      tpu: The slice.

    Returns:
      Its state; SUSPENDED also if its node was taken back before the queued resource shows it.

    Raises:
      Unreachable: Google Cloud could not be reached.
      UserError: Any other error of gcloud.
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
    if node.get("state") in NODE_TAKEN_BACK:
        return State("SUSPENDED", f"its node is {node['state']}")
    return State(name, hosts=len(node.get("networkEndpoints", ())) or 1)


def run_on_hosts(tpu: Slice, verb: str, *words: str) -> dict[str, Host]:
    """Runs a verb of tpu_host.sh on all hosts.

    Args:
      tpu: The slice.
      verb: Verb of tpu_host.sh, such as "poll".
      *words: Arguments of the verb.

    Returns:
      The reports of the hosts that answer, by worker number.

    Raises:
      UserError: No host answers, for a reason that the user can correct.
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
    """Requests the slice unless it exists, and waits until it is active.

    While the zone has no capacity, the request is repeated without limit.

    Args:
      tpu: The slice.
      again: Whether the slice existed before. The quota may still count the slice that was taken back, so a
        lack of quota does not end the wait at once.

    Returns:
      The number of hosts.

    Raises:
      Unreachable: The first poll failed; later polls are repeated without limit.
      UserError: An error of gcloud, or several failed requests.
    """
    previous, polls, failures = None, 0, 0
    with Console().status("waiting for the slice") as status:
        while True:
            try:
                state = read_state(tpu)
            except Unreachable as error:
                if not polls:
                    raise
                log(f"no answer, polling again: {error}")
                continue
            if state.name != previous or not polls:
                previous = state.name
                log(f"{tpu.name}: {previous or 'does not exist yet'} {state.message}".rstrip())
                status.update(f"waiting for the slice: {previous}")
            polls += 1
            if previous == "ACTIVE":
                return state.hosts
            refusal = None
            if previous == "FAILED":
                refusal = UserError(f"the request for {tpu.name} failed: {gcloud.explained(state.message)}")
            elif previous == "SUSPENDED":
                delete(tpu)
            elif previous is None:
                try:
                    create(tpu)
                except NoCapacity as error:
                    refusal = error
            if refusal:
                failures += 1
                if failures >= _most_requests(str(refusal), again):
                    raise refusal
                log(f"requesting the slice again later: {refusal}")
                if previous:
                    delete(tpu)
            time.sleep(tpu.poll_seconds * min(2**failures, MAX_WAIT))


def _most_requests(refusal: str, again: bool) -> float:
    if gcloud.FULL.search(refusal):
        return math.inf
    if gcloud.QUOTA.search(refusal):
        return REQUESTS_FOR_QUOTA if again else 1
    return FAILED_REQUESTS


def create(tpu: Slice) -> None:
    """Requests the slice as a queued resource.

    Args:
      tpu: The slice, with an accelerator type.

    Raises:
      UserError: The accelerator type is missing, or gcloud refuses the request.
    """
    if not tpu.accelerator_type:
        raise UserError("--accelerator_type=TYPE is missing: give the type of the new slice, such as v3-128")
    try:
        gcloud.call(tpu.create(), tpu.poll_seconds)
    except UserError as error:
        if "ALREADY_EXISTS" not in str(error):  # an attempt that seemed to fail had succeeded
            raise


def delete(tpu: Slice) -> bool:
    """Deletes the queued resource and its node; returns whether they existed."""
    try:
        gcloud.call(tpu.delete(), tpu.poll_seconds)
    except NotFound:
        return False
    return True


def install(tpu: Slice, archive: str) -> None:
    """Copies the packed code to all hosts, and installs the packages that it needs."""
    with Console().status("setting up the hosts, which takes some minutes"):
        gcloud.call(tpu.copy(archive), tpu.poll_seconds)
        gcloud.call(tpu.on_hosts(UNPACK), tpu.poll_seconds)
    log("the hosts are set up")


def log(text: str) -> None:
    """Prints a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
