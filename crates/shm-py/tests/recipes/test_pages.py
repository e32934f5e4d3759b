"""Each program on the page on HTTP runs. Its requests go to a server of the test."""

import pytest

from pages import blocks, run

PROGRAMS = [block for block in blocks("python/http.md") if block.language == "python"]

OF_WSGI = """
began = []
for _ in range(3):
    start_response = lambda status, headers: began.append((status, dict(headers)))
    body = application({"REQUEST_METHOD": "GET", "REMOTE_ADDR": ""}, start_response)
    print(b"".join(body).decode(), end="")
    getattr(body, "close", lambda: None)()
print(began[-1])
"""

OF_ASGI = """
import asyncio

sent = []

async def serve():
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False} if not sent else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    for _ in range(3):
        await app({"type": "http", "client": ("192.0.2.7", 4711), "headers": []}, receive, send)

asyncio.run(serve())
print(b"".join(message.get("body", b"") for message in sent).decode(), end="")
print(sent[-2])
"""


@pytest.mark.parametrize("block", PROGRAMS, ids=[f"{i}-{block.heading.split()[0]}" for i, block in enumerate(PROGRAMS)])
def test_each_program_runs(tmp_path, server, block):
    code = block.code.replace("https://", "http://").replace("api.example.com", f"127.0.0.1:{server.server_port}")
    if "asgi" in code:
        printed = run(code + OF_ASGI, tmp_path)
        assert printed.count("served\n") == 3 and "b'ratelimit-policy'" in printed
    elif "wsgi" in code:
        printed = run(code + OF_WSGI, tmp_path)
        assert printed.count("served\n") == 3 and "'RateLimit-Policy'" in printed
    else:
        of_httpx = (20, 20) if "asyncio" in code else (1, 1)
        statuses, requests = {"httpx": of_httpx, "requests": (1, 2), "Retries": (1, 2)}.get(block.heading, (2, 2))
        assert run(code, tmp_path).count("200") == statuses and len(server.requests) == requests


def test_the_page_has_all_programs():
    assert [block.heading.split()[0].rstrip(":") for block in PROGRAMS] == [
        "httpx", "httpx", "requests", "Retries", "A", "WSGI", "ASGI", "Limit", "Behind",
    ]
