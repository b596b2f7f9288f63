"""Why the brokers can't be reached, in one sentence for a person.

aiokafka tells of every failure to connect as "unable to bootstrap", and keeps the cause for its own log, which is
silenced. So the cause is looked for by connecting once more to every broker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    AuthenticationFailedError,
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLOSE_WITHIN_S = 0.2
_UNTRUSTED = (AuthenticationFailedError, SaslAuthenticationFailed)
_DENIED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_HUNG_UP = (KafkaConnectionError, IllegalSaslStateError, ConnectionResetError, BrokenPipeError, EOFError)
# What one broker says of us, the others would say too.
_DEFINITE = (*_UNTRUSTED, *_DENIED, UnsupportedSaslMechanismError, ssl.SSLError)
_MAY_EXPECT = {
    "PLAINTEXT": "tls or auth",
    "SSL": "auth, a certificate of ours, or no tls",
    "SASL_PLAINTEXT": "tls, or no auth",
    "SASL_SSL": "a certificate of ours, no tls or no auth",
}


def silence() -> None:
    """Keep aiokafka's own words out of the log: for debugging they hold payloads, and at a broker that is away they
    come many times a second. What matters of them is said by the connector.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


async def obstacle(arguments: Mapping[str, Any]) -> str:
    """Connect to every broker of `arguments`, which `connection()` made, and say what is in the way.

    Takes up to twice the request timeout. A broker that answers by now is reported as just that.
    """
    hosts = collect_hosts(arguments["bootstrap_servers"], randomize=False)
    found = await asyncio.gather(*(_knock(arguments, host, port) for host, port, _ in hosts))
    for sentence, error in found:
        if isinstance(error, _DEFINITE):
            return sentence
    return "; ".join(sentence for sentence, _ in found)


async def _knock(arguments: Mapping[str, Any], host: str, port: int) -> tuple[str, BaseException | None]:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    known = {key: value for key, value in arguments.items() if key.startswith(("sasl", "ssl", "security", "request"))}
    connection = AIOKafkaConnection(host, port, client_id=arguments["client_id"], **known)
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))
    except Exception as error:  # noqa: BLE001 - whatever a stranger's answer makes of aiokafka is the finding
        return in_words(error, arguments, place), error
    finally:
        # There is nothing to wait for where none was opened, and no end to it where the other side of TLS is frozen.
        await asyncio.wait([connection.close()], timeout=_CLOSE_WITHIN_S)
    return f"{place} answers now", None


def in_words(error: BaseException, arguments: Mapping[str, Any], place: str) -> str:
    """`error`, of the connection to `place`, for a person. No text of a peer is in it."""
    if isinstance(error, _UNTRUSTED):
        return "the brokers refuse the user or the password of auth.sasl"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"the brokers don't offer {arguments['sasl_mechanism']}: set another auth.sasl.mechanism"
    if isinstance(error, _DENIED):
        return "the brokers' access rules deny it to this user"
    if isinstance(error, _HUNG_UP):
        return f"{place} hangs up: it may expect {_MAY_EXPECT[arguments['security_protocol']]}"
    return f"{place} {_of_the_network(error)}"


def _of_the_network(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that isn't trusted ({_said(error, 'verify_message')}): check tls"
    if isinstance(error, ssl.SSLError):
        reason = _said(error, "reason").replace("_", " ").lower()
        return f"doesn't agree on TLS ({reason}): check tls, the port and the certificates"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "doesn't answer"
    if isinstance(error, OSError):
        known = not isinstance(error, socket.gaierror)  # whose numbers aren't the system's
        why = os.strerror(error.errno) if known and error.errno else "no address answers" if known else "unknown name"
        return f"can't be reached ({why})"
    if isinstance(error, BrokerResponseError):
        return f"answers {error.message.replace('_', ' ').lower()}"
    return "doesn't answer as Kafka does"


def _said(error: ssl.SSLError, attribute: str) -> str:
    # Only errors that come out of OpenSSL have these.
    return getattr(error, attribute, None) or "no reason given"
