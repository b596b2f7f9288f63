"""What several end-to-end tests share."""

import fcntl
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

NPM = Path(__file__).parents[1] / "servers" / "npm"
CACHE = Path(os.environ.get("BUTTERFLY_SERVERS_CACHE", "~/.cache/butterfly-servers")).expanduser()


@pytest.fixture(scope="session")
def node_modules():
    """The JavaScript SDK and the scripts that send with it, installed once into the cache."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        reason = f"{' and '.join(missing)} not found"
        if os.environ.get("BUTTERFLY_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    files = ("package.json", "package-lock.json", "send.cjs", "send_signals.cjs")
    content = b"".join((NPM / name).read_bytes() for name in files)
    folder = CACHE / f"npm-{sha256(content).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the same run may be at it
        if not (folder / "done").exists():
            for name in files:
                shutil.copy(NPM / name, folder / name)
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True, timeout=110
            )
            (folder / "done").touch()
    return folder
