import logging
import socket
import ssl

import pytest
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    LeaderNotAvailableError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from collector.connectors.kafka.obstacle import in_words, obstacle, silence


def verification(message):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SaslAuthenticationFailed("wonderland"), "the brokers refuse the user or the password of auth.sasl"),
        (AuthenticationFailedError(), "the brokers refuse the user or the password of auth.sasl"),
        (UnsupportedSaslMechanismError("x"), "the brokers don't offer PLAIN: set another auth.sasl.mechanism"),
        (ClusterAuthorizationFailedError(), "the brokers' access rules deny it to this user"),
        (verification("expired"), "b:1 has a certificate that isn't trusted (expired): check tls"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] ..."),
            "b:1 doesn't agree on TLS (no reason given): check tls, the port and the certificates",
        ),
        (TimeoutError(), "b:1 doesn't answer"),
        (KafkaConnectionError("x"), "b:1 hangs up: it may expect tls, or no auth"),
        (IllegalSaslStateError(), "b:1 hangs up: it may expect tls, or no auth"),
        (ConnectionResetError(), "b:1 hangs up: it may expect tls, or no auth"),
        (socket.gaierror(-2, "Name or service not known"), "b:1 can't be reached (unknown name)"),
        (ConnectionRefusedError(111, "Connect call failed"), "b:1 can't be reached (Connection refused)"),
        (OSError("Multiple exceptions: ..."), "b:1 can't be reached (no address answers)"),
        (LeaderNotAvailableError("secret"), "b:1 answers leader not available"),
        (AssertionError("secret"), "b:1 doesn't answer as Kafka does"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_error_in_words_quotes_no_peer(error, sentence):
    arguments = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    assert in_words(error, arguments, "b:1") == sentence


async def test_every_unreachable_broker_is_named():
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = {
            "bootstrap_servers": [place, place],
            "client_id": "me",
            "security_protocol": "PLAINTEXT",
            "request_timeout_ms": 1000,
        }
        found = await obstacle(arguments)
    assert found == "; ".join([f"{place} can't be reached (Connection refused)"] * 2)


def test_aiokafka_is_silenced_whoever_of_it_speaks(caplog):
    silence()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("aiokafka.conn").critical("payload")
    assert caplog.records == []
