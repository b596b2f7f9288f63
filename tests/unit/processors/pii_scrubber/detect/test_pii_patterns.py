import hashlib
import hmac

import pytest

from processors.pii_scrubber.detect import (
    BLOCKED,
    FIRST_CUSTOM,
    HASH_FUNCTIONS,
    KIND_NAMES,
    CustomPattern,
    Finding,
    Kind,
    ValueDetectors,
    hashed,
    marker,
)
from processors.pii_scrubber.detect.detectors import may_hold

EMPLOYEE = CustomPattern("employee", r"EMP-\d{6}", b"EMP-*")
SSN = CustomPattern("ssn", r"(?i)ssn[:= ]+(\d{3})-(\d{2})-\d{4}")


def test_a_pattern_without_groups_finds_its_match_and_uses_its_mask():
    detectors = ValueDetectors([], [EMPLOYEE])
    assert detectors.find(b"by EMP-123456, EMP-1") == [Finding(3, 13, FIRST_CUSTOM)]
    assert detectors.scrub(b"by EMP-123456, EMP-1") == b"by EMP-*, EMP-1"
    assert detectors.scrub(b"nobody") is None
    assert may_hold(detectors, b"x")


def test_of_a_pattern_with_groups_only_what_the_groups_hold_goes():
    detectors = ValueDetectors([], [EMPLOYEE, SSN])
    assert detectors.find(b"SSN: 078-05-1120") == [Finding(5, 8, FIRST_CUSTOM + 1), Finding(9, 11, FIRST_CUSTOM + 1)]
    assert detectors.scrub(b"SSN: 078-05-1120") == b"SSN: [custom]-[custom]-1120"


def test_a_group_that_took_no_part_is_no_finding():
    detectors = ValueDetectors([], [CustomPattern("either", r"a(x)|b(y)", b"-")])
    assert detectors.scrub(b"ax by a b") == b"a- b- a b"


def test_offsets_are_of_bytes_whatever_the_text():
    detectors = ValueDetectors([], [EMPLOYEE])
    assert detectors.scrub("é EMP-123456 \U0001f98b".encode()) == "é EMP-* \U0001f98b".encode()
    assert detectors.scrub(b"\xff EMP-123456") == b"\xff EMP-*"


def test_patterns_that_cannot_stand_in_one_alternation_work_one_by_one():
    patterns = [CustomPattern(name, rf"(?P<same>{name}\d+)") for name in ("a", "b")]
    assert ValueDetectors([], patterns).scrub(b"a1 b2 c3") == b"[custom] [custom] c3"


def test_patterns_and_kinds_that_overlap_become_one_finding():
    host = CustomPattern("host", r"example\.com/[a-z]+", b"<host>")
    detectors = ValueDetectors(KIND_NAMES, [host])
    assert detectors.scrub(b"ana@example.com/inbox") == b"<host>"
    assert detectors.find(b"ana@example.com/inbox") == [Finding(0, 21, FIRST_CUSTOM)]
    address = ValueDetectors(KIND_NAMES, [CustomPattern("port", r"4:\d+", b"<port>")])
    assert address.scrub(b"10.1.2.4:80") == b"<port>"
    assert address.scrub(b"10.1.2.5:80") == b"10.1.0.0:80"


def test_blocked_values_are_starred_as_the_collectors_redaction_does():
    detectors = ValueDetectors([], blocked_values=["4[0-9]{12}(?:[0-9]{3})?", "(5[1-5][0-9]{14})"])
    assert detectors.scrub(b"4111111111111111 5555555555554444") == b"**** ****"
    assert detectors.find(b"4111111111111111") == [Finding(0, 16, BLOCKED)]


def test_a_value_with_an_allowed_match_is_spared_the_blocked_ones():
    detectors = ValueDetectors([], blocked_values=["mycompany.com"], allowed_values=["support.mycompany.com"])
    assert detectors.scrub(b"support.mycompany.com mycompany.com") is None
    assert detectors.scrub(b"www.mycompany.com") == b"www.****"


def test_an_allowed_match_spares_only_what_lies_within_it():
    detectors = ValueDetectors(KIND_NAMES, [EMPLOYEE], allowed_values=[r"\w+@mycompany\.com", "EMP-0+"])
    text = b"help@mycompany.com ana@example.com EMP-000000 EMP-123456 joe@mycompany.com"
    assert detectors.scrub(text) == b"help@mycompany.com [email] EMP-000000 EMP-* joe@mycompany.com"
    assert detectors.scrub(b"a.b@mycompany.com") == b"[email]"


def test_allowed_matches_that_overlap_count_as_one():
    detectors = ValueDetectors(["email"], allowed_values=["ana@exam", "@example.com"])
    assert detectors.scrub(b"ana@example.com") is None


@pytest.mark.parametrize("name", ["custom", "allowed_values", "blocked_values"])
def test_a_pattern_that_is_none_is_refused(name):
    pattern = "(?=ahead)"
    with pytest.raises(ValueError, match="RE2"):
        ValueDetectors([], **{name: [CustomPattern("x", pattern)] if name == "custom" else [pattern]})


@pytest.mark.parametrize("function", HASH_FUNCTIONS)
def test_a_hash_can_stand_in_for_what_was_found(function):
    key = b"pepper" if function.startswith("hmac") else b""
    expected = {
        "md5": lambda found: hashlib.md5(found, usedforsecurity=False).hexdigest(),
        "sha1": lambda found: hashlib.sha1(found, usedforsecurity=False).hexdigest(),
        "sha3": lambda found: hashlib.sha3_256(found).hexdigest(),
        "hmac-sha256": lambda found: hmac.digest(key, found, "sha256").hex(),
        "hmac-sha512": lambda found: hmac.digest(key, found, "sha512").hex(),
    }[function]
    detectors = ValueDetectors(KIND_NAMES, blocked_values=["secret-word"], replace=hashed(function, key))
    scrubbed = detectors.scrub(b"ana@example.com secret-word 10.1.2.3")
    assert scrubbed == f"{expected(b'ana@example.com')} {expected(b'secret-word')} 10.1.0.0".encode()


def test_hash_functions_are_a_closed_set_and_keyed_ones_need_a_key():
    with pytest.raises(ValueError, match="hmac-sha256"):
        hashed("sha256")
    with pytest.raises(ValueError, match="key"):
        hashed("hmac-sha256")


def test_what_stands_in_is_asked_for_kind_and_found_bytes():
    seen = []

    def replace(kind, found):
        seen.append((kind, found))
        return b"_"

    detectors = ValueDetectors(KIND_NAMES, [EMPLOYEE, CustomPattern("plain", "plain")], replace=replace)
    assert detectors.scrub(b"a@x.com 10.1.2.3 EMP-123456 plain") == b"_ 10.1.0.0 EMP-* _"
    assert seen == [(Kind.EMAIL, b"a@x.com"), (FIRST_CUSTOM + 1, b"plain")]
    assert detectors.replacement(Kind.EMAIL, b"b@x.com") == b"_"


def test_every_kind_has_a_marker_of_its_own():
    assert len({marker(kind, b"") for kind in Kind}) == len(Kind)
    assert marker(FIRST_CUSTOM + 5, b"") == b"[custom]"
