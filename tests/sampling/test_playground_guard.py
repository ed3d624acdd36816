"""The page's server answers its own page alone: other names, other sites and files are refused."""

import asyncio

import pytest

from biggan_jax.sampling.playground_guard import PageGuard


def status(path="/", host="127.0.0.1:7860", origin=None, listens="127.0.0.1", kind="http"):
    """Status of the answer to a request; 200 comes from the application, and 1008 closes a WebSocket."""
    sent = []

    async def app(scope, receive, send):
        await send({"status": 200})

    async def send(message):
        sent.append(message)

    headers = [] if host is None else [(b"host", host.encode())]
    headers += [] if origin is None else [(b"origin", origin.encode())]
    scope = {"type": kind, "path": path, "headers": headers}
    asyncio.run(PageGuard(app, listens)(scope, None, send))
    return sent[0].get("status") or sent[0].get("code")


OWN = ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "10.0.0.7:7860"]
OTHERS = ["evil.example:7860", "evil.example", "127.0.0.1.evil.example", "", None, "[::"]


@pytest.mark.parametrize("host", OWN)
def test_the_page_is_served_under_addresses_and_names_of_this_machine(host):
    assert status(host=host) == status(host=host, origin=f"http://{host}") == 200


def test_the_page_is_served_under_the_name_that_it_listens_at():
    assert status(host="studio:7860", listens="studio") == 200


@pytest.mark.parametrize("host", OTHERS)
def test_a_name_of_another_site_is_refused_even_if_it_leads_to_this_machine(host):
    assert status(host=host) == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8000", "http://127.0.0.1"]
)
def test_a_request_of_a_page_of_another_site_is_refused(origin):
    assert status("/gradio_api/queue/join", origin=origin) == 403
    assert status("/ws", origin=origin, kind="websocket") == 1008


def test_uploads_are_off():
    assert status("/gradio_api/upload") == status("/upload/") == 405
    assert status("/gradio_api/upload_progress") == 200
