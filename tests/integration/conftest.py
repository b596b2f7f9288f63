"""What several tests against real servers share."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """An authority, a server certificate for localhost, a client certificate, and another authority."""
    if shutil.which("openssl") is None:
        if os.environ.get("BUTTERFLY_REQUIRE_SERVERS") == "1":
            pytest.fail("openssl is not installed")
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("pki")

    def run(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        run(
            *f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}".split(),
            *f"-keyout {name}.key -out {name}.pem".split(),
        )
    for name in ("server", "client"):
        (folder / "ext").write_text("subjectAltName=DNS:localhost\n")
        run(
            *f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name}".split(),
            *f"-keyout {name}.key -out {name}.csr".split(),
        )
        run(
            *f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext".split(),
            *f"-out {name}.pem".split(),
        )
    return folder
