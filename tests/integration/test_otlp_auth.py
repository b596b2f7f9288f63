"""Who may send: bearer tokens and TLS, the same rule on both listeners."""

import asyncio
import ssl
import subprocess

import grpc
import pytest
from aiohttp import ClientConnectorError, ClientError, ClientSession
from otlp_harness import export, payload, post, serving
from otlp_signals import SENDERS

TOKENS = {"bearer_tokens": ["first-token", "second-token"]}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer first-toke",
        "Bearer first-token2",
        "Bearer first-token second-token",
        "Basic first-token",
        "first-token",
        "Bearer FIRST-TOKEN",
    ],
)
async def test_without_a_good_token_nothing_is_taken(value):
    async with serving(auth=TOKENS) as running:
        metadata = None if value is None else [("authorization", value)]
        headers = None if value is None else {"Authorization": value}
        for number, sender in enumerate(SENDERS):
            data = sender.payload()
            error = await asyncio.to_thread(
                export, running.ports["grpc"], data, metadata=metadata, method=sender.method
            )
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert running.refusals() == {"unauthenticated": 2 * number + 1}
            code, answered, body = await asyncio.to_thread(
                post, running.ports["http"], data, headers=headers, path=sender.path
            )
            assert (code, answered["WWW-Authenticate"]) == (401, "Bearer")
            assert b"first" not in body
            assert running.refusals() == {"unauthenticated": 2 * number + 2}
        assert running.intake.asked == []


@pytest.mark.parametrize("value", ["Bearer first-token", "bearer second-token"])
async def test_any_of_the_tokens_is_good(value):
    async with serving(auth=TOKENS) as running:
        metadata = [("authorization", value)]
        headers = {"Authorization": value}
        for sender in SENDERS:
            port, data = running.ports["grpc"], sender.payload()
            assert await asyncio.to_thread(export, port, data, metadata=metadata, method=sender.method) == b""
            port = running.ports["http"]
            assert (await asyncio.to_thread(post, port, data, headers=headers, path=sender.path))[0] == 200


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca", "-days", "1")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "1", "-extfile", "san", "-out", f"{name}.pem"),
        )
    return folder


def _call(port, folder, *, client):
    read = lambda name: (folder / name).read_bytes()  # noqa: E731
    pair = (read("client.key"), read("client.pem")) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(read("ca.pem"), *pair)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        try:
            method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
            return channel.unary_unary(method)(payload(), timeout=3)
        except grpc.RpcError as error:
            return error.code()


async def _post(port, folder, *, client):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if client:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    headers = {"Content-Type": "application/x-protobuf"}
    async with (
        ClientSession() as session,
        session.post(f"https://localhost:{port}/v1/traces", data=payload(), headers=headers, ssl=context) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls_and_client_certificates(certificates, mutual):
    tls = {"cert_file": str(certificates / "server.pem"), "key_file": str(certificates / "server.key")}
    if mutual:
        tls["client_ca_file"] = str(certificates / "ca.pem")
    options = {"tls": tls, "endpoint": "localhost:0"}
    async with serving(grpc_options=options, http_options={**options, "tls": {**tls, "min_version": "1.3"}}) as running:
        assert await asyncio.to_thread(_call, running.ports["grpc"], certificates, client=True) == b""
        assert await _post(running.ports["http"], certificates, client=True) == 200
        assert len(running.intake.taken) == 2
        if mutual:
            code = await asyncio.to_thread(_call, running.ports["grpc"], certificates, client=False)
            assert code is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(ClientError):
                await _post(running.ports["http"], certificates, client=False)
            assert len(running.intake.taken) == 2


async def test_a_tls_listener_takes_no_plaintext(certificates):
    tls = {"cert_file": str(certificates / "server.pem"), "key_file": str(certificates / "server.key")}
    async with serving(grpc_options={"tls": tls}, http_options={"tls": tls}) as running:
        error = await asyncio.to_thread(export, running.ports["grpc"], payload(), timeout=2)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises((OSError, ClientConnectorError)):
            await asyncio.to_thread(post, running.ports["http"], payload())
        assert running.intake.taken == []


@pytest.mark.parametrize("protocol", ["grpc_options", "http_options"])
async def test_a_missing_certificate_stops_the_start(tmp_path, protocol):
    tls = {"cert_file": str(tmp_path / "none.pem"), "key_file": str(tmp_path / "none.key")}
    with pytest.raises(OSError):
        async with serving(**{protocol: {"tls": tls}}):
            pytest.fail("started without a certificate")


async def test_a_handshake_that_is_never_finished_is_cut(certificates):
    tls = {"cert_file": str(certificates / "server.pem"), "key_file": str(certificates / "server.key")}
    async with serving(http_options={"tls": tls, "read_header_timeout": "300ms"}) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.ports["http"])
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
