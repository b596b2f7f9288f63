"""The compiled detectors against plain Python, and what must hold for any bytes whatever."""

import ipaddress
import string

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bench.pii_corpus.positives import MAKERS, positives
from processors.pii_scrubber.detect import KIND_NAMES, Finding, Kind, ValueDetectors
from processors.pii_scrubber.detect.detectors import may_hold, surely_nothing

DETECTORS = ValueDetectors(KIND_NAMES)
ALONE = {kind: ValueDetectors([kind.name.lower()]) for kind in Kind}

PIECES = r"""
@ %40 % %3D %2B %20 . : :: = - + ( ) / " ' \ \n , _ eyJ eyJhbGciOiJub25lIn0. ghp_ AKIA sk- Bearer password= token:
-----BEGIN PRIVATE KEY----- -----END GB82 WEST DE phone tel example.com x@y.zz 10.1.2.3 2001:db8 fe80 ffff 415 555
2671 49 4111 1111 00 0 1 19 255 256 version .txt .tar.gz .log.1 _old -eyJ _AKIA -sk- @host git :// é “ »
"""
pieces = st.sampled_from([*PIECES.split(), " ", "\0", "\n", "PRIVATE KEY-----", "Bearer ", "phone "])
texts = st.lists(pieces | st.text(max_size=6), max_size=14).map(lambda parts: "".join(parts).encode())
anything = st.binary(max_size=80) | texts
around = st.sampled_from(["", " ", "\n", '"', "(", "<", ", ", "é ", "→"])


def found(kind, value):
    return [value[start:end] for start, end, _ in ALONE[kind].find(value)]


@given(value=anything)
@settings(max_examples=600)
@example(value=b"%40%40a%40b.cc")
@example(value=b"password=" + b"-----BEGIN PRIVATE KEY-----")
def test_findings_are_in_order_within_the_value_and_apart(value):
    findings = DETECTORS.find(value)
    end = 0
    for finding in findings:
        assert isinstance(finding, Finding)
        assert end <= finding.start < finding.end <= len(value)
        assert finding.kind in set(Kind)
        end = finding.end
    assert may_hold(DETECTORS, value) == bool(findings)


PREFIXES = """
AKIA ASIA AIza GOCSPX- ya29. dop_v1_ hvs. ghp_ github_pat_ glpat- xoxb- xoxp- xapp- sk_live_ rk_test_ whsec_ sk- hf_
npm_ pypi-AgE SG. SK shpat_ dckr_pat_ glsa_ nvapi- gsk_ eyJ Bearer bearer% aaa8Q~ -----BEGIN password= pwd: tel +49 GB82
4111 10. 2001: a@
"""


@given(prefix=st.sampled_from(PREFIXES.split()), rest=st.text("aA1b2Cd3.-: ", max_size=24))
@settings(max_examples=600)
def test_the_first_look_at_a_short_value_misses_nothing(prefix, rest):
    value = f"{prefix}{rest}".encode()
    assert may_hold(DETECTORS, value) == bool(DETECTORS.find(value))


short = st.text("aAgGz1289.-_/: ", max_size=32).map(str.encode)
begun = st.builds("{}{}{}".format, around, st.sampled_from(PREFIXES.split()), st.text("aA1b2Cd3.-:", max_size=32))


@given(value=short | begun.map(str.encode) | texts)
@settings(max_examples=1500)
@example(value=b"NO9386011117947")
@example(value=b"x-10.1.2.77")
@example(value=b"x 0151 2345678")
@example(value=b"AKIAIOSFODNN7EXAMPLE")
@example(value=b"service/AKIAIOSFODNN7EXAMPLE")
@example(value=b"a::1")
@example(value=b"z::b:1")
@example(value="na\u00efve".encode())
def test_a_wide_look_that_sees_nothing_is_right(value):
    for begin in range(0, max(len(value), 1), 7):
        part = value[begin : begin + 32]
        if surely_nothing(DETECTORS, part):
            assert part.isascii()
            assert not DETECTORS.find(part)


def test_a_wide_look_passes_nothing_that_is_to_be_found():
    examples = [one.text for kind in MAKERS for one in positives(kind, 300, 5)]
    parts = [text for text in examples if len(text) <= 32] + [text[-32:] for text in examples]
    assert len(parts) > 3000
    for part in parts:
        assert not (surely_nothing(DETECTORS, part) and DETECTORS.find(part)), part


def test_a_wide_look_is_enough_for_what_most_attributes_hold():
    for value in (
        b"", b"POST", b"req-1fc5dc05d7b5a57f", b"butterfly.Consensus/Append", b"consensus::step", b"/v1/completions",
        b"node-012", b"butterfly-worker-e04bd923-7f96e", b"3589b2bb7b50518e4b5c8df5ed5007f5", b"2.4.1", b"a" * 32,
    ):  # fmt: skip
        assert surely_nothing(DETECTORS, value), value


@given(value=anything)
@settings(max_examples=600)
def test_what_is_outside_of_findings_stays_and_what_is_inside_goes(value):
    scrubbed = DETECTORS.scrub(value)
    expected, at = [], 0
    for start, end, kind in DETECTORS.find(value):
        expected += [value[at:start], DETECTORS.replacement(kind, value[start:end])]
        at = end
    expected = b"".join([*expected, value[at:]])
    assert scrubbed == (None if expected == value else expected)
    # a finding that masking leaves as it is would be one for ever
    assert all(
        DETECTORS.replacement(kind, value[start:end]) != value[start:end] for start, end, kind in DETECTORS.find(value)
    )


@given(value=texts)
@settings(max_examples=600)
@example(value="→ana@x.com→".encode())
def test_what_was_utf8_stays_utf8(value):
    (DETECTORS.scrub(value) or b"").decode()


@given(value=anything, tail=anything)
@settings(max_examples=300)
def test_a_value_is_read_no_further_than_it_reaches(value, tail):
    whole = bytearray(value + tail)
    assert DETECTORS.find(memoryview(whole)[: len(value)]) == DETECTORS.find(value)


@given(
    address=st.ip_addresses(v=4),
    name=st.sampled_from(["prod_{}", "prod-{}", "{}_old", "{}-old", "_{}_", "-{}-", "file_{}.txt", "{}@host"]),
)
def test_every_ipv4_address_within_a_name_is_found_but_for_small_numbers(address, name):
    octets = address.packed
    assume(octets[0] not in (0, 127) and octets[:2] != b"\xff\xff" and octets[2:] != b"\0\0")
    assume(max(octets) >= 30)
    assert found(Kind.IPV4, name.format(address).encode()) == [str(address).encode()]


@given(address=st.ip_addresses(v=4), before=around, after=around)
def test_every_ipv4_address_is_found_and_masked_as_the_standard_library_does(address, before, after):
    octets = address.packed
    assume(octets[0] not in (0, 127) and octets[:2] != b"\xff\xff" and octets[2:] != b"\0\0")
    text = f"{before}{address}{after}".encode()
    assert found(Kind.IPV4, text) == [str(address).encode()]
    network = ipaddress.ip_network(f"{address}/16", strict=False).network_address
    assert DETECTORS.scrub(text) == f"{before}{network}{after}".encode()


used = st.one_of(
    st.integers(0x2000, 0x3FFF), st.integers(0xFC00, 0xFDFF), st.integers(0xFE80, 0xFEFF), st.integers(0xFF00, 0xFFFF)
)


@given(
    first=used,
    rest=st.lists(st.just(0) | st.integers(0, 0xFFFF), min_size=7, max_size=7),
    before=around,
    after=around,
    form=st.sampled_from(["compressed", "exploded", "upper", "quad"]),
)
@settings(max_examples=300)
def test_every_ipv6_address_in_use_is_found_and_masked_as_the_standard_library_does(first, rest, before, after, form):
    assume(any(rest[2:]))
    address = ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in (first, *rest)))
    written = {
        "compressed": address.compressed,
        "exploded": address.exploded,
        "upper": address.compressed.upper(),
        "quad": ":".join(f"{group:x}" for group in (first, *rest[:5]))
        + f":{ipaddress.IPv4Address(address.packed[12:])}",
    }[form]
    assume(not all(len(group) == 2 for group in written.split(":")))
    text = f"{before}{written}{after}".encode()
    assert found(Kind.IPV6, text) == [written.encode()]
    network = ipaddress.ip_network(f"{address}/48", strict=False).network_address
    assert ALONE[Kind.IPV6].scrub(text) == f"{before}{network}{after}".encode()


@given(value=texts | st.text("0123456789abcdef:.", max_size=50).map(str.encode))
@settings(max_examples=600)
def test_what_is_found_as_an_address_is_one(value):
    for raw in found(Kind.IPV4, value):
        ipaddress.IPv4Address(raw.decode())
    for raw in found(Kind.IPV6, value):
        ipaddress.IPv6Address(raw.decode())


def luhn(digits):
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


@given(
    body=st.from_regex(r"4[0-9]{14}|5[1-5][0-9]{13}|3[47][0-9]{12}|62[0-9]{16}", fullmatch=True),
    check=st.integers(0, 9),
    separator=st.sampled_from(["", " ", "-"]),
    before=around,
    after=around,
)
def test_a_card_is_a_card_when_luhn_says_so(body, check, separator, before, after):
    digits = f"{body}{check}"
    # the first sixteen of nineteen digits in groups may be a card and a security code
    assume(luhn(digits) or not (len(digits) == 19 and separator))
    lengths = (4, 6, 5) if len(digits) == 15 else (4, 4, 4, 4, 3)
    groups, at = [], 0
    for length in lengths:
        groups.append(digits[at : at + length])
        at += length
    written = separator.join(group for group in groups if group)
    assert found(Kind.CARD, f"{before}{written}{after}".encode()) == ([written.encode()] if luhn(digits) else [])


@given(
    bban=st.text(string.digits, min_size=18, max_size=18),
    check=st.integers(0, 99),
    spaced=st.booleans(),
    before=around,
    after=around,
)
def test_an_iban_is_an_iban_when_its_remainder_is_one(bban, check, spaced, before, after):
    number = f"DE{check:02d}{bban}"
    right = int(f"{bban}1314{check:02d}") % 97 == 1 and 2 <= check <= 98
    written = " ".join(number[at : at + 4] for at in range(0, 22, 4)) if spaced else number
    assert found(Kind.IBAN, f"{before}{written}{after}".encode()) == ([written.encode()] if right else [])


names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12)
labels = st.text(string.ascii_lowercase, min_size=1, max_size=10)


@given(
    local=st.lists(names, min_size=1, max_size=3).map(".".join),
    host=st.lists(labels, min_size=1, max_size=3).map(".".join),
    at=st.sampled_from(["@", "%40"]),
    top=st.sampled_from(["com", "de", "museum", "香港", "xn--0zwm56d"]),
    before=around,
    after=around,
)
def test_every_plain_email_is_found(local, host, at, top, before, after):
    assume(local.lower() != "git")
    assume("é" not in before + after)
    written = f"{local}{at}{host}.{top}"
    assert found(Kind.EMAIL, f"{before}{written}{after}".encode()) == [written.encode()]


@given(value=st.text("0123456789 ().-+/", max_size=40))
@settings(max_examples=400)
def test_a_phone_number_has_seven_to_fifteen_digits(value):
    for raw in found(Kind.PHONE, value.encode()):
        # the 00 of an international one and a bracketed trunk zero apart
        assert 7 <= sum(48 <= byte <= 57 for byte in raw) <= 18
