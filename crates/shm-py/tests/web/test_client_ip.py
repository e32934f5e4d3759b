"""The address of a client: what it sends itself never decides its key."""

import pytest

from shm_limit import InvalidRequestError
from shm_limit.client_ip import ClientIp


def scope(peer, *values, name=b"x-forwarded-for"):
    return {"type": "http", "client": peer and [peer, 4711], "headers": [(name, value) for value in values]}


def environ(peer, value=None, name="HTTP_X_FORWARDED_FOR"):
    found = {"REQUEST_METHOD": "GET"} if peer is None else {"REQUEST_METHOD": "GET", "REMOTE_ADDR": peer}
    return found if value is None else {**found, name: value}


def test_by_default_headers_are_ignored():
    client = ClientIp()
    assert client(scope("192.0.2.7", b"1.2.3.4")) == client(environ("192.0.2.7", "1.2.3.4")) == "192.0.2.7"
    assert client(scope("2001:db8:0:7::1")) == client(environ("2001:db8:0:7:ffff::")) == "2001:db8:0:7::/64"
    assert client.address(scope("fe80::1%eth0")) == "fe80::1"
    # An IPv4 address in IPv6 form, as on a socket for both.
    assert client(scope("::ffff:192.0.2.7")) == "192.0.2.7"


@pytest.mark.parametrize(
    "values, address",
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9, 10.1.0.3"], "203.0.113.9"),
        (["203.0.113.9, garbage"], "127.0.0.1"),
        (["garbage, 203.0.113.9"], "203.0.113.9"),
        (["\xff\x00\n, 203.0.113.9"], "127.0.0.1"),
        (["10.1.0.9"], "10.1.0.9"),
        ([], "127.0.0.1"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
    ],
)
def test_behind_trusted_proxies(values, address):
    client = ClientIp(trusted_proxies=["127.0.0.1", "10.1.0.0/24"])
    assert client.address(scope("127.0.0.1", *[value.encode("latin-1") for value in values])) == address
    assert client.address(environ("127.0.0.1", ", ".join(values) if values else None)) == address
    # Another peer cannot say who it is.
    assert client.address(scope("192.0.2.7", *[value.encode("latin-1") for value in values])) == "192.0.2.7"


def test_one_header_is_read():
    client = ClientIp(trusted_proxies=["127.0.0.1"], header="Forwarded", ipv6_prefix=48)
    assert client(scope("127.0.0.1", b'for="[2001:db8:1:2::7]";proto=https', name=b"forwarded")) == "2001:db8:1::/48"
    assert client(environ("127.0.0.1", "for=192.0.2.1", name="HTTP_FORWARDED")) == "192.0.2.1"
    assert client(scope("127.0.0.1", b"192.0.2.1")) == "127.0.0.1"


def test_peers_of_unix_sockets_have_no_address():
    for request in (scope(None), scope(""), environ(None), environ("")):
        with pytest.raises(InvalidRequestError, match="unix_socket_peer"):
            ClientIp()(request)
        assert ClientIp(unix_socket_peer="127.0.0.1")(request) == "127.0.0.1"
    with pytest.raises(InvalidRequestError, match="testclient"):
        ClientIp(unix_socket_peer="127.0.0.1")(scope("testclient"))
    client = ClientIp(unix_socket_peer="127.0.0.1", trusted_proxies=["127.0.0.1"])
    assert client(scope(None, b"192.0.2.7")) == client(environ("", "192.0.2.7")) == "192.0.2.7"


def test_wrong_arguments():
    for wrong in [
        dict(trusted_proxies=["10.1.0.0/8"]), dict(trusted_proxies=["proxy"]), dict(header="X-Real-IP"), dict(ipv6_prefix=129),
    ]:
        with pytest.raises(ValueError):
            ClientIp(**wrong)
