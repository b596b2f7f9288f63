import errno
import os

import pytest

from collector.line_file import LineFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.jsonl"


def lines_of(path):
    return path.read_bytes().split(b"\n")[:-1]


def test_appends_whole_lines_and_keeps_what_is_there(path):
    for line in (b"one", b"two"):
        file = LineFile(path)
        file.open()
        file.append(line)
        file.close()
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("torn", [b"{", b"x" * 200_000])
def test_a_torn_end_is_cut_off(path, torn):
    path.write_bytes(b"one\n" + torn)
    file = LineFile(path)
    file.append(b"two")
    file.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_of_half_a_line_becomes_empty(path):
    path.write_bytes(b"half")
    file = LineFile(path)
    file.open()
    file.close()
    assert path.read_bytes() == b""


def test_a_line_that_does_not_fit_the_disk_is_taken_back(path, monkeypatch):
    file = LineFile(path)
    file.append(b"one")
    write = os.write

    def short_write(descriptor, data):
        if len(data) < 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:5])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short_write)
        with pytest.raises(OSError, match="No space left"):
            file.append(b"12345678")
    assert path.read_bytes() == b"one\n"
    file.append(b"two")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_half_line_that_cannot_be_taken_back_is_repaired_later(path, monkeypatch):
    file = LineFile(path)
    file.append(b"one")

    def broken(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        patched.setattr(os, "ftruncate", broken)
        file._fsync = True
        with pytest.raises(OSError, match="Input/output"):
            file.append(b"two")
        path.write_bytes(b"one\ntw")
    file.append(b"three")
    file.close()
    assert path.read_bytes() == b"one\nthree\n"


def test_rotation_keeps_the_newest_files(path):
    file = LineFile(path, max_bytes=8, max_backups=2)
    for i in range(12):
        file.append(b"line%02d" % i)
    file.close()
    aside = sorted(path.parent.glob("out-*.jsonl"))
    assert len(aside) == 2
    assert [lines_of(each) for each in [*aside, path]] == [[b"line09"], [b"line10"], [b"line11"]]


def test_rotation_does_not_split_or_refuse_a_line_larger_than_a_file(path):
    file = LineFile(path, max_bytes=4)
    file.append(b"longer than four")
    file.append(b"again longer than four")
    file.close()
    assert lines_of(path) == [b"again longer than four"]
    assert [lines_of(each) for each in path.parent.glob("out-*.jsonl")] == [[b"longer than four"]]


def test_a_file_that_somebody_moved_away_is_made_anew(path):
    file = LineFile(path)
    file.append(b"one")
    path.rename(path.with_name("moved"))
    file.append(b"two")
    file.close()
    assert lines_of(path) == [b"two"]
    assert lines_of(path.with_name("moved")) == [b"one"]


def test_only_regular_files_are_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        LineFile(tmp_path / "pipe").open()


def test_a_line_may_come_in_pieces(path):
    file = LineFile(path, max_bytes=12)
    file.append(b"one")
    file.append_in_pieces(6, lambda write: [write(piece) for piece in (b"two", b"", b"abc")])
    file.append_in_pieces(2, lambda write: write(b"xy"))  # 4 + 7 + 3 are more than 12
    file.close()
    assert path.read_bytes() == b"xy\n"
    (aside,) = (other for other in path.parent.iterdir() if other != path)
    assert aside.read_bytes() == b"one\ntwoabc\n"


def test_a_line_whose_pieces_end_in_an_error_is_taken_back(path):
    file = LineFile(path)
    file.append(b"one")

    def produce(write):
        write(b"half")
        raise KeyError

    with pytest.raises(KeyError):
        file.append_in_pieces(8, produce)
    file.append(b"two")
    file.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_backups_of_a_name_with_brackets_are_counted_and_those_of_others_left_alone(tmp_path):
    other = tmp_path / "keptb-2026-01-01T00-00-00.000000.jsonl"
    other.write_bytes(b"not ours")
    file = LineFile(tmp_path / "kept[ab].jsonl", max_bytes=4, max_backups=1)
    for line in (b"one", b"two", b"six", b"ten"):
        file.append(line)
    file.close()
    assert other.exists()
    assert len(list(tmp_path.iterdir())) == 3
