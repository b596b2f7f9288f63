import socket

import pytest

from receivers.otlp.listen import Endpoint, bind


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("localhost:4317", "localhost", 4317), ("0.0.0.0:0", "0.0.0.0", 0), ("[::1]:65535", "::1", 65535)],
)
def test_endpoints(text, host, port):
    assert Endpoint.parse(text) == Endpoint(host, port)


@pytest.mark.parametrize("text", ["", "localhost", ":4317", "localhost:", "localhost:x", "h:65536", "::1:4317", "h:-1"])
def test_what_is_no_endpoint_says_what_was_expected(text):
    with pytest.raises(ValueError, match="expected"):
        Endpoint.parse(text)


def test_every_address_of_a_name_gets_the_same_port():
    bound = bind(Endpoint("localhost", 0))
    try:
        assert len({sock.getsockname()[1] for sock in bound}) == 1
        assert len({sock.family for sock in bound}) == len(bound)
    finally:
        for sock in bound:
            sock.close()


def test_half_a_name_is_not_enough():
    with socket.socket(socket.AF_INET) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen on localhost:{port}: the port is in use"):
            bind(Endpoint("localhost", port))


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_somebody_else(host):
    with pytest.raises(OSError, match=f"can't listen on {host}:4317"):
        bind(Endpoint(host, 4317))
