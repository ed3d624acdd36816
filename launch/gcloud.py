"""Calls gcloud: repeats calls that failed for a passing reason, and explains user errors."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence

from biggan_jax.runtime.errors import UserError

ATTEMPTS = 5  # each wait is twice as long as the one before
NO_GCLOUD = "gcloud is not installed: install it (cloud.google.com/sdk/docs/install), then: gcloud auth login"
SECONDS_A_CALL = 1800  # of the slowest call: the installation on all hosts

PASSING = re.compile(
    "UNAVAILABLE|INTERNAL|ABORTED|DEADLINE_EXCEEDED|RATE_LIMIT_EXCEEDED|"
    "HTTPError 50|code 50[0234]|'status': 50[0234]|[Cc]onnection (reset|refused|aborted|closed|timed out)|"
    "[Tt]imed out|[Tt]imeout|Broken pipe|Could not resolve|Unable to find the server|Network is unreachable|"
    "TransportError"
)
QUOTA = re.compile("[Qq]uota")
# The zone has no capacity, which takes hours to pass.
FULL = re.compile(
    "no more capacity|[Ii]nsufficient capacity|[Ss]tock-?out|POOL_EXHAUSTED|RESOURCE_EXHAUSTED(?!.*[Qq]uota)",
    re.DOTALL,
)
REMEDIES = (
    (
        "gcloud auth login|active account selected|Reauthentication|invalid_grant|UNAUTHENTICATED",
        "log in with: gcloud auth login",
    ),
    ("not present in the SSH agent", "add the key that gcloud uses: ssh-add ~/.ssh/google_compute_engine"),
    (
        r"\[project\]|\[core/project\]",
        "give --project=PROJECT, or set one with: gcloud config set project PROJECT",
    ),
    (
        r"\[zone\]|\[compute/zone\]|zone.* must be specified",
        "give --zone=ZONE; the zones are listed by: gcloud compute tpus locations list",
    ),
    (
        "SERVICE_DISABLED|has not been used in project|API .*not enabled",
        "enable the TPU API with: gcloud services enable tpu.googleapis.com",
    ),
    ("PERMISSION_DENIED|HTTPError 403|code 403", "ask the project's owner for the role roles/tpu.admin"),
    (
        QUOTA,
        "request more TPU quota (console.cloud.google.com/iam-admin/quotas), or choose a smaller "
        "--accelerator_type, another --zone, or the other of --spot and --nospot, whose quotas are separate; "
        "this lists the slices of the project: gcloud compute tpus queued-resources list",
    ),
    (FULL, "the zone has no capacity left: try another --zone, or try again later"),
    (
        "INVALID_ARGUMENT|not found in zone",
        "check that the zone has this --accelerator_type and --runtime_version: gcloud compute tpus "
        "accelerator-types list, gcloud compute tpus versions list",
    ),
)


class NotFound(Exception):
    """The slice or node does not exist."""


class NoCapacity(UserError):
    """The zone has no capacity left, or the project has no quota."""


class Unreachable(Exception):
    """Google Cloud or a host could not be reached, several times in a row."""


def call(words: Sequence[str], wait_seconds: float) -> str:
    """Runs a command, up to `ATTEMPTS` times while it fails for a passing reason.

    Args:
      words: Words of the command.
      wait_seconds: Seconds before the second attempt.

    Returns:
      Its standard output.

    Raises:
      NotFound: The slice or node does not exist.
      NoCapacity: The zone has no capacity, or the project has no quota.
      Unreachable: No attempt reached Google Cloud.
      UserError: Any other error, with gcloud's message and, where it is known, what to do.
    """
    for attempt in range(ATTEMPTS):
        code, out, err = attempt_once(words, SECONDS_A_CALL)
        if code == 0:
            return out
        if "NOT_FOUND" in err:
            raise NotFound(_last_lines(err))
        # ssh exits with 255 if it cannot connect.
        if code != 255 and not PASSING.search(err):
            kind = NoCapacity if FULL.search(err) or QUOTA.search(err) else UserError
            raise kind(f"{shlex.join(words[:5])} …: {explained(err or out)}")
        if attempt + 1 < ATTEMPTS:
            time.sleep(wait_seconds * 2**attempt)
    raise Unreachable(f"{shlex.join(words[:5])} …: {_last_lines(err)} ({ATTEMPTS} attempts)")


def attempt_once(words: Sequence[str], timeout_seconds: float) -> tuple[int, str, str]:
    """Runs a command once.

    Args:
      words: Words of the command.
      timeout_seconds: Seconds after which the command is killed.

    Returns:
      Exit code, standard output and standard error; 255 and the output so far after a timeout.

    Raises:
      UserError: gcloud is not installed.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that its ssh processes can be ended with it
        )
    except FileNotFoundError as error:
        raise UserError(NO_GCLOUD) from error
    try:
        out, err = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        out, err = process.communicate()
        return 255, out, f"{err}\nno answer in {timeout_seconds} s"
    except BaseException:
        _kill(process)
        raise
    return process.returncode, out, err


def stream(words: Sequence[str]) -> int:
    """Runs a command whose output goes to the terminal.

    Args:
      words: Words of the command.

    Returns:
      Its exit code.

    Raises:
      UserError: gcloud is not installed.
    """
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL).returncode
    except FileNotFoundError as error:
        raise UserError(NO_GCLOUD) from error


def remedy(text: str) -> str | None:
    """Returns what to do about an error of gcloud, or None where it is not known."""
    return next((remedy for pattern, remedy in REMEDIES if re.search(pattern, text)), None)


def explained(text: str) -> str:
    """Returns the end of an error message of gcloud, and what to do about the error."""
    return "\n".join(filter(None, (_last_lines(text), remedy(text))))


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL)


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-8:])
