"""What the real Prometheus of the tests takes and gives back, and how the two versions differ."""

import struct
import time
import urllib.error
import urllib.request

import cramjam
import pytest

V1_HEADERS = {"content-type": "application/x-protobuf", "x-prometheus-remote-write-version": "0.1.0"}
V2_HEADERS = {
    "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "x-prometheus-remote-write-version": "2.0.0",
}


def varint(number):
    number &= (1 << 64) - 1
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def field(number, value):
    """One field of a protobuf message: an int is a varint, a float a double."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def zigzag(number):
    return number << 1 ^ number >> 63


def labels_v1(labels):
    return b"".join(field(1, field(1, name) + field(2, value)) for name, value in sorted(labels.items()))


def series_v1(labels, *samples, exemplars=b""):
    return field(1, labels_v1(labels) + b"".join(field(2, field(1, v) + field(2, t)) for t, v in samples) + exemplars)


def write(server, payload, headers):
    """Status and how many samples, histograms and exemplars it says it wrote, each as text, or None."""
    body = bytes(cramjam.snappy.compress_raw(payload))
    request = urllib.request.Request(server.write_url, body, headers | {"content-encoding": "snappy"})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            kinds = ("Samples", "Histograms", "Exemplars")
            return reply.status, [reply.headers[f"X-Prometheus-Remote-Write-{kind}-Written"] for kind in kinds]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(params=["prometheus", "prometheus_v1"])
def either(request):
    return request.getfixturevalue(request.param)


def now_ms():
    return time.time_ns() // 1_000_000


def test_samples_and_exemplars_of_version_1_come_back(either):
    now = now_ms()
    labels = {"__name__": "latency_seconds_bucket", "le": "0.5", "node": 'n-"1"'}
    about = {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    exemplar = field(3, labels_v1(about) + field(2, 0.25) + field(3, now - 1500))
    samples = [(now - 2000, 1.0), (now - 1000, 0.1 + 0.2)]
    assert write(either, series_v1(labels, *samples, exemplars=exemplar), V1_HEADERS)[0] == 204
    key = tuple(sorted(labels.items()))
    assert either.samples("latency_seconds_bucket", now / 1000) == {key: samples}
    stored = either.exemplars("latency_seconds_bucket", now / 1000 - 60, now / 1000)
    assert stored == {key: [(now - 1500, 0.25, tuple(about.items()))]}
    ((point,),) = [each["value"][1:] for each in either.query("latency_seconds_bucket", now / 1000)]
    assert point == "0.30000000000000004"
    ranged = either.query_range("latency_seconds_bucket * 2", (now - 2000) / 1000, now / 1000, 1)
    assert [value for _, value in ranged[0]["values"]] == ["2", "0.6000000000000001", "0.6000000000000001"]


def test_a_native_histogram_comes_back(either):
    now = now_ms()
    histogram = b"".join(
        (
            field(1, 6),
            field(3, 10.5),
            field(4, zigzag(0)),
            field(5, 0.001),
            field(6, 1),
            field(11, field(1, zigzag(0)) + field(2, 2)),
            field(12, varint(zigzag(2)) + varint(zigzag(1))),
            field(15, now),
        )
    )
    payload = field(1, labels_v1({"__name__": "size_bytes"}) + field(4, histogram))
    assert write(either, payload, V1_HEADERS)[0] == 204
    ((when, stored),) = either.histograms("size_bytes", now / 1000)[(("__name__", "size_bytes"),)]
    assert when == now
    assert (stored["count"], stored["sum"]) == ("6", "10.5")
    assert stored["buckets"] == [[3, "-0.001", "0.001", "1"], [0, "0.5", "1", "2"], [0, "1", "2", "3"]]
    assert either.samples("size_bytes", now / 1000) == {}


def request_v2(now):
    symbols = ["", "__name__", "requests_total", "node", "n-1", "trace_id", "0af7651916cd43dd8448eb211c80319c"]
    exemplar = field(4, field(1, bytes([5, 6])) + field(2, 1.0) + field(3, now))
    series = field(1, bytes([1, 2, 3, 4])) + field(2, field(1, 7.0) + field(2, now)) + exemplar + field(5, field(1, 1))
    return b"".join(field(4, symbol) for symbol in symbols) + field(5, series)


def test_version_2_is_stored_and_counted_by_the_newer_one(prometheus):
    now = now_ms()
    assert write(prometheus, request_v2(now), V2_HEADERS) == (204, ["1", "0", "1"])
    key = (("__name__", "requests_total"), ("node", "n-1"))
    assert prometheus.samples("requests_total", now / 1000) == {key: [(now, 7.0)]}
    ((when, value, about),) = prometheus.exemplars("requests_total", now / 1000 - 60, now / 1000)[key]
    assert (when, value, about) == (now, 1.0, (("trace_id", "0af7651916cd43dd8448eb211c80319c"),))


def test_version_2_is_answered_with_204_and_lost_by_the_older_one(prometheus_v1):
    now = now_ms()
    assert write(prometheus_v1, request_v2(now), V2_HEADERS) == (204, [None, None, None])
    assert prometheus_v1.samples("requests_total", now / 1000) == {}


def test_an_older_sample_and_another_value_are_refused(either):
    now = now_ms()
    labels = {"__name__": "ordered"}
    assert write(either, series_v1(labels, (now, 1.0)), V1_HEADERS)[0] == 204
    assert write(either, series_v1(labels, (now, 1.0)), V1_HEADERS)[0] == 204  # the same again is nothing new
    status, words = write(either, series_v1(labels, (now - 1000, 2.0)), V1_HEADERS)
    assert status == 400
    assert "out of order" in words
    status, words = write(either, series_v1(labels, (now, 2.0)), V1_HEADERS)
    assert status == 400
    assert "duplicate sample" in words
    assert list(either.samples("ordered", now / 1000).values()) == [[(now, 1.0)]]


def test_what_it_stored_is_there_after_a_stop_and_after_a_kill(either):
    now = now_ms()
    for n, end in enumerate((either.stop, either.kill)):
        assert write(either, series_v1({"__name__": "lasting"}, (now + n, float(n))), V1_HEADERS)[0] == 204
        before = either.url
        end()
        assert not either.running
        with pytest.raises(OSError):
            write(either, b"", V1_HEADERS)
        either.start()
        assert either.url == before
    assert list(either.samples("lasting", now / 1000 + 1).values()) == [[(now, 0.0), (now + 1, 1.0)]]
