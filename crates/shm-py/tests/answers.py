"""A server for the tests of clients: it answers what the URL asks for. Import the fixture `server` in a conftest."""

import http.server
import threading
import urllib.parse

import pytest


class Answers(http.server.BaseHTTPRequestHandler):
    """GET /?status=429&Retry-After=30 answers with this status and these headers; /first?… does so once, and then 200. /endless
    sends one chunk and then nothing until the test ends; /broken ends in the middle of its body; /busy refuses its first request.
    What is sent is answered.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        fields = urllib.parse.parse_qsl(query, keep_blank_values=True, encoding="latin-1")
        length = self.headers.get("Content-Length")
        body = self.chunks() if length is None else self.rfile.read(int(length))
        with self.server.lock:
            self.server.requests.append((self.command, self.path, body))
            is_first = len(self.server.requests) == 1
        if path == "/busy" and is_first:
            fields = [("status", "429"), ("Retry-After", "1")]
        self.server.before_answer()
        if path == "/first" and not is_first:
            fields = []
        status = next((int(value) for name, value in fields if name == "status"), 200)
        body = body or b"answer"
        self.send_response(status)
        for name, value in fields:
            if name != "status":
                self.send_header(name, value)
        if path in ("/endless", "/broken"):
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"some")
            self.wfile.flush()
            self.close_connection = True
            if path == "/endless":
                self.server.end.wait(60)
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_GET

    def chunks(self):
        found = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return found

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args):
        """The client has hung up."""

    def url(self, path="/", **fields):
        query = urllib.parse.urlencode({name.replace("_", "-"): value for name, value in fields.items()}, encoding="latin-1")
        return f"http://127.0.0.1:{self.server_port}{path}?{query}"


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Answers)
    server.requests, server.lock, server.end = [], threading.Lock(), threading.Event()
    server.before_answer = lambda: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.end.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
