"""Guard of the playground's server: it answers the page that it served, and accepts no files.

A page of another site, open in the same browser, can send requests to servers of this machine, and by DNS
rebinding even under the name of its own site. The guard therefore checks Host and Origin of each request. The
module is plain ASGI and needs no package of a server.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class PageGuard:
    """ASGI middleware that refuses requests of other sites with 403, and uploads with 405.

    Args:
      app: Application behind the guard.
      host: Address at which the server listens, as the user gave it.
    """

    def __init__(self, app: App, host: str):
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(scope)
            if refusal is not None:
                await _refuse(scope, send, *refusal)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Message) -> tuple[int, bytes] | None:
        """Returns status and text for a request that is refused, or None."""
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 403, b"the page is not served under this name"
        if any(urlsplit(origin).netloc.lower() != hosts[0].lower() for origin in origins):
            return 403, b"the request comes from another site"
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/upload"):
            return 405, b"the page takes no files"
        return None

    def _is_own(self, host: str) -> bool:
        """Returns whether a Host header names this machine: DNS rebinding needs a name of another site."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return host.rpartition(":")[0].lower() in self._names or host.lower() in self._names
        return True


async def _refuse(scope: Message, send: Send, status: int, text: bytes) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
