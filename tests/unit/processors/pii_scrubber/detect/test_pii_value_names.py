"""Values within longer names: what stands beside `_` and `-`, before `@host` and before a file's ending."""

import pytest

from processors.pii_scrubber.detect import KIND_NAMES, Kind, ValueDetectors
from processors.pii_scrubber.detect.detectors import may_hold

DETECTORS = ValueDetectors(KIND_NAMES)

FOUND = {
    "email": {
        "ana@example.com.txt": "ana@example.com",
        "log-ana@example.com.gz": "log-ana@example.com",
        "ana@example.com.tar.gz": "ana@example.com",
        "ana@example.com.log.1": "ana@example.com",
        "ana%40example.com.json&x": "ana%40example.com",
        "我買@屋企.香港.csv": "我買@屋企.香港",
        "+14155552671@example.com": "14155552671@example.com",
        "4111111111111111@example.com": "4111111111111111@example.com",
        "“ana@example.com”→": "ana@example.com",
    },
    "phone": {
        "+1 (415) 483-2281@host": "+1 (415) 483-2281",
        "+1 (415) 483-2281@example.com": "+1 (415) 483-2281",
        "+14155552671%40host": "+14155552671",
        "sip:+14155552671@localhost": "+14155552671",
        "+1 (415) 483-2281_old": "+1 (415) 483-2281",
        "+1 (415) 483-2281-old": "+1 (415) 483-2281",
        "prod-+14155552671_17": "+14155552671",
        "415-555-2671-old": "415-555-2671",
        "06 12 34 56 78_old": "06 12 34 56 78",
    },
    "card": {
        "4111-1111-1111-1111@host": "4111-1111-1111-1111",
        "4111 1111 1111 1111@example.com": "4111 1111 1111 1111",
        "prod-4111111111111111@host-old": "4111111111111111",
    },
    "ipv4": {
        "10.1.2.3-x": "10.1.2.3",
        "x_10.1.2.3": "10.1.2.3",
        "prod-10.1.2.3": "10.1.2.3",
        "prod-10.1.2.77.log": "10.1.2.77",
        "prod_198.198.151.120": "198.198.151.120",
        "prod-198.198.151.120": "198.198.151.120",
        "198.198.151.120_old": "198.198.151.120",
        "198.198.151.120-old": "198.198.151.120",
        "file_198.198.151.120.txt": "198.198.151.120",
        "_1.2.3.4_": "1.2.3.4",
    },
}
CASES = [(kind, text, value) for kind, texts in FOUND.items() for text, value in texts.items()]
JWT = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UifQ.dBjftJeZ4CVP"
TOKENS = (
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "sk-aB3dE5fG7hI9jK1lM3nO5pQ7",
    "abc8Q~dEfGhIjKlMnOpQrStUvWxYz0123456789",
    JWT,
)


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
def test_a_value_is_found_without_the_name_around_it(kind, text, value):
    raw = text.encode()
    findings = [(Kind(kind_).name.lower(), raw[start:end].decode()) for start, end, kind_ in DETECTORS.find(raw)]
    assert findings == [(kind, value)]
    assert may_hold(DETECTORS, raw)


@pytest.mark.parametrize("around", ["prod_{}", "prod-{}", "_{}", "-{}", "eyJob-{}", "file_{}", "a1_{}@host"])
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_found_within_a_longer_name(token, around):
    text = around.format(token).encode()
    assert DETECTORS.scrub(text).decode() in {around.format(f"[{kind}]") for kind in ("cloud_key", "api_key", "jwt")}


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("end", ["_old", "-old", "_", "-", ".txt"])
def test_what_may_be_of_the_token_goes_with_it(token, end):
    ((start, stop, _),) = DETECTORS.find(f"_{token}{end}".encode())
    assert start == 1
    assert stop in (1 + len(token), 1 + len(token) + len(end))
    if token.startswith(("AKIA", "AIza")):
        assert stop == 1 + len(token)  # their length is certain


@pytest.mark.parametrize(
    "text",
    [
        "name-10.1.2.3.jar",
        "name_10.1.2.3_amd64.deb",
        "name_v1.2.3.4",
        "name_v198.51.100.7",
        "name_1.2.3.4",
        "1.2.3.4-x",
        "1.2.3.4_x",
        "1.2.3.4_1",
        "release-8.0.36.1",
        "version_8.0.36.1",
        "logo@2x.min.js",
        "logo@2x.en.json",
        "app@main.bundle.js",
        "web@host.log",
        "web@host.log.gz",
        "web@host.log.1",
        "0123-456789-abc",
        "4155552671@host",
        "task-sk-learn-pipeline-preprocessing-step-2",
        "sha_4bf92f3577b34da6a3ce929d0e0e4736",
        "web-7d9f8b6c5-x2x4z",
        "prod_AKIAlthough this is text",
        "prod-AKIAIOSFODNN7EXAMPLEX",
        "task-eyJob-eyJob.eyJob",
    ],
)
def test_a_name_that_only_looks_like_it_passes(text):
    assert DETECTORS.find(text.encode()) == []
    assert not may_hold(DETECTORS, text.encode())
