"""Fetching a file over a network that may fail, and unpacking an archive that is not trusted (chapter 13)."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from tqdm.auto import tqdm

from ..errors import InputError, shown
from .files import write_whole

CHUNK = 1 << 20  # bytes read at a time
TIMEOUT = 60  # seconds that a server may be silent
TRIES = 5  # that may bring no byte, one after the other
PAUSE = 2.0  # seconds before the second try; doubled before each further one
AGAIN = "run the same command again to go on"
DISK = {  # errors of the disk rather than of the network
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
}


@dataclass(frozen=True)
class Remote:
    """A file on the network: where it is, how many bytes it has, and its digest, such as "sha256:…"."""

    base: str
    name: str
    size: int
    digest: str

    def url(self, mirror: str | None = None) -> str:
        """Its address, with `mirror` in place of `base` if given. Raises `InputError` if that is no address."""
        if mirror is not None and not is_address(mirror):
            raise InputError(
                f"--mirror is {shown(mirror)}, which is no address; give one in ASCII, such as https://example.org/data."
            )
        return f"{(mirror or self.base).rstrip('/')}/{quote(self.name)}"


def is_address(text: str) -> bool:
    """Whether a web server can be asked for an address: http:// or https://, a host, and in ASCII without spaces."""
    if not re.fullmatch(r"https?://[!-~]+", text, re.IGNORECASE):
        return False
    try:
        host, _ = urlsplit(text).hostname, urlsplit(text).port
        return bool(host and host.encode("idna"))
    except ValueError:  # brackets, a port that is no number, a host such as a..b
        return False


# Fetching -------------------------------------------------------------------------------------------------------------


def fetch(remote: Remote, path: Path, mirror: str | None = None) -> Path:
    """Download `remote` to `path`, unless it is there already; returns `path`.

    The file grows as `<path>.part`, continues from there after an interruption or in a later run, and gets its name
    when size and digest are right. Raises `InputError` for a server that cannot be reached or offers another file, for
    another file at `path`, and for a full disk.
    """
    url = remote.url(mirror)
    if path.exists():
        if path.stat().st_size != remote.size or compute_digest(path, remote) != remote.digest:
            raise InputError(f"{path} is there but is not the file of {url}; move it away and run this again.")
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.open("ab").close()
    except OSError as error:
        raise InputError(f"{part} cannot be written ({error.strerror}); give --root a folder that can.") from error
    if part.stat().st_size > remote.size:
        part.unlink()
    _fill(remote, url, part)
    found = compute_digest(part, remote)
    if found != remote.digest:
        part.unlink()
        raise InputError(
            f"{url} is not the file it should be ({found} instead of {remote.digest}) and was not kept; run this again "
            "or give --mirror another address."
        )
    os.replace(part, path)
    return path


def _fill(remote: Remote, url: str, part: Path) -> None:
    """Download until `part` has its full size, however often the connection breaks."""
    fruitless, reached = 0, False
    with tqdm(total=remote.size, desc=remote.name, unit="B", unit_scale=True, leave=False) as bar:
        while (have := _count_bytes(part)) < remote.size:
            trouble = "it breaks off"
            try:
                _receive(remote, url, part, bar)
                reached = True
            except (OSError, http.client.HTTPException) as error:
                trouble = _explain(error, url, part)
                if isinstance(error, URLError) and not isinstance(error, HTTPError) and not reached:
                    fruitless = TRIES  # no such host or no network: waiting would not help
            fruitless = 0 if _count_bytes(part) > have else fruitless + 1
            if fruitless >= TRIES:
                _give_up(url, part, trouble)
            if fruitless:
                time.sleep(PAUSE * 2 ** (fruitless - 1))


def _explain(error: Exception, url: str, part: Path) -> str:
    """What went wrong in a request, in words. Raises `InputError` if another try would fail in the same way."""
    if isinstance(error, HTTPError):
        if error.code == 416:  # the server has fewer bytes than we hold
            part.unlink()
        elif error.code < 500 and error.code != 429:
            raise InputError(f"{url} is not offered there ({error}); give --mirror another address.") from error
        return str(error)
    if getattr(error, "errno", None) in DISK:
        raise InputError(f"{part} cannot be written ({error.strerror}); make room and {AGAIN}.") from error
    return str(getattr(error, "reason", error)) or type(error).__name__


def _give_up(url: str, part: Path, trouble: str) -> None:
    """Raise `InputError`; what was received is kept."""
    kept = f"; {_count_bytes(part):,} bytes are kept, {AGAIN}" if _count_bytes(part) else ""
    if not kept:
        part.unlink(missing_ok=True)
    raise InputError(
        f"{url} cannot be fetched ({trouble}); look at the network, give --mirror another address, or put the file at "
        f"{part.with_suffix('')} yourself{kept}."
    )


def _receive(remote: Remote, url: str, part: Path, bar: tqdm) -> None:
    """One request: append what arrives to `part`, until it is complete or the connection breaks."""
    have = _count_bytes(part)
    headers = {"User-Agent": "ifsl", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
        length = answer.headers.get("Content-Length")
        if answer.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != have or match[2] not in ("*", str(remote.size)):
                _refuse(remote, url, part, "a part of another file")
        else:  # the whole file, from its beginning
            have = 0
            if length not in (None, str(remote.size)):
                _refuse(remote, url, part, f"{length} bytes")
        bar.n = have
        with open(part, "r+b" if have else "wb") as file:
            file.seek(have)
            while have < remote.size and (chunk := answer.read(min(CHUNK, remote.size - have))):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
        if have == remote.size and length is None and answer.read(1):
            _refuse(remote, url, part, "more bytes")


def _refuse(remote: Remote, url: str, part: Path, offer: str) -> None:
    """Delete `part` and raise `InputError`, because the server offers something else."""
    part.unlink(missing_ok=True)
    raise InputError(
        f"{url} offers {offer} instead of {remote.size:,} bytes: that is not the file; give --mirror another address."
    )


def _count_bytes(path: Path) -> int:
    """The size of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def compute_digest(path: Path, remote: Remote) -> str:
    """The digest of a file, of the kind that `remote` has, such as "sha256:…". A large file gets a progress bar."""
    kind = remote.digest.partition(":")[0]
    total = hashlib.new(kind, usedforsecurity=False)
    small = remote.size < 100 * CHUNK
    with (
        open(path, "rb") as file,
        tqdm(
            total=remote.size, desc=f"checking {remote.name}", unit="B", unit_scale=True, leave=False, disable=small
        ) as bar,
    ):
        while chunk := file.read(CHUNK):
            total.update(chunk)
            bar.update(len(chunk))
    return f"{kind}:{total.hexdigest()}"


# Unpacking an archive -------------------------------------------------------------------------------------------------


def unpack(
    archive: Path,
    folder: Path,
    wanted: str,
    count: int,
    most: int,
    suffix: str = "",
    convert: Callable[[BinaryIO, str], bytes] | None = None,
) -> None:
    """Write the members of a .tar, .tgz or .zip whose names match the expression `wanted` into `folder`.

    A file is named by group 1 of `wanted` and `suffix`, so the archive does not decide where files go. count: how many
    members there should be. most: how many bytes they may have in total. convert: makes the content of a file from the
    opened member and the name of the file (default: the member is copied).
    Files that exist are kept; a new one appears under its name only when it is complete. Raises `InputError` for an
    archive that is broken, that asks to write outside its folder, or that has fewer or larger files, and for a full
    disk.
    """
    found = total = 0
    broken = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError)
    try:
        with tqdm(total=count, desc=f"unpacking {archive.name}", unit="file", leave=False) as bar:
            for name, size, file in _open_members(archive):
                if not (match := re.fullmatch(wanted, name)):
                    continue
                found, total = found + 1, total + size
                if total > most:
                    raise InputError(f"{archive} unpacks to over {most / 1e9:.1f} GB; delete it and do not trust it.")
                target = folder / f"{match[1]}{suffix}"
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copy = partial(shutil.copyfileobj, file, length=CHUNK)
                    write_whole(target, convert(file, target.name) if convert else copy, sync=False)
                bar.update()
    except broken as error:
        raise InputError(f"{archive} is a broken archive ({error}); delete it and run this again.") from error
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked to {folder} ({error}); make room and {AGAIN}.") from error
    if found < count:
        raise InputError(f"{archive} holds {found} of the {count} files that it should; delete it and run this again.")


def _open_members(archive: Path) -> Iterator[tuple[str, int, BinaryIO]]:
    """Yield (name, bytes, opened member) for each plain file, in the archive's order; links and devices are skipped.

    Raises `InputError` at a name outside the archive's folder: no data set has such a member.
    """
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.infolist():
                _check_name(member.filename, archive)
                if not member.is_dir() and not stat.S_ISLNK(member.external_attr >> 16):
                    with zipped.open(member) as file:
                        yield member.filename, member.file_size, file
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                _check_name(member.name, archive)
                if member.isfile():
                    yield member.name, member.size, tar.extractfile(member)


def _check_name(name: str, archive: Path) -> None:
    """Raise `InputError` for a member whose name leads outside the folder that the archive is unpacked to."""
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
        raise InputError(
            f"{archive} holds {name[:80]!r}, a place outside its folder; delete it and do not trust where it came from."
        )


def settle(part: Path, folder: Path) -> None:
    """Move what was unpacked into `part` to `folder`: it appears complete, or gets the files that it lacks."""
    try:
        if not folder.exists():
            os.rename(part, folder)
            return
        for path in sorted(part.rglob("*")):
            target = folder / path.relative_to(part)
            if path.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        shutil.rmtree(part)
    except OSError as error:
        raise InputError(f"{part} cannot be moved to {folder} ({error}); make way and {AGAIN}.") from error
