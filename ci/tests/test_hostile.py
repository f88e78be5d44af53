"""Hostile files do nothing but be refused, at once: bombs in lists, parameters, JSON, pictures and masks.

Files with code in them and archives that climb out of their folder are in test_bad_inputs, test_checkpoints,
test_benchmarks and test_download.
"""

import pickle
import struct
import time
import zlib
from pathlib import Path

import pytest
import yaml

import ifsl
from ifsl.data.images import read_image, read_mask
from ifsl.data.lists import read_coco_list
from ifsl.errors import shown
from ifsl.run.checkpoints import read_settings_beside
from ifsl.run.evaluation import Result
from ifsl.run.settings import Settings
from ifsl.tiny import make_tiny

LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40))
DEEP = "[" * 200_000


@pytest.fixture(autouse=True)
def at_once():
    """A refusal takes no time to speak of."""
    begun = time.process_time()  # of this process alone: others may keep the cores busy
    yield
    assert time.process_time() - begun < 5


def laughs():
    """A list that written out would have 10**39 entries; its file has 2 kB."""
    return yaml.safe_load(LAUGHS)["a39"]


@pytest.mark.parametrize("name", Settings.__annotations__)
@pytest.mark.parametrize("bomb", [laughs, lambda: {"a": laughs()}, lambda: 10**100_000], ids=["list", "dict", "number"])
def test_parameters_that_a_yaml_file_blew_up(name, bomb):
    with pytest.raises(ifsl.InputError, match=name) as raised:
        Settings(**{name: bomb()})
    assert len(str(raised.value)) < 400


def test_arguments_that_a_yaml_file_blew_up(tiny_root):
    for given in ({"name": laughs()}, {"name": "pascal", "fold": laughs()}, {"name": "pascal", "split": laughs()}):
        with pytest.raises(ifsl.InputError):
            ifsl.Benchmark(**given, root=tiny_root)


def test_values_are_shown_as_they_are_where_they_are_short():
    assert [shown(value) for value in ("asnet", 4, None, [1, 2])] == ["'asnet'", "4", "None", "[1, 2]"]


def nested_key() -> bytes:
    """A pickled dict whose key is a tuple that holds itself 2**60 times over."""
    doubled = b"".join(b"q\x010h\x01h\x01\x86" for _ in range(60))  # put, pop, get, get, make a pair
    return b"\x80\x02}K\x01\x85" + doubled + b"]s."


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({0: [laughs()]}),
        b"\x80\x02}r\x00\x00\x00\x40.",  # keep the dict as number 2**30 of a table
        b"\x80\x02}K\x00]X\xff\xff\xff\xffa.",  # a text of 4 GB
        b"\x80\x02}K\x00I" + b"9" * 10**6 + b"\ns.",  # a number of a million digits
        nested_key(),
        b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    ],
    ids=["laughs", "table", "text", "digits", "key", "deep"],
)
def test_lists_that_blow_up(content, tmp_path):
    path = tmp_path / "fold0.pkl"
    path.write_bytes(content)
    with pytest.raises(ifsl.InputError, match="no list of COCO images"):
        read_coco_list(path)


@pytest.mark.parametrize("content", [DEEP, '{"a":' * 100_000, "[" + "9" * 10**6 + "]", '"' + "\\ud800" * 10])
def test_json_that_blows_up(content, tmp_path):
    for name in ("result.json", "settings.json", "tiny.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(ifsl.InputError, match=r"result\.json"):
        Result.load(tmp_path / "result.json")
    with pytest.raises(ifsl.InputError, match=tmp_path.name):
        make_tiny(tmp_path)
    assert read_settings_beside(tmp_path / "last.ckpt") == {}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(side: int, data: bytes, *more: bytes) -> bytes:
    """A grey PNG that claims `side` x `side` pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BLANK = zlib.compress(bytes(9 * 10))
TEXT = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(10**8)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "content",
    [png(12_000, BLANK), png(60_000, BLANK), png(2**31 - 1, BLANK), png(9, BLANK, TEXT)],
    ids=["144 million", "3,600 million", "2**62", "100 MB of text"],
)
def test_pictures_and_masks_that_blow_up(content, tmp_path):
    path: Path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ifsl.InputError, match=r"a\.png"):
        read_image(path)
    with pytest.raises(ifsl.InputError, match=r"a\.png"):
        read_mask(path, 20)
