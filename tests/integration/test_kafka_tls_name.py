import asyncio
import ssl

import pytest

from collector.connectors.kafka.connection import connection
from collector.connectors.kafka.options import KafkaOptions


@pytest.mark.parametrize(("expected", "met"), [("localhost", True), ("elsewhere", False), ("", False)])
async def test_the_expected_name_is_looked_for_whatever_the_address(pki, expected, met):
    """The certificate is localhost's; aiokafka connects to 127.0.0.1 and would look for that."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki / "server.pem", pki / "server.key")
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server)
    tls = {"ca_file": str(pki / "ca.pem"), "server_name_override": expected}
    context = connection(KafkaOptions.model_validate({"tls": tls}))["ssl_context"]

    async def handshake():
        _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname(), ssl=context)
        writer.close()
        await writer.wait_closed()

    async with listening:
        if met:
            await handshake()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                await handshake()
