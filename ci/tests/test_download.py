"""Fetching, unpacking, lists and checks, against a server on loopback that misbehaves in every way."""

import errno
import hashlib
import io
import os
import re
import shutil
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.io import savemat

import ifsl
from ifsl.data import download, fetch, sources
from ifsl.data.check import identify_lists
from ifsl.data.classes import fold_classes
from ifsl.data.coco import rasterise
from ifsl.data.derive import derive_lists
from ifsl.data.fetch import Remote
from ifsl.data.lists import write_lists
from ifsl.data.loading import TestEpisodes, TrainEpisodes
from ifsl.download import main
from ifsl.errors import InputError

DATA = bytes(np.random.RandomState(0).bytes(50_000))


class Server(ThreadingHTTPServer):
    """Serves `files` {path: bytes}; `manner` {path: how}; counts what is asked in `asked` [(path, Range header)]."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.manner: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def offer(self, name: str, data: bytes, manner: str = "well") -> Remote:
        self.files[f"/{name}"], self.manner[f"/{name}"] = data, manner
        return Remote(self.address, name, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        wanted, manner = self.headers.get("Range"), self.server.manner.get(self.path, "missing")
        self.server.asked.append((self.path, wanted))
        tries = sum(path == self.path for path, _ in self.server.asked)
        if manner == "missing" or (manner == "busy at first" and tries <= 2):
            self.send_error(404 if manner == "missing" else 503)
            return
        data = self.server.files[self.path]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and manner != "no ranges" else 0
        if start >= len(data):
            self.send_error(416)
            return
        body = data[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(data) + 7 if manner == "lies about the range" else len(data)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{total}")
        if manner != "endless":
            length = {"lies short": len(body) - 9, "lies long": len(body) + 9}.get(manner, len(body))
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if manner in ("breaks off", "no ranges", "lies about the range"):
            body = body[: 20_000 if tries < 3 else None]
        elif manner == "always breaks off":
            body = b""
        elif manner == "endless":
            body += b"more"
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


# Fetching -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", ["well", "breaks off", "no ranges", "busy at first"])
def test_a_file_arrives_whole(server, tmp_path, manner):
    remote = server.offer("file.bin", DATA, manner)
    assert fetch.fetch(remote, tmp_path / "sub" / "file.bin").read_bytes() == DATA
    assert os.listdir(tmp_path / "sub") == ["file.bin"]
    if manner == "breaks off":
        assert [part for _, part in server.asked] == [None, "bytes=20000-", "bytes=40000-"]
    asked = len(server.asked)
    fetch.fetch(remote, tmp_path / "sub" / "file.bin")
    assert len(server.asked) == asked  # what is there is not fetched again


def test_a_later_run_goes_on(server, tmp_path):
    remote = server.offer("file.bin", DATA)
    (tmp_path / "file.bin.part").write_bytes(DATA[:30_000])
    fetch.fetch(remote, tmp_path / "file.bin")
    assert server.asked == [("/file.bin", "bytes=30000-")] and (tmp_path / "file.bin").read_bytes() == DATA


@pytest.mark.parametrize("left", [DATA, DATA + b"too long"])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, left):
    remote = server.offer("file.bin", DATA)
    (tmp_path / "file.bin.part").write_bytes(left)
    assert fetch.fetch(remote, tmp_path / "file.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    "manner, complaint",
    [
        ("lies short", "offers 49991 bytes instead of 50,000 bytes"),
        ("lies long", "offers 50009 bytes instead of 50,000 bytes"),
        ("lies about the range", "a part of another file"),
        ("endless", "more bytes"),
        ("missing", "404"),
        ("always breaks off", "breaks off"),
    ],
)
def test_a_server_that_cannot_be_trusted(server, tmp_path, manner, complaint):
    remote = server.offer("file.bin", DATA, manner)
    with pytest.raises(InputError, match=complaint) as caught:
        fetch.fetch(remote, tmp_path / "file.bin")
    assert remote.url() in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize("other", [DATA[::-1], DATA[:-1] + b"\0" * (1 + (DATA[-1] == 0))])
def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path, other):
    remote = server.offer("file.bin", DATA)
    server.files["/file.bin"] = other[: len(DATA)]
    with pytest.raises(InputError, match="is not the file it should be"):
        fetch.fetch(remote, tmp_path / "file.bin")
    assert os.listdir(tmp_path) == []


def test_a_file_of_somebody_else_is_not_written_over(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match="move it away"):
        fetch.fetch(server.offer("file.bin", DATA), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == b"mine" and server.asked == []


def test_what_came_before_the_network_failed_is_kept(server, tmp_path):
    remote = server.offer("file.bin", DATA, "breaks off")
    server.manner["/file.bin"] = "always breaks off"
    (tmp_path / "file.bin.part").write_bytes(DATA[:123])
    with pytest.raises(InputError, match="123 bytes are kept, run the same command again"):
        fetch.fetch(remote, tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").read_bytes() == DATA[:123]


def test_offline_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as gone:
        address = gone.address  # closed below: nobody listens there
    assert main(["lists", "pascal", "--root", str(tmp_path), "--mirror", address]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{address}/pascal/trn/fold0.txt cannot be fetched" in said and "--mirror" in said
    assert not list(tmp_path.rglob("*.txt*"))


def test_a_full_disk_is_one_sentence(server, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    remote = server.offer("file.bin", DATA)
    monkeypatch.setattr(fetch, "_receive", full)
    with pytest.raises(InputError, match="No space left on device.*make room and run the same command again"):
        fetch.fetch(remote, tmp_path / "file.bin")


HOSTS = ["http://[bad", "http://127.0.0.1:x", "http://127.0.0.1:99999", "http://:80", "http://a..b", "http://a b/c"]


@pytest.mark.parametrize(
    "mirror", ["ftp://example.org", "data", "file:///etc", "", *HOSTS, "http://127.0.0.1:1/é", "http://127.0.0.1:1/\n"]
)
def test_an_address_must_be_one(tmp_path, mirror, capsys, monkeypatch):
    monkeypatch.setattr(fetch, "_receive", lambda *given: pytest.fail("it was asked"))
    assert main(["lists", "--root", str(tmp_path), "--mirror", mirror]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ifsl: --mirror is ") and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    ["http://localhost", "HTTPS://example.org:8000/a%20b/", "http://[::1]:80/x?y=z", "http://xn--bcher-kva.de"],
)
def test_addresses(address):
    assert fetch.is_address(address)


# Unpacking ------------------------------------------------------------------------------------------------------------


def tar(members: dict, mode: str = "w") -> bytes:
    """A tar of {name: bytes or TarInfo}."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file.getvalue()


def zipped(members: dict) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


WANTED = r"set/(\w+\.jpg)"
GOOD = {"set/a.jpg": b"aaaa", "set/b.jpg": b"bb", "set/notes.txt": b"not wanted"}


@pytest.mark.parametrize("name, pack", [("x.tar", tar), ("x.tgz", lambda m: tar(m, "w:gz")), ("x.zip", zipped)])
def test_what_is_wanted_is_unpacked(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(GOOD))
    fetch.unpack(tmp_path / name, tmp_path / "out", WANTED, 2, 100)
    assert sorted(os.listdir(tmp_path / "out")) == ["a.jpg", "b.jpg"]
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"aaaa"
    (tmp_path / "out" / "a.jpg").write_bytes(b"here")
    (tmp_path / "out" / "b.jpg").unlink()
    fetch.unpack(tmp_path / name, tmp_path / "out", WANTED, 2, 100)  # goes on after a break
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"here" and (tmp_path / "out" / "b.jpg").read_bytes() == b"bb"


@pytest.mark.parametrize(
    "name, content, complaint",
    [
        ("x.tar", tar(GOOD | {"../evil.jpg": b"x"}), "outside its folder"),
        ("x.tar", tar(GOOD | {"set/../../evil.jpg": b"x"}), "outside its folder"),
        ("x.tar", tar(GOOD | {"/tmp/ifsl-evil.jpg": b"x"}), "outside its folder"),
        ("x.tar", tar({"set/a.jpg": link("set/a.jpg", "/etc/passwd"), "set/b.jpg": b"bb"}), "holds 1 of the 2"),
        ("x.tar", tar({"set/a.jpg": link("set/a.jpg", "/etc/passwd", tarfile.LNKTYPE), "set/b.jpg": b""}), "1 of the"),
        ("x.tar", tar({"set/a.jpg": link("set/a.jpg", "", tarfile.CHRTYPE)}), "holds 0 of the 2"),
        ("x.zip", zipped({"../evil.jpg": b"x"}), "outside its folder"),
        ("x.zip", zipped({"..\\evil.jpg": b"x"}), "outside its folder"),
        ("x.zip", zipped({"C:\\evil.jpg": b"x"}), "outside its folder"),
        ("x.zip", zipped({"set/a.jpg": b"\0" * 5000, "set/b.jpg": b""}), "unpacks to over"),
        ("x.tgz", tar({"set/a.jpg": b"\0" * 5000}, "w:gz"), "unpacks to over"),
        ("x.tar", tar({"set/a.jpg": b"a"}), "holds 1 of the 2 files"),
        ("x.tar", b"no archive at all", "broken archive"),
        ("x.zip", b"no archive at all", "broken archive"),
        ("x.tgz", b"no archive at all", "broken archive"),
        ("x.tgz", tar({"set/a.jpg": DATA[:90], "set/b.jpg": b"b"}, "w:gz")[:120], "broken archive"),
        ("x.zip", zipped({"set/a.jpg": b"a" * 90, "set/b.jpg": b"b"}).replace(b"set/a.jpgK", b"set/a.jpgX"), "broken"),
    ],
    ids=lambda value: "archive" if isinstance(value, bytes) else None,  # archives carry the time they were made at
)
def test_archives_that_are_hostile_or_broken(tmp_path, name, content, complaint):
    home = tmp_path / "deep" / "home"
    home.mkdir(parents=True)
    (home / name).write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        fetch.unpack(home / name, home / "out", WANTED, 2, 100)
    assert not Path("/tmp/ifsl-evil.jpg").exists()
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != home / "out"]
    assert outside == [home / name] and not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_a_zip_link_is_passed_over(tmp_path):
    info = zipfile.ZipInfo("set/a.jpg")
    info.external_attr = 0o120777 << 16
    (tmp_path / "x.zip").write_bytes(zipped({info: "/etc/passwd", "set/b.jpg": b"bb"}))
    with pytest.raises(InputError, match="holds 1 of the 2"):
        fetch.unpack(tmp_path / "x.zip", tmp_path / "out", WANTED, 2, 100)
    assert os.listdir(tmp_path / "out") == ["b.jpg"]


# The data sets, in miniature ------------------------------------------------------------------------------------------


def png(mask: np.ndarray, palette: bool = False) -> bytes:
    image = Image.fromarray(mask)
    if palette:
        image = image.convert("P")
        image.putpalette([min(255, 9 * i) for i in range(256) for _ in range(3)])
        image.putdata(mask.ravel().tolist())
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def jpg(shape: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", shape[::-1], "teal").save(file, format="JPEG")
    return file.getvalue()


def mat(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    savemat(file, {"GTcls": {"Boundaries": 0, "Segmentation": mask, "CategoriesPresent": np.unique(mask)}})
    return file.getvalue()


def block(c: int, void: bool = False) -> np.ndarray:
    """A 60 x 80 mask with 2,400 pixels of class `c`."""
    mask = np.zeros((60, 80), np.uint8)
    mask[:40, :60] = c
    if void:
        mask[40] = 255
    return mask


@pytest.fixture
def little_voc(server, monkeypatch):
    """VOC and SBD of four images each, two of them the same, served on loopback."""
    own = {f"2007_00000{i}": block(i, void=True) for i in range(1, 5)}
    other = {f"2007_00000{i}": block(i + 1) for i in range(3, 7)}  # 3 and 4 have VOC's own masks
    names = sorted({*own, *other})
    home = "VOCdevkit/VOC2012"
    voc = tar(
        {f"{home}/JPEGImages/{name}.jpg": jpg((60, 80)) for name in names}
        | {f"{home}/SegmentationClass/{name}.png": png(mask, palette=True) for name, mask in own.items()}
        | {f"{home}/ImageSets/Segmentation/val.txt": b"2007_000001\n2007_000002\n", f"{home}/Annotations/x.xml": b""}
    )
    sbd = tar({f"benchmark_RELEASE/dataset/cls/{name}.mat": mat(mask) for name, mask in other.items()}, "w:gz")
    count = len(names) + len(own) + 1
    monkeypatch.setattr(download, "VOC", replace(download.VOC, remote=server.offer("voc.tar", voc), count=count))
    monkeypatch.setattr(download, "SBD", replace(download.SBD, remote=server.offer("sbd.tgz", sbd), count=len(other)))
    monkeypatch.setattr(download, "AUGMENTED", len(names))
    return {**other, **own}


def test_pascal_from_the_network_to_an_episode(server, little_voc, tmp_path, capsys):
    assert main(["pascal", "--root", str(tmp_path)]) == 0
    assert "GB to fetch" in capsys.readouterr().out
    home = tmp_path / "VOC2012"
    assert sorted(os.listdir(home)) == ["ImageSets", "JPEGImages", "SegmentationClass", "SegmentationClassAug"]
    assert os.listdir(tmp_path / "downloads") == []
    for name, mask in little_voc.items():  # VOC's own where it has one, SBD's elsewhere
        assert np.array_equal(np.asarray(Image.open(home / "SegmentationClassAug" / f"{name}.png")), mask)
    asked = len(server.asked)
    assert main(["pascal", "--root", str(tmp_path)]) == 0 and len(server.asked) == asked

    assert main(["check", "pascal", "--root", str(tmp_path)]) == 2
    assert "There are no lists" in capsys.readouterr().out
    for name in sorted(little_voc)[:4]:  # enough images of class 1 for an episode of each split
        (home / "SegmentationClassAug" / f"{name}.png").write_bytes(png(block(1)))
    assert main(["derive", "pascal", "--root", str(tmp_path), "--workers", "1"]) == 0
    assert "derived" in capsys.readouterr().out
    trn = tmp_path / "splits" / "pascal" / "trn"
    assert (trn / "fold0.txt").read_text().split() == [f"2007_00000{i}__01" for i in (3, 4)]
    assert (trn / "fold1.txt").read_text() == ""  # one image of class 6, one of 7: too few for an episode


def test_broken_off_between_the_two_archives(server, little_voc, tmp_path, capsys):
    server.manner["/sbd.tgz"] = "missing"
    assert main(["pascal", "--root", str(tmp_path)]) == 2
    assert "sbd.tgz" in capsys.readouterr().err
    assert not (tmp_path / "VOC2012" / "SegmentationClassAug").exists()
    server.manner["/sbd.tgz"] = "well"
    assert main(["pascal", "--root", str(tmp_path)]) == 0
    assert [path for path, _ in server.asked].count("/voc.tar") == 1
    assert len(os.listdir(tmp_path / "VOC2012" / "SegmentationClassAug")) == len(little_voc)


def test_killed_while_unpacking(server, little_voc, tmp_path, monkeypatch):
    straight = fetch.os.replace
    for dies_after in (0, 1, 5, 9, 13, 15, 18):
        calls = 0

        def replace_until(source, target):
            nonlocal calls
            calls += 1
            if calls > dies_after:  # noqa: B023
                raise KeyboardInterrupt
            straight(source, target)

        root = tmp_path / str(dies_after)
        monkeypatch.setattr(fetch.os, "replace", replace_until)
        assert main(["pascal", "--root", str(root)]) == 130
        aug, pictures = root / "VOC2012" / "SegmentationClassAug", root / "VOC2012" / "JPEGImages"
        assert not aug.exists() and (not pictures.exists() or len(os.listdir(pictures)) == len(little_voc))
        monkeypatch.setattr(fetch.os, "replace", straight)
        assert main(["pascal", "--root", str(root)]) == 0
        found = {path.stem: np.asarray(Image.open(path)) for path in aug.iterdir()}
        assert found.keys() == little_voc.keys()
        assert all(np.array_equal(found[name], mask) for name, mask in little_voc.items())
        assert not list(root.rglob("*.part"))


def test_what_is_there_is_kept_and_completed(little_voc, tmp_path):
    mine = tmp_path / "VOC2012" / "JPEGImages" / "2007_000001.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert main(["pascal", "--root", str(tmp_path)]) == 0
    assert mine.read_bytes() == b"mine" and len(os.listdir(mine.parent)) == len(little_voc)


@pytest.mark.parametrize("content", [b"no MATLAB file", mat(block(77)), mat(np.zeros((2, 2, 2)))])
def test_a_mask_of_sbd_that_is_none(server, little_voc, tmp_path, monkeypatch, content, capsys):
    sbd = tar({"benchmark_RELEASE/dataset/cls/2007_000009.mat": content}, "w:gz")
    monkeypatch.setattr(download, "SBD", replace(download.SBD, remote=server.offer("sbd.tgz", sbd), count=1))
    assert main(["pascal", "--root", str(tmp_path)]) == 2
    assert "2007_000009.png is no mask of SBD" in capsys.readouterr().err
    assert not (tmp_path / "VOC2012" / "SegmentationClassAug").exists()


def test_coco_from_the_network(server, tmp_path, monkeypatch, capsys):
    annotations = '{"images": [], "annotations": [], "categories": []}'
    packed = (
        zipped({f"train2014/COCO_train2014_{n:012d}.jpg": jpg((6, 8)) for n in (1, 2)}),
        zipped({"val2014/COCO_val2014_000000000003.jpg": jpg((6, 8))}),
        zipped({f"annotations/{k}_{s}2014.json": annotations for k in ("instances", "x") for s in ("val", "train")}),
    )
    names = ("train2014.zip", "val2014.zip", "annotations.zip")
    little = [
        replace(archive, remote=server.offer(name, data), count=count)
        for archive, name, data, count in zip(download.COCO, names, packed, (2, 1, 2), strict=True)
    ]
    monkeypatch.setattr(download, "COCO", little)
    assert main(["coco", "--root", str(tmp_path), "--mirror", server.address]) == 0
    assert "20.8 GB" in capsys.readouterr().out  # what the real pictures would take
    found = sorted(str(path.relative_to(tmp_path / "COCO2014")) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        "annotations/instances_train2014.json",
        "annotations/instances_val2014.json",
        "train2014/COCO_train2014_000000000001.jpg",
        "train2014/COCO_train2014_000000000002.jpg",
        "val2014/COCO_val2014_000000000003.jpg",
    ]


def test_too_little_room_is_said_before_anything_is_fetched(little_voc, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 1_000_000))
    assert main(["pascal", "--root", str(tmp_path / "new")]) == 2
    assert "0.0 GB free; make room" in capsys.readouterr().err
    assert server.asked == [] and os.listdir(tmp_path) == []


def test_sizes_and_sums_have_their_form():
    for remote in (download.VOC.remote, download.SBD.remote, *(a.remote for a in download.COCO)):
        kind, total = remote.digest.split(":")
        assert len(total) == hashlib.new(kind).digest_size * 2 and remote.size > 2e8
    assert len(sources.LISTS) == 16 and len({total for _, total in sources.LISTS.values()}) == 16


# Lists ----------------------------------------------------------------------------------------------------------------


def test_published_lists_are_what_the_sums_say(shared, server, tmp_path, capsys):
    for name in sources.LISTS:
        server.offer(name, (shared / "splits" / name).read_bytes())
    assert main(["lists", "--root", str(tmp_path), "--mirror", server.address]) == 0
    for name in sources.LISTS:
        assert (tmp_path / "splits" / name).read_bytes() == (shared / "splits" / name).read_bytes()
    for name in ("pascal", "coco"):
        assert identify_lists(tmp_path / "splits" / name, name) == "the published lists"
        assert ifsl.Benchmark(name, tmp_path).source == "as given"
    (tmp_path / "splits" / "pascal" / "val" / "fold0.txt").write_text("2007_000033__01\n")
    assert identify_lists(tmp_path / "splits" / "pascal", "pascal").startswith("neither")


@pytest.fixture
def little_lists(server, monkeypatch):
    """Lists in the place of the published ones: content {name: bytes}."""
    content = {name: f"{name}\n".encode() for name in sources.LISTS}
    made = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()}
    monkeypatch.setattr(sources, "LISTS", made)
    for name, data in content.items():
        server.offer(name, data)
    return content


def test_published_lists_take_the_place_of_derived_ones_only(server, little_lists, tmp_path):
    folder = tmp_path / "splits" / "coco"
    write_lists(folder, "coco", "trn", [])
    (folder / "DERIVED").touch()
    server.manner["/coco/val/fold3.pkl"] = "missing"
    with pytest.raises(InputError, match="fold3"):
        download.fetch_lists(tmp_path, "coco", server.address)
    assert (folder / "DERIVED").is_file() and len(os.listdir(folder / "trn")) == 4  # as it was
    server.manner["/coco/val/fold3.pkl"] = "well"
    download.fetch_lists(tmp_path, "coco", server.address)
    assert sorted(os.listdir(folder)) == ["trn", "val"]
    assert (folder / "val" / "fold3.pkl").read_bytes() == little_lists["coco/val/fold3.pkl"]

    mine = tmp_path / "splits" / "pascal" / "trn" / "fold0.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="move it away"):
        download.fetch_lists(tmp_path, "pascal", server.address)
    assert mine.read_text() == "mine"


@pytest.fixture
def little_coco(tmp_path):
    """A root with test images of classes 1 to 5, one of class 9, and training images of classes 2 and 3."""
    for split, classes in (("train2014", [2, 2, 3, 3]), ("val2014", [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 9])):
        home, masks = tmp_path / "COCO2014" / split, tmp_path / "COCO2014" / "annotations" / split
        home.mkdir(parents=True)
        masks.mkdir(parents=True)
        for i, c in enumerate(classes):
            (home / f"COCO_{split}_{i:012d}.jpg").write_bytes(jpg((60, 80)))
            mask = block(c)
            mask[50, :47] = 13  # too small to be listed
            (masks / f"COCO_{split}_{i:012d}.png").write_bytes(png(mask))
        (masks / "COCO_without_picture.png").write_bytes(png(block(c)))
    return tmp_path


def test_derived_lists(little_coco, capsys):
    (little_coco / "splits" / "coco" / "trn").mkdir(parents=True)  # a failed download of the lists leaves this
    assert main(["derive", "coco", "--root", str(little_coco), "--workers", "1"]) == 0
    assert "trn has 4 of 4 images, 2 of 80 classes; val has 11 of 12 images, 5 of 80" in capsys.readouterr().out
    bench = ifsl.Benchmark("coco", little_coco, fold=0)
    assert bench.entries == [(f"val2014/COCO_val2014_{i:012d}.jpg", 1 if i < 3 else 5) for i in (0, 1, 2, 9, 10)]
    assert bench.class_ids == [1, 5] and bench.source == "derived, not the published lists"
    trn = ifsl.Benchmark("coco", little_coco, fold=0, split="trn")
    assert trn.class_ids == [2, 3] and trn.draw(0, 2, 1).classes
    alone = ifsl.Benchmark("coco", little_coco, fold=1, split="trn")
    assert alone.class_ids == [3]  # 2 is tested there
    with pytest.raises(InputError, match="one class"):
        alone.draw(0, 1, 1)
    assert main(["check", "coco", "--root", str(little_coco)]) == 0
    said = capsys.readouterr().out
    assert (
        "coco lists: derived, not the published lists, 15 images" in said
        and "val: 11 of 11 images, 11 of 11 masks, 5 classes, 11 objects looked at" in said
    )
    assert main(["derive", "coco", "--root", str(little_coco)]) == 0  # again, over derived ones
    (little_coco / "splits" / "coco" / "DERIVED").unlink()
    assert main(["derive", "coco", "--root", str(little_coco)]) == 2  # but over no others
    assert len(ifsl.Benchmark("coco", little_coco, 0, "trn", lists=None).entries) == 4


def test_an_incomplete_list_that_is_not_derived_keeps_its_classes(little_coco):
    write_lists(little_coco / "splits" / "coco", "coco", "val", [("val2014/COCO_val2014_000000000000.jpg", 1)])
    bench = ifsl.Benchmark("coco", little_coco, fold=0)
    assert bench.class_ids == fold_classes("coco", 0, "val")
    with pytest.raises(InputError, match="has no image|too few"):
        bench.draw(0, 1, 1)


def test_lists_survive_a_round_trip(tmp_path):
    for name, form in (("pascal", "im{:03d}"), ("coco", "val2014/COCO_val2014_{:012d}.jpg")):
        stream = np.random.RandomState(4)
        count = 20 if name == "pascal" else 80
        entries = [(form.format(i), int(c)) for i in range(300) for c in sorted(stream.choice(count, 2, False) + 1)]
        for split in ("trn", "val"):
            write_lists(tmp_path / "splits" / name, name, split, entries)
        for fold in range(4):
            val = ifsl.Benchmark(name, tmp_path, fold)
            own = [entry for entry in entries if entry[1] in val.class_ids]
            assert sorted(val.entries) == sorted(own) and (name == "coco" or val.entries == own)
            trn = ifsl.Benchmark(name, tmp_path, fold, "trn")
            assert sorted(trn.entries) == sorted(entry for entry in entries if entry[1] in trn.class_ids)


def test_derive_says_what_is_missing(tmp_path, capsys):
    for name, word in (("pascal", r"val\.txt is missing"), ("coco", "train2014 is missing")):
        assert main(["derive", name, "--root", str(tmp_path)]) == 2
        assert re.search(word, capsys.readouterr().err)


# Layouts that are wrong -----------------------------------------------------------------------------------------------


def test_check_names_what_is_missing(little_coco, capsys):
    main(["derive", "coco", "--root", str(little_coco)])
    root = ["--root", str(little_coco)]
    home = little_coco / "COCO2014"
    (home / "annotations" / "val2014" / "COCO_val2014_000000000001.png").unlink()
    (home / "val2014" / "COCO_val2014_000000000002.jpg").write_bytes(jpg((9, 9)))
    capsys.readouterr()
    assert main(["check", "coco", *root]) == 2
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("coco val")]
    assert said[0] == "coco val: 11 of 11 images, 10 of 11 masks, 5 classes, 10 objects looked at"
    missing, wrong = said[-2:]
    assert "missing: " in missing and "COCO_val2014_000000000001.png" in missing
    assert "python -m ifsl.download masks" in missing
    assert "wrong: " in wrong and "COCO_val2014_000000000002.png" in wrong
    bench = ifsl.Benchmark("coco", little_coco)
    with pytest.raises(InputError, match="COCO_val2014_000000000001.png is missing, which the lists name"):
        bench.check_files(image for image, _ in bench.entries)


def test_missing_files_are_told_before_a_long_run(little_coco):
    derive_lists(little_coco, "coco", 1)
    shutil.rmtree(little_coco / "COCO2014" / "val2014")
    (little_coco / "COCO2014" / "train2014" / "COCO_train2014_000000000003.jpg").unlink()
    with pytest.raises(InputError, match="and 4 other files are missing.*ifsl.download coco"):
        TestEpisodes(ifsl.Benchmark("coco", little_coco), episodes=20)
    with pytest.raises(InputError, match="COCO_train2014_000000000003.jpg is missing"):
        TrainEpisodes(ifsl.Benchmark("coco", little_coco, split="trn"))


def test_masks_without_aug(tmp_path):
    write_lists(tmp_path / "splits" / "pascal", "pascal", "val", [("2007_000001", c) for c in (1, 6, 11, 16)])
    (tmp_path / "VOC2012" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "VOC2012" / "SegmentationClass").mkdir()
    with pytest.raises(InputError, match="SegmentationClassAug of masks is missing; SegmentationClass has too few"):
        ifsl.Benchmark("pascal", tmp_path).check_layout()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mask_is", ["stored", "upright"])
def test_a_turned_picture_fits_its_mask(little_coco, orientation, mask_is):
    """A camera may store a picture turned. The data sets' masks are made for the pixels as they are stored."""
    derive_lists(little_coco, "coco", 1)
    bench = ifsl.Benchmark("coco", little_coco)
    image = bench.entries[0][0]
    stored = np.zeros((60, 80, 3), np.uint8)
    stored[:40, :60] = (200, 30, 30)  # where the mask is
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(bench.image_path(image), exif=exif, quality=95)
    mask = block(1)
    if mask_is == "upright" and orientation >= 5:  # where sizes tell the two apart
        turned = ImageOps.exif_transpose(Image.open(bench.image_path(image)))
        mask = (np.asarray(turned)[..., 0] > 100).astype(np.uint8)
        assert mask.shape == (80, 60)
    bench.mask_path(image).write_bytes(png(mask))
    picture, found = bench.read_pair(image)
    red = np.asarray(picture)[..., 0] > 100
    assert red.shape == found.shape and (red == (found == 1)).mean() > 0.98


@pytest.mark.parametrize(
    "size", [(50_000, 50_000), (-3, 4), (0, 9), (10**4000, 4), ("Infinity", 4), ("1e999", 4), ("NaN", 4)]
)
def test_an_annotation_file_that_claims_a_huge_picture(tmp_path, size):
    file = tmp_path / "instances_val2014.json"
    image = f'{{"id": 1, "file_name": "a.jpg", "height": {size[0]}, "width": {size[1]}}}'
    file.write_text(f'{{"images": [{image}], "annotations": [], "categories": []}}')
    with pytest.raises(InputError, match="claims|infinity|NaN") as caught:
        rasterise(file)
    assert str(file) in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "what"),
        (["imagenet"], "imagenet"),
        (["masks", "coco"], "leave out coco"),
        (["derive", "--workers", "0"], "--workers"),
        (["lists", "imagenet"], "imagenet"),
        (["check", "--rot", "x"], "--rot"),
    ],
)
def test_wrong_options_end_with_2_and_one_sentence(arguments, word, capsys):
    try:
        status = main(arguments)
    except SystemExit as exit:  # argparse ends the program itself
        status = exit.code
    said = capsys.readouterr().err
    assert status == 2 and word in said and len(said.splitlines()) == 1
