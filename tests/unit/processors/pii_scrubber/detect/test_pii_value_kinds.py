"""Values as they stand in specifications and manuals, and what is meant to look like them."""

import pytest

from processors.pii_scrubber.detect import KIND_NAMES, Finding, Kind, ValueDetectors
from processors.pii_scrubber.detect.detectors import may_hold

DETECTORS = ValueDetectors(KIND_NAMES)

FOUND = {
    "email": {
        "simple@example.com": "simple@example.com",
        "very.common@example.com": "very.common@example.com",
        "disposable.style.email.with+symbol@example.com": "disposable.style.email.with+symbol@example.com",
        "x@example.com": "x@example.com",
        "user%example.com@example.org": "user%example.com@example.org",
        "user-@example.org": "user-@example.org",
        '"john doe"@example.org wrote': '"john doe"@example.org',
        "Pelé@example.com": "Pelé@example.com",
        "我買@屋企.香港": "我買@屋企.香港",
        "user@xn--fsq.xn--0zwm56d": "user@xn--fsq.xn--0zwm56d",
        "From: Ana <ana.silva@example.co.uk>;": "ana.silva@example.co.uk",
        "mailto:ana@example.com?subject=x": "ana@example.com",
        "a=1&to=ana%40example.com&b=2": "ana%40example.com",
        '{"text":"a\\nana@example.com"}': "ana@example.com",
        "written to ana@example.com.": "ana@example.com",
        "ana@example.com:587": "ana@example.com",
        "4155552671@example.com": "4155552671@example.com",
        "(ana@163.com)": "ana@163.com",
        "\\u003cana@example.com\\u003e": "ana@example.com",
        "«ana@example.com»": "ana@example.com",
    },
    "phone": {
        "+1 (415) 555-2671": "+1 (415) 555-2671",
        "+14155552671": "+14155552671",
        "tel:+442071838750": "+442071838750",
        "0044 20 7183 8750": "0044 20 7183 8750",
        "+49 (0)30 901820 opened": "+49 (0)30 901820",
        "call 06 12 34 56 78 now": "06 12 34 56 78",
        "415-555-2671": "415-555-2671",
        "415.555.2671 x12": "415.555.2671",
        "(011) 4123-4567": "(011) 4123-4567",
        "8 (495) 123-45-67": "8 (495) 123-45-67",
        "030/901820": "030/901820",
        '{"phone":"4155552671"}': "4155552671",
        "mobile=%2B491511234567&x": "%2B491511234567",
        "+1.4155552671": "+1.4155552671",
        "+49\u00a0151\u00a012345678": "+49\u00a0151\u00a012345678",
        "+49 151 12345678 200 OK": "+49 151 12345678",
        "+4915129485749": "+4915129485749",
    },
    "card": {
        "4111 1111 1111 1111": "4111 1111 1111 1111",
        "card 5555555555554444.": "5555555555554444",
        "3782-822463-10005": "3782-822463-10005",
        "371449635398431": "371449635398431",
        "30569309025904": "30569309025904",
        "6011111111111117": "6011111111111117",
        "3530111333300000": "3530111333300000",
        "6200000000000005": "6200000000000005",
        "2223003122003222": "2223003122003222",
        "4222222222222": "4222222222222",
        "q=4111+1111+1111+1111&": "4111+1111+1111+1111",
        "q=my+card+4111111111111111": "4111111111111111",
        "q=4111%201111%201111%201111": "4111%201111%201111%201111",
        "n=17 4111 1111 1111 1111 12/29": "4111 1111 1111 1111",
        "card_4242424242424242.json": "4242424242424242",
        "4242 4242 4242 4242 123": "4242 4242 4242 4242",
        "6304000000000000": "6304000000000000",
    },
    "iban": {
        "GB82 WEST 1234 5698 7654 32": "GB82 WEST 1234 5698 7654 32",
        "GB82WEST12345698765432": "GB82WEST12345698765432",
        "to DE89370400440532013000, thanks": "DE89370400440532013000",
        "FR14 2004 1010 0505 0001 3M02 606": "FR14 2004 1010 0505 0001 3M02 606",
        "MT84MALT011000012345MTLCAST001S": "MT84MALT011000012345MTLCAST001S",
        "NO9386011117947": "NO9386011117947",
        "gb82west12345698765432": "gb82west12345698765432",
        "SC18SSCB11010000000000001497USD": "SC18SSCB11010000000000001497USD",
        "iban=BE68+5390+0754+7034": "BE68+5390+0754+7034",
        "NL91-ABNA-0417-1643-00": "NL91-ABNA-0417-1643-00",
    },
    "ipv4": {
        "192.0.2.17": "192.0.2.17",
        "http://192.0.2.17:8080/a": "192.0.2.17",
        "[203.0.113.9]": "203.0.113.9",
        "198.51.100.0/24": "198.51.100.0",
        "from 10.20.3.4.": "10.20.3.4",
        "host 8.8.8.8: refused": "8.8.8.8",
        "172.16.5.4->x": "172.16.5.4",
        "/hosts/10.1.2.3/status": "10.1.2.3",
        "1.2.3.4": "1.2.3.4",
        "4.3.2.1.in-addr.arpa": "4.3.2.1",
        "ip-10.1.2.3": "10.1.2.3",
        "x=10.1.2.3&y": "10.1.2.3",
        "\\u003c10.1.2.3\\u003e": "10.1.2.3",
        "a\\n10.1.2.3\\n": "10.1.2.3",
    },
    "ipv6": {
        "2001:db8:85a3::8a2e:370:7334": "2001:db8:85a3::8a2e:370:7334",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334": "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "http://[2001:db8::1]:80/": "2001:db8::1",
        "fe80::1ff:fe23:4567:890a%eth2": "fe80::1ff:fe23:4567:890a",
        "::ffff:192.0.2.128": "::ffff:192.0.2.128",
        "peer 2001:DB8::1: reset": "2001:DB8::1",
        "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
        "addr:2001:db8::1": "2001:db8::1",
        "add:2001:db8::1": "2001:db8::1",
        "64:ff9b::192.0.2.33": "64:ff9b::192.0.2.33",
        "2001:db8::1/64": "2001:db8::1",
    },
    "jwt": {
        # RFC 7515, appendix A.1
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
        "LmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk": ...,
        # RFC 7519, section 6.1
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290"
        "Ijp0cnVlfQ": ...,
        # RFC 7516, section 3.3, shortened: five parts
        "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9k"
        ".48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6.XFBoMYUZodetZdvTiFvSkQ": ...,
    },
    "cloud_key": {
        "AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7EXAMPLE",
        "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": ...,
        "key is ASIAIOSFODNN7EXAMPLE.": "ASIAIOSFODNN7EXAMPLE",
        "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe": ...,
    },
    "api_key": {
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a": ...,
        '"xoxb-17653672481-19874698323-pdFZKVeTuE8"': "xoxb-17653672481-19874698323-pdFZKVeTuE8",
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc": ...,
        "token=glpat-AbCdEfGhIjKlMnOpQrSt": "glpat-AbCdEfGhIjKlMnOpQrSt",
        "\\nghp_16C7e42F292c6912E7710c838347Ae178B4a": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    },
    "private_key": {
        "a -----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY----- b": "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n"
        "-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQ": ...,
    },
    "secret": {
        "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==": "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Authorization: Bearer mF_9.B5f-4.1JqM": "mF_9.B5f-4.1JqM",
        "got bearer mF_9.B5f-4.1JqM7xz again": "mF_9.B5f-4.1JqM7xz",
        "password=hunter2": "hunter2",
        '{"password": "a b, c"}': "a b, c",
        '{\\"password\\":\\"a b c\\"}': "a b c",
        "MYSQL_ROOT_PASSWORD=s3cr3t!": "s3cr3t!",
        "postgresql://ana:p4ss%20w0rd@db.example.com/x": "p4ss%20w0rd",
        "password%3Dhunter2%26user%3Dana": "hunter2",
        "x-api-key: 8f2Bc1d9": "8f2Bc1d9",
        "sv=1&sig=FJi%2B7abcdefghijklmno%3D": "FJi%2B7abcdefghijklmno%3D",
        "hash: $2b$12$abc, password=$2b$12$abc": "$2b$12$abc",
    },
}
CASES = [
    (kind, text, text if value is ... else value) for kind, texts in FOUND.items() for text, value in texts.items()
]


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
def test_a_value_is_found_with_its_kind_and_its_edges(kind, text, value):
    raw = text.encode()
    findings = [(Kind(kind_).name.lower(), raw[start:end].decode()) for start, end, kind_ in DETECTORS.find(raw)]
    assert findings == [(kind, value)]
    assert may_hold(DETECTORS, raw)


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
def test_a_kind_that_is_not_asked_for_is_not_looked_for(kind, text, value):
    others = ValueDetectors([name for name in KIND_NAMES if name != kind])
    assert kind not in {Kind(finding.kind).name.lower() for finding in others.find(text.encode())}
    alone = ValueDetectors([kind]).find(text.encode())
    assert [finding.kind for finding in alone] == [Kind[kind.upper()]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "node-017",
        "logo@2x.png",
        "git@github.com:org/repo.git",
        "ssh://git@github.com/org/repo",
        "deploy@git.example.com:srv/app.git",
        "react@18.2.0",
        "@app.route",
        "user@localhost",
        "image@sha256:0123456789abcdef",
        "user@1000.service",
        "a@b",
        "@@@@",
        "x @ y.com",
        "2026-11-24T03:27:01.123456Z",
        "1718000000",
        "1718000000123",
        "1718000000123456789",
        "550e8400-e29b-41d4-a716-446655440000",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "4111111111111112",
        "0.4111111111111111",
        "4111111111111111.5",
        "4111-1111-1111-1111-2222",
        "a4111111111111111",
        "4111111111111111b",
        "978-0-306-40615-7",
        "ORD-4155552671",
        "order 4155552671",
        "[ 501  502  503 ]",
        "27 28   29 30",
        "interval 62104-63670",
        "Boston, MA 02110-1301",
        "0.0268252166335",
        "[phone] 4155552671",
        "xoxb-40281ternal",
        "40.7128,-74.0060",
        "[1,512,4096]",
        "1.234.567,89",
        "1,234,567,890",
        "v1.2.3.4",
        "version 1.2.3.4",
        "Chrome/126.0.64.127",
        "name-1.2.3.4.jar",
        "1.2.3.4.5",
        "1.3.6.1.4.1.311",
        "10.1.2.256",
        "01.02.03.04",
        "10.1.0.0/16",
        "127.0.0.1:4317",
        "0.0.0.0",
        "255.255.255.0",
        "10:30:00",
        "aa:bb:cc:dd:ee:ff",
        "00:11:22:33:44:55:66:77",
        "std::vector",
        "dead::beef",
        "[1::2]",
        "::1",
        "2001:db8:1::",
        "2001:db8::1::2",
        "1:2:3:4:5:6:7:8:9",
        "be64d4fcef791740",  # passes modulo 97, as one id in a hundred, but accounts of Belgium are digits
        "GB82WEST12345698765433",
        "GB82 WEST 1234 5698 7654",
        "XX82WEST12345698765432",
        "RR123456785GB",
        "eyJob",
        "eyJhIjoxfQ.eyJhIjoxfQ.c2ln",
        "AKIAlthough this is text",
        "AKIAIOSFODNN7EXAMPLEX",
        "sk-learn-pipeline-preprocessing-step",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "Bearer token is missing",
        "password: must not be empty",
        "password=null",
        "password=****",
        "password=[secret]",
        "password=${env:PW}",
        "password=",
        "max_tokens=4096",
        "token=512",
        "PWD=/home/ana",
        "passed: 12 tests",
    ],
)
def test_what_only_looks_like_it_passes(text):
    assert DETECTORS.find(text.encode()) == []
    assert DETECTORS.scrub(text.encode()) is None
    assert not may_hold(DETECTORS, text.encode())


@pytest.mark.parametrize(
    ("value", "scrubbed"),
    [
        ("user ana@example.com from 10.20.3.4", "user [email] from 10.20.0.0"),
        ("[2001:db8:1:2::3]:80", "[2001:db8:1::]:80"),
        ("2001:0DB8:0000:0000::1", "2001:db8::"),
        ("::ffff:10.1.2.3", "::ffff:10.1.0.0"),
        ("ffff::ff:1", "ffff::"),
        ("fd00:0:5::1", "fd00:0:5::"),
        ("password=hunter2&x=1", "password=[secret]&x=1"),
        ("4111111111111111", "[card]"),
        ("Bearer ghp_16C7e42F292c6912E7710c838347Ae178B4a", "Bearer [api_key]"),
        ("a@x.com b@y.com", "[email] [email]"),
        ("x\xe9 +14155552671", "x\xe9 [phone]"),
    ],
)
def test_what_is_found_is_replaced_and_the_rest_stays(value, scrubbed):
    assert DETECTORS.scrub(value.encode()) == scrubbed.encode()
    assert DETECTORS.scrub(scrubbed.encode()) is None


def test_bytes_that_are_no_text_are_looked_through_all_the_same():
    assert DETECTORS.find(b"\xff\xfe 10.1.2.3 \x80") == [Finding(3, 11, Kind.IPV4)]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'ssn'"):
        ValueDetectors(["email", "ssn"])


def test_no_kinds_find_nothing():
    assert ValueDetectors([]).find(b"ana@example.com 10.1.2.3 password=hunter2 ghp_" + b"a1" * 20) == []
