"""Google Cloud's side for the real gcloud, on this machine: the REST interface, and hosts behind ssh and scp.

What it plays, and where, is fake_gcloud.py's business: a request becomes the call that would be answered
there. An error in its scenario is the body of Google's answer, as JSON.
"""

import http.server
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

FAKE = [sys.executable, "-I", "-S", str(Path(__file__).with_name("fake_gcloud.py")), "compute", "tpus"]
NOT_FOUND = {"error": {"code": 404, "status": "NOT_FOUND", "message": "Resource 'pod' was not found"}}

# Put on the PATH as ssh and scp. Host K's address is 10.0.0.K.
SSH = f"""#!{sys.executable} -IS
import os, sys
words = sys.argv[1:]
address = next(word for word in words if "@10.0.0." in word)
host = address.partition("@10.0.0.")[2].partition(":")[0]
if os.path.basename(sys.argv[0]) == "scp":
    rest = ["scp", words[-2], "pod:" + address.partition(":")[2]]
else:
    rest = ["ssh", "pod", "--command=" + " ".join(words[words.index("--") + 1:])]
fake = {FAKE!r}
os.execv(fake[0], [*fake, "tpu-vm", *rest, "--worker=" + host])
"""


@contextmanager
def serving(environment: dict[str, str], requests: list[tuple[str, str, str]]):
    """Serves at the URL that is yielded; notes each request's method, path with query, and body."""

    def fake(group: str, verb: str) -> tuple[int, dict]:
        called = subprocess.run([*FAKE, group, verb, "pod"], env=environment, capture_output=True, text=True)
        if called.returncode:
            text = called.stderr.strip()
            error = json.loads(text) if text.startswith("{") else NOT_FOUND
            return error["error"]["code"], error
        return 200, json.loads(called.stdout or "{}")

    def answer(method: str, path: str) -> tuple[int, dict]:
        place = "projects/proj/locations/zone-a"
        kind = "nodes" if "/nodes/" in path else "queuedResources"
        done = {"name": f"{place}/operations/of-{kind}", "done": True}
        match method, path.rpartition("/")[2]:
            case "GET", operation if operation.startswith("of-"):
                name = f"{place}/{operation.removeprefix('of-')}/pod"
                return 200, done | {"response": {"@type": "type.googleapis.com/x", "name": name}}
            case "GET", "proj":
                return 200, {"name": "proj", "commonInstanceMetadata": {"items": []}}
            case "POST", "queuedResources":
                code, found = fake("queued-resources", "create")
                return code, found or done
            case "DELETE", "pod":
                code, found = fake("queued-resources", "delete")
                return code, found or done
            case "GET", "pod" if kind == "queuedResources":
                return fake("queued-resources", "describe")
            case "GET", "pod":
                if not (Path(environment["FAKE_GCLOUD"]) / "hosts").exists():
                    return 404, NOT_FOUND
                code, node = fake("tpu-vm", "describe")
                return code, node | {"name": f"{place}/nodes/pod", "id": "1", "health": "HEALTHY"}
            case _:  # SSH keys, which no host here asks for
                return 200, done

    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            requests.append((self.command, self.path, body))
            code, content = answer(self.command, urlparse(self.path).path)
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PATCH = do

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def node_of(body: str) -> dict:
    """What a request to create a queued resource asks for, without the places' long names."""
    request = json.loads(body)
    (spec,) = request["tpu"]["nodeSpec"]
    wanted = {key: spec["node"][key] for key in ("acceleratorType", "runtimeVersion")}
    return wanted | {"nodeId": spec["nodeId"], "spot": "spot" in request}


def created(requests: list[tuple[str, str, str]]) -> list[dict]:
    """The nodes that were asked for, in order."""
    return [node_of(body) for method, path, body in requests if method == "POST" and is_creation(path)]


def is_creation(path: str) -> bool:
    return re.search(r"/queuedResources\?.*queuedResourceId=pod", path) is not None
