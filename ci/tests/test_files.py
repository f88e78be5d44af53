"""A file is written whole or stays as it was."""

import json
import os
import signal
import subprocess
import sys

import pytest

from ifsl.data.files import write_whole


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    "content",
    ["ä\r\nb\n", "ä\r\nb\n".encode(), lambda file: file.write("ä\r\nb\n".encode())],
    ids=["str", "bytes", "f"],
)
def test_text_bytes_and_functions_are_written_and_nothing_else(tmp_path, content, sync):
    path = tmp_path / "file.txt"
    path.write_bytes(b"before")
    (tmp_path / "file.txt.part").write_bytes(b"left by a process that was killed, and longer than the new content")
    write_whole(path, content, sync=sync)
    assert path.read_bytes() == b"\xc3\xa4\r\nb\n" and os.listdir(tmp_path) == ["file.txt"]


def test_an_error_leaves_the_old_file_and_no_part(tmp_path):
    def fail(file):
        file.write(b"half")
        raise RuntimeError("of the content's own")

    path = tmp_path / "file.bin"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError):
        write_whole(path, fail)
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["file.bin"]


def test_a_name_that_is_no_utf_8_comes_back_from_json(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_whole(tmp_path / "file.json", json.dumps([name], ensure_ascii=False))
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == [name]


def test_a_full_disk_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["file.bin"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "file.txt", "text")
    assert os.listdir(tmp_path) == []


KILLED = """
import os, signal, sys
from ifsl.data.files import write_whole

def die(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

write_whole(sys.argv[1], die)
"""


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")
    assert subprocess.run([sys.executable, "-c", KILLED, path]).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"before" and sorted(os.listdir(tmp_path)) == ["file.bin", "file.bin.part"]
    write_whole(path, b"after")
    assert path.read_bytes() == b"after" and os.listdir(tmp_path) == ["file.bin"]
