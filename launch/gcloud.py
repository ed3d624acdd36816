"""Calls gcloud: patient with what passes, plain about what the person at the keyboard can put right."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence

from biggan_jax.runtime.errors import UserError

ATTEMPTS = 5  # each wait twice as long as the one before
NO_GCLOUD = "there is no gcloud here: install it (cloud.google.com/sdk/docs/install), then: gcloud auth login"
SECONDS_A_CALL = 1800  # of the slowest: an installation on all hosts

PASSING = re.compile(
    "UNAVAILABLE|INTERNAL|ABORTED|DEADLINE_EXCEEDED|RATE_LIMIT_EXCEEDED|"
    "HTTPError 50|code 50[0234]|'status': 50[0234]|[Cc]onnection (reset|refused|aborted|closed|timed out)|"
    "[Tt]imed out|[Tt]imeout|Broken pipe|Could not resolve|Unable to find the server|Network is unreachable|"
    "TransportError"
)
QUOTA = re.compile("[Qq]uota")
# Of a zone that is full: that passes too, but in hours.
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
        "ask for more TPU quota (console.cloud.google.com/iam-admin/quotas), take a smaller "
        "--accelerator_type, another --zone, or the other of --spot and --nospot, whose quotas are separate; "
        "what the project holds already is listed by: gcloud compute tpus queued-resources list",
    ),
    (FULL, "the zone has none left: try another --zone, or again later"),
    (
        "INVALID_ARGUMENT|not found in zone",
        "is there such an --accelerator_type and --runtime_version in the zone? They are listed by: gcloud "
        "compute tpus accelerator-types list, gcloud compute tpus versions list",
    ),
)


class NotFound(Exception):
    """What was asked for is not there."""


class Lacking(UserError):
    """There is not enough room in the zone, or quota."""


class Unreachable(Exception):
    """Google Cloud, or a host, could not be reached, several times in a row."""


def call(words: Sequence[str], wait_seconds: float) -> str:
    """What the command prints on stdout; after a passing trouble tries again, `ATTEMPTS` times in all.

    Raises:
      NotFound, Lacking, Unreachable: see there.
      UserError: any other error, with gcloud's own words and, where known, the remedy.
    """
    for attempt in range(ATTEMPTS):
        code, out, err = attempt_once(words, SECONDS_A_CALL)
        if code == 0:
            return out
        if "NOT_FOUND" in err:
            raise NotFound(_last_words(err))
        # 255 is ssh's own, when it has no connection.
        if code != 255 and not PASSING.search(err):
            kind = Lacking if FULL.search(err) or QUOTA.search(err) else UserError
            raise kind(f"{shlex.join(words[:5])} …: {explained(err or out)}")
        if attempt + 1 < ATTEMPTS:
            time.sleep(wait_seconds * 2**attempt)
    raise Unreachable(f"{shlex.join(words[:5])} …: {_last_words(err)} ({ATTEMPTS} attempts)")


def attempt_once(words: Sequence[str], timeout_seconds: float) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; what it said so far, and 255, if it takes longer than the timeout.

    Raises:
      UserError: there is no gcloud.
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
    """Lets the command print as it goes; returns its exit code.

    Raises:
      UserError: there is no gcloud.
    """
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL).returncode
    except FileNotFoundError as error:
        raise UserError(NO_GCLOUD) from error


def remedy(text: str) -> str | None:
    """What to do about an error of Google's, where that is known."""
    return next((remedy for pattern, remedy in REMEDIES if re.search(pattern, text)), None)


def explained(text: str) -> str:
    """The end of an error message of Google's, and what to do about it."""
    return "\n".join(filter(None, (_last_words(text), remedy(text))))


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-8:])
