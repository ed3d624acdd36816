"""A gcloud for tests: notes its calls, plays a scenario, and runs the hosts' commands in real shells here.

It is put on the PATH as `gcloud`, and finds its place in $FAKE_GCLOUD:
  calls.jsonl    the words of every call, one JSON list a line
  scenario.json  errors: {"queued-resources create": ["stderr of the first call", …]}; hosts: how many;
                 states: those that a new slice goes through, one a look
  state.json     the slice that is there
  hosts/K        the home directory of host K; hosts/K/dead: it does not answer
  preempt        when this file appears, the slice is taken back
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PLACE = Path(os.environ["FAKE_GCLOUD"])
HOSTS, SLICE = PLACE / "hosts", PLACE / "state.json"
# What a host's `python3` does for tpu_host.sh setup: notes its words, and makes what `uv venv` would.
HOST_PYTHON = """#!/bin/bash
printf '%s\\n' "$*" >>"$HOME/python3.log"
if [[ "$*" == "-m uv venv "* ]]; then
  mkdir -p "${@: -1}/bin"
  ln -sf REAL "${@: -1}/bin/python"
fi
"""


def main(words: list[str]) -> int:
    with open(PLACE / "calls.jsonl", "a") as file:
        file.write(json.dumps(["gcloud", *words]) + "\n")
    scenario = json.loads((PLACE / "scenario.json").read_text())
    command = " ".join(words[2:4])
    if errors := scenario.get("errors", {}).get(command):
        text = errors.pop(0)
        (PLACE / "scenario.json").write_text(json.dumps(scenario))
        if text:
            print(text, file=sys.stderr)
            return 1
    if (PLACE / "preempt").exists():
        (PLACE / "preempt").unlink()
        remove_hosts()
        SLICE.write_text(json.dumps({"states": ["SUSPENDING", "SUSPENDED"]}))
    there = json.loads(SLICE.read_text()) if SLICE.exists() else None
    if command == "queued-resources create":
        SLICE.write_text(json.dumps({"states": scenario["states"]}))
        return 0
    if there is None:
        print(f"ERROR: (gcloud.{'.'.join(words[:4])}) NOT_FOUND: Resource was not found", file=sys.stderr)
        return 1
    match command:
        case "queued-resources describe":
            state = there["states"][0]
            if len(there["states"]) > 1:
                SLICE.write_text(json.dumps({"states": there["states"][1:]}))
            if state == "ACTIVE" and not HOSTS.exists():
                make_hosts(scenario["hosts"])
            failure = {"failedData": {"error": {"code": 8, "message": scenario.get("failure", "")}}}
            print(json.dumps({"state": {"state": state} | (failure if state == "FAILED" else {})}))
        case "queued-resources delete":
            SLICE.unlink()
            remove_hosts()
        case "tpu-vm describe":
            endpoints = [{"ipAddress": f"10.0.0.{host}"} for host in range(scenario["hosts"])]
            print(json.dumps({"state": "READY", "networkEndpoints": endpoints}))
        case "tpu-vm scp":
            for host in hosts("all"):
                shutil.copy(words[4], HOSTS / host / words[5].partition(":")[2])
        case "tpu-vm ssh":
            return ssh(words)
        case _:
            raise NotImplementedError(command)
    return 0


def ssh(words: list[str]) -> int:
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    code = 0
    for host in hosts(flags["worker"]):
        home = HOSTS / host
        if (home / "dead").exists():
            print(f"SSH: worker {host}: [/usr/bin/ssh] exited with return code [255].", file=sys.stderr)
            code = 255
            continue
        environment = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['HOST_PATH']}"}
        shell = subprocess.run(["bash", "-c", flags["command"]], cwd=home, env=environment)
        code = code or shell.returncode
    return code


def hosts(worker: str) -> list[str]:
    there = sorted(path.name for path in HOSTS.iterdir()) if HOSTS.exists() else []
    return there if worker == "all" else [worker]


def make_hosts(count: int) -> None:
    for host in range(count):
        folder = HOSTS / str(host) / "bin"
        folder.mkdir(parents=True)
        scripts = {
            "hostname": f"#!/bin/bash\necho t1v-n-0123abcd-w-{host}\n",
            "python3": HOST_PYTHON.replace("REAL", sys.executable),
        }
        for name, text in scripts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)


def remove_hosts() -> None:
    """The machines are gone, with all that runs on them."""
    for group in HOSTS.glob("*/biggan_jax/run/group"):
        subprocess.run(["kill", "-KILL", "--", f"-{group.read_text().strip()}"], stderr=subprocess.DEVNULL)
    if HOSTS.exists():
        HOSTS.rename(PLACE / f"taken-{time.time_ns()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
