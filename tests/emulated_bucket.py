"""A bucket on this machine: gcsfs, tensorstore and google-cloud-storage all speak to one emulator."""

import contextlib
import functools
import http.server
import logging
import threading
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus

import fsspec
import pytest
from etils.epath import gpath

BUCKET = "bucket"


class Emulator:
    """gcp-storage-emulator in a thread, with what tensorstore needs and it lacks, and answers to order."""

    def __init__(self):
        from gcp_storage_emulator.handlers.buckets import create_bucket
        from gcp_storage_emulator.server import RequestHandler
        from gcp_storage_emulator.storage import Storage

        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        emulator = self

        class Handler(RequestHandler):
            def parse_request(self):
                if not super().parse_request():
                    return False
                status = emulator.answer(self.command, urllib.parse.unquote(self.path))
                # Google moves objects; for gcsfs it is enough to hear that this one does not.
                status = status or (HTTPStatus.BAD_REQUEST if "/moveTo/" in self.path else None)
                if status is None and self.command == "GET":
                    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                    if self.generation() in asked.get("ifGenerationNotMatch", []):
                        status = HTTPStatus.NOT_MODIFIED
                if status is None and self.command in ("POST", "DELETE") and not self.condition_holds():
                    status = HTTPStatus.PRECONDITION_FAILED
                if status is None:
                    return True
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return False

            def condition_holds(self):
                """Whether the object is of the version that a conditional write or removal expects."""
                parts = urllib.parse.urlsplit(self.path)
                asked = urllib.parse.parse_qs(parts.query)
                if "ifGenerationMatch" not in asked:
                    return True
                name = urllib.parse.quote(asked["name"][0], safe="") if "name" in asked else ""
                path = f"{parts.path}/{name}" if name else parts.path
                return asked["ifGenerationMatch"] == [self.generation(path) or "0"]

            def generation(self, path=None):
                """The version of the object that is asked for, `/storage/v1/b/BUCKET/o/OBJECT`."""
                *_, bucket, _, name = (path or urllib.parse.urlsplit(self.path).path).split("/")
                objects = self.storage.objects.get(bucket, {})
                return objects.get(urllib.parse.unquote(name), {}).get("generation")

            def end_headers(self):
                if self.command == "GET" and (generation := self.generation()):
                    self.send_header("X-Goog-Generation", generation)
                super().end_headers()

        self.storage = Storage(use_memory_fs=True)
        create_bucket(BUCKET, self.storage)
        self.answer = lambda method, path: None
        self.server = http.server.HTTPServer(("localhost", 0), functools.partial(Handler, self.storage))
        self.server.handle_error = lambda *request: None  # a client that has heard enough
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def names(self, folder):
        objects = self.storage.objects[BUCKET]
        return sorted(name.removeprefix(f"{folder}/") for name in objects if name.startswith(f"{folder}/"))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def emulated_bucket() -> Iterator[Emulator]:
    """Starts an emulator with the bucket `BUCKET`, which all clients of this process ask from then on."""
    emulator = Emulator()
    url = f"http://localhost:{emulator.server.server_port}"
    clear = fsspec.get_filesystem_class("gcs").clear_instance_cache
    variables = {
        "STORAGE_EMULATOR_HOST": url,  # gcsfs and google-cloud-storage
        "TENSORSTORE_GCS_HTTP_URL": url,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",  # tensorstore
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would ask Google about the bucket
        "NO_GCE_CHECK": "true",
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        gpath._is_tf_installed.cache_clear()  # as in a process that starts with the bucket
        clear()
        yield emulator
    clear()
    emulator.close()
