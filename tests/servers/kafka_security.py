"""What a Kafka of the tests asks of its clients: passwords, certificates, permissions."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_SECURITY = "org.apache.kafka.common.security"


class Certificates(NamedTuple):
    """PEM files: the authority that signed the brokers' certificate, and a client's certificate with its key."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make an authority, a certificate of 127.0.0.1 and localhost for brokers, and one for a client, in `folder`."""
    folder.mkdir(parents=True)

    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)

    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl(f"req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("broker", "client"):
        openssl(f"req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names"
        openssl(f"x509 -req -in {name}.csr {signed} -out {name}.pem")
    (folder / "keystore.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    return Certificates(folder / "ca.pem", folder / "client.pem", folder / "client.key")


def protocol(*, sasl: bool, tls: bool) -> str:
    """The security protocol of the clients' listener."""
    return f"{'SASL_' if sasl else ''}{'SSL' if tls else 'PLAINTEXT'}"


def sasl_properties(users: Mapping[str, str]) -> dict[str, str]:
    """PLAIN and SCRAM on the listener CLIENT. PLAIN's passwords stand here, SCRAM's come from `scram_arguments`."""
    listener = "listener.name.client"
    plain = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    return {
        "sasl.enabled.mechanisms": ",".join(("PLAIN", *_SCRAM)),
        f"{listener}.plain.sasl.jaas.config": f"{_SECURITY}.plain.PlainLoginModule required {plain};",
        **{
            f"{listener}.{mechanism.lower()}.sasl.jaas.config": f"{_SECURITY}.scram.ScramLoginModule required;"
            for mechanism in _SCRAM
        },
    }


def scram_arguments(users: Mapping[str, str]) -> list[str]:
    """What formatting the storage needs so that `users` may log in with SCRAM."""
    return [
        argument
        for name, password in users.items()
        for mechanism in _SCRAM
        for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]


def tls_properties(made: Certificates) -> dict[str, str]:
    """Certificates on the listener CLIENT; a client's own is asked for, not required."""
    return {
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": str(made.ca.with_name("keystore.pem")),
        "listener.name.client.ssl.truststore.type": "PEM",
        "listener.name.client.ssl.truststore.location": str(made.ca),
        "listener.name.client.ssl.client.auth": "requested",
    }


def authorizer_properties() -> dict[str, str]:
    """Nothing is allowed that wasn't allowed by name, except to the nodes themselves, who don't log in."""
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
