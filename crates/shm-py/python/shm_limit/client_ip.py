"""The address of a server's client as a key, for the middleware in `shm_limit.asgi` and `shm_limit.wsgi`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ._errors import InvalidRequestError
from ._native import NativeClientIp

__all__ = ["ClientIp"]


class ClientIp(NativeClientIp):
    """The address of a request's client: each IPv4 address and each IPv6 network of 64 bits has a budget.

    By default the client is the peer of the connection, and headers are ignored, since a client can send any. Behind trusted
    proxies, the addresses in the header are read from the right, and the first one that is not trusted is the client. So a client
    cannot choose its key, provided that only proxies are trusted, and that each of them adds the address of its peer to that
    header or replaces it.

    trusted_proxies: addresses (`"127.0.0.1"`, `"::1"`) and networks (`"10.1.0.0/24"`).
    header: "X-Forwarded-For" or "Forwarded", in which the proxies report the address.
    ipv6_prefix: so many bits of an IPv6 address are the key: 64, since a host can choose from all addresses of its network.
    unix_socket_peer: what to take for the address of the peer of a Unix socket, which has none. If the proxy connects over one:
    `ClientIp(trusted_proxies=["127.0.0.1"], unix_socket_peer="127.0.0.1")`.

    Use either this or a server that replaces the client's address itself (`uvicorn --proxy-headers`, which is its default for
    proxies on 127.0.0.1), and not both. It is a function of an ASGI scope or a WSGI environment, which returns the key, such as
    "192.0.2.7" or "2001:db8:0:7::/64"; it raises InvalidRequestError if the peer has no IP address. The Rust crate `shm-tower`
    finds the same keys.
    """

    _unix_socket_peer: Optional[str]

    def __new__(
        cls,
        *,
        trusted_proxies: Iterable[str] = (),
        header: str = "X-Forwarded-For",
        ipv6_prefix: int = 64,
        unix_socket_peer: Optional[str] = None,
    ) -> ClientIp:
        self = super().__new__(cls, list(trusted_proxies), header, ipv6_prefix)
        self._unix_socket_peer = unix_socket_peer
        return self

    def __call__(self, request: Mapping[str, Any]) -> str:
        """The key of the client."""
        return self.key_of(self.address(request))

    def address(self, request: Mapping[str, Any]) -> str:
        """The address of the client, for a log."""
        peer, values = self._of_environ(request) if "REQUEST_METHOD" in request else self._of_scope(request)
        if not peer and self._unix_socket_peer is not None:
            peer = self._unix_socket_peer
        address = self.of_peer(peer, values)
        if address is None:
            what = f"the peer is {peer!r}, which is not an IP address" if peer else "the peer has no address"
            remedy = "for a Unix socket, set unix_socket_peer of ClientIp"
            raise InvalidRequestError(f"a request has no client address: {what}; {remedy}")
        return address

    def _of_environ(self, environ: Mapping[str, Any]) -> tuple[str, list[bytes]]:
        value = environ.get(f"HTTP_{self.header.upper().replace('-', '_')}")
        return environ.get("REMOTE_ADDR") or "", [] if value is None else [str(value).encode("latin-1", "replace")]

    def _of_scope(self, scope: Mapping[str, Any]) -> tuple[str, list[bytes]]:
        name, client = self.header.encode("ascii"), scope.get("client")
        values = [bytes(value) for key, value in scope.get("headers", ()) if key.lower() == name]
        return str(client[0] or "") if client else "", values
