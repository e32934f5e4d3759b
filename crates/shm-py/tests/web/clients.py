"""One face for the clients under test: httpx in threads, in asyncio and in trio, and requests."""

import contextlib
import ssl

import anyio
import httpx
import requests

import shm_limit.httpx
import shm_limit.requests


#: To make one takes longer than most of these tests.
_TLS = ssl.create_default_context()


class Sync:
    """httpx.Client."""

    denied, of_peer = shm_limit.httpx.RequestDenied, httpx.TransportError
    admission_of = staticmethod(shm_limit.httpx.admission_of)
    broken = httpx.RemoteProtocolError
    refused = httpx.ConnectError

    def __init__(self, limit, **options):
        transport = shm_limit.httpx.LimitedTransport(limit, httpx.HTTPTransport(verify=_TLS), **options)
        self.client = httpx.Client(transport=transport, timeout=30)

    def send(self, url, method="GET", content=None):
        return self.client.request(method, url, content=content, follow_redirects=True)

    @contextlib.contextmanager
    def stream(self, url):
        with self.client.stream("GET", url) as response:
            yield response, response.read

    def open(self, url):
        return self.client.send(self.client.build_request("GET", url), stream=True)

    def close(self):
        self.client.close()


class Requests(Sync):
    """requests.Session."""

    denied, of_peer = shm_limit.requests.RequestDenied, requests.exceptions.RequestException
    admission_of = staticmethod(shm_limit.requests.admission_of)
    broken = requests.exceptions.ChunkedEncodingError
    refused = requests.exceptions.ConnectionError

    def __init__(self, limit, **options):
        self.client = requests.Session()
        self.client.trust_env = False
        self.client.mount("http://", shm_limit.requests.LimitedAdapter(limit, **options))

    def send(self, url, method="GET", content=None):
        return self.client.request(method, url, data=content, timeout=30)

    @contextlib.contextmanager
    def stream(self, url):
        with self.client.get(url, stream=True, timeout=30) as response:
            yield response, lambda: response.content

    def open(self, url):
        return self.client.get(url, stream=True, timeout=30)


class Async(Sync):
    """httpx.AsyncClient, in a loop of its own for each request."""

    backend = "asyncio"

    def __init__(self, limit, **options):
        self.limit, self.options = limit, options

    @contextlib.asynccontextmanager
    async def opened(self):
        transport = shm_limit.httpx.AsyncLimitedTransport(self.limit, httpx.AsyncHTTPTransport(verify=_TLS), **self.options)
        async with httpx.AsyncClient(transport=transport, timeout=30) as client:
            yield client

    def run(self, main, *args):
        return anyio.run(main, *args, backend=self.backend)

    def send(self, url, method="GET", content=None):
        async def main():
            async with self.opened() as client:
                body = _chunks(content) if content is not None and not isinstance(content, bytes) else content
                return await client.request(method, url, content=body, follow_redirects=True)

        return self.run(main)

    def close(self):
        pass


class Trio(Async):
    """httpx.AsyncClient in trio."""

    backend = "trio"


async def _chunks(content):
    for chunk in content:
        yield chunk


ALL, IN_THREADS, IN_TASKS = [Sync, Requests, Async, Trio], [Sync, Requests], [Async, Trio]
