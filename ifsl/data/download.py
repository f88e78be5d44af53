"""Real data: fetches Pascal VOC 2012, SBD, COCO 2014 and the published lists, and brings them into the layout that the
benchmarks read (chapter 13). See data/README.md.

    python -m ifsl.download pascal     pictures and masks of Pascal-5i
    python -m ifsl.download coco       pictures and annotations of COCO-20i
    python -m ifsl.download masks      COCO's annotations to class-id masks
    python -m ifsl.download lists      the published image lists
    python -m ifsl.download derive     lists made from the masks, where the published ones cannot be had
    python -m ifsl.download learners   the small learners that the course keeps, into the user's cache
    python -m ifsl.download weights    ImageNet weights of the three backbones of the paper, into PyTorch's cache
    python -m ifsl.download check      what is there, what is missing, and what would make a result wrong

The data are in --root, by default data. After an interruption, give the command again to go on.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ..errors import InputError, writing
from ..weights import TORCHVISION_WEIGHTS, fetch_weights
from .check import check
from .classes import CLASSES
from .coco import rasterise_all
from .derive import derive_lists
from .fetch import fetch, settle, unpack
from .files import write_whole
from .kept import fetch_kept
from .lists import DERIVED_MARK
from .sources import AUGMENTED, COCO, SBD, VOC, Archive, published_lists

ROOT = "data"


# Archives -------------------------------------------------------------------------------------------------------------


def fetch_pascal(root: Path, mirror: str | None = None) -> None:
    """Pictures and masks of VOC 2012, and SegmentationClassAug.

    SegmentationClassAug is made of VOC's own masks and, for pictures that VOC has no mask of, those of SBD (Hariharan
    et al., *Semantic Contours from Inverse Detectors*, ICCV 2011). VOC's masks have void pixels round the objects,
    SBD's have none.
    """
    lacks_voc, lacks_sbd = not VOC.is_there(root), not SBD.is_there(root, AUGMENTED)
    make_room(root, [archive for archive, lacks in ((VOC, lacks_voc), (SBD, lacks_sbd)) if lacks])
    if lacks_voc:
        fetch_archive(VOC, root, mirror)
    if lacks_sbd:
        part = SBD.part_folder(root)
        own = sorted((root / VOC.folder / "SegmentationClass").glob("*.png"))
        with writing(f"The folder {part} of masks", "make room and run this again"):
            part.mkdir(parents=True, exist_ok=True)
            for mask in own:
                write_whole(part / mask.name, mask.read_bytes(), sync=False)
        fetch_archive(SBD, root, mirror, suffix=".png", convert=convert_mat)


def fetch_coco(root: Path, mirror: str | None = None) -> None:
    """Pictures and annotations of COCO 2014 (Lin et al., *Microsoft COCO*, ECCV 2014)."""
    lacking = [archive for archive in COCO if not archive.is_there(root)]
    make_room(root, lacking)
    for archive in lacking:
        fetch_archive(archive, root, mirror)


def make_room(root: Path, archives: list[Archive]) -> None:
    """Say how much will be fetched and how much disk that needs; raise `InputError` if there is less."""
    peak = stays = left = 0
    for archive in archives:
        path = archive.download_path(root)
        have = sum(p.stat().st_size for p in (path, path.with_name(f"{path.name}.part")) if p.exists())
        left += archive.remote.size - have
        peak = max(peak, stays + archive.remote.size - have + archive.unpacked)
        stays += archive.unpacked
    if not archives:
        return
    home = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(home).free
    need = f"{left / 1e9:.1f} GB to fetch; {peak / 1e9:.1f} GB of disk needed for it, {stays / 1e9:.1f} GB afterwards"
    if free < peak:
        raise InputError(f"{need}, but {home} has {free / 1e9:.1f} GB free; make room or give --root another disk.")
    print(f"{need}; {free / 1e9:.1f} GB free.", flush=True)


def fetch_archive(
    archive: Archive,
    root: Path,
    mirror: str | None,
    suffix: str = "",
    convert: Callable[[BinaryIO, str], bytes] | None = None,
) -> None:
    """Fetch an archive, unpack it and delete it. Its folder appears, or gets the files it lacks, once all are there.

    suffix, convert: see `unpack`.
    """
    path, part = archive.download_path(root), archive.part_folder(root)
    fetch(archive.remote, path, mirror)
    unpack(path, part, archive.wanted, archive.count, 2 * archive.unpacked, suffix, convert)
    settle(part, part.with_suffix(""))
    path.unlink()


def convert_mat(file: BinaryIO, name: str) -> bytes:
    """A mask of SBD, MATLAB's structure GTcls with the field Segmentation (H, W) of class ids, as a grey PNG.

    name: what the file will be called, for the message if it is broken.
    """
    from scipy.io import loadmat

    try:
        mask = np.asarray(loadmat(BytesIO(file.read()), variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0])
        if mask.ndim != 2 or mask.max() > CLASSES["pascal"]:
            raise ValueError(f"shape {mask.shape}, values up to {mask.max()}")
    except Exception as error:  # a broken .mat can fail in any way
        raise InputError(f"{name} is no mask of SBD ({error}); fetch the archive again.") from error
    png = BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(png, format="PNG")
    return png.getvalue()


# Lists ----------------------------------------------------------------------------------------------------------------


def fetch_lists(root: Path, name: str, mirror: str | None = None) -> Path:
    """The eight published lists of a benchmark; returns their folder. Derived ones are replaced once all are there."""
    folder = root / "splits" / name
    derived = (folder / DERIVED_MARK).is_file()
    target = folder.with_name(f"{name}.part") if derived else folder
    for file in published_lists(name):
        fetch(file, target / file.name.removeprefix(f"{name}/"), mirror)
    if derived:
        shutil.rmtree(folder)
        target.rename(folder)
    return folder


# The command line -----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m ifsl.download`."""
    what = ("pascal", "coco", "masks", "lists", "derive", "learners", "weights", "check")
    parser.add_argument("what", choices=what)
    name_help = "for lists, derive, check: a benchmark (default: both); for weights: a backbone (default: the three)"
    parser.add_argument("name", nargs="?", metavar="NAME", help=name_help)
    parser.add_argument("--root", default=ROOT, type=Path, help="folder of the data (default: %(default)s)")
    parser.add_argument("--mirror", metavar="URL", help="fetch from there instead: URL/<file name>")
    parser.add_argument("--workers", type=int, help="processes for masks, derive and check (default: one a core)")


def run(options: argparse.Namespace) -> int:
    """Run one command; returns the exit status. Raises `InputError` for options that cannot be used."""
    what, root, mirror, workers = options.what, options.root, options.mirror, options.workers
    name = options.name
    if name and what in ("pascal", "coco", "masks", "learners"):
        raise InputError(f"{what} takes no benchmark, leave out {name}.")
    if name and what in ("lists", "derive", "check") and name not in CLASSES:
        raise InputError(f"There is no benchmark {name!r}; choose from {', '.join(CLASSES)}.")
    if mirror and what == "weights":
        raise InputError("weights takes no --mirror: PyTorch downloads them from their own address.")
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}, give a whole number from 1.")
    names = [name] if name else list(TORCHVISION_WEIGHTS if what == "weights" else CLASSES)
    if what == "pascal":
        fetch_pascal(root, mirror)
        print(f"VOC 2012 is in {root / 'VOC2012'}; next: python -m ifsl.download lists --root {root}")
    elif what == "coco":
        fetch_coco(root, mirror)
        print(f"COCO 2014 is in {root / 'COCO2014'}; next: python -m ifsl.download masks --root {root}")
    elif what == "masks":
        print(rasterise_all(root, workers))
    elif what == "lists":
        for name in names:
            print(f"The published lists of {name} are in {fetch_lists(root, name, mirror)}.")
    elif what == "derive":
        for name in names:
            print(f"{name}: {derive_lists(root, name, workers)}. These lists are derived, not the published ones.")
    elif what == "learners":
        print(f'The kept learners are in {fetch_kept(mirror)}; load one by `ifsl.load_model("tiny/asnet")`.')
    elif what == "weights":
        print(*(f"{path} is there." for path in fetch_weights(names)), sep="\n")
    else:
        reports = [check(root, name, workers) for name in names]
        print("\n".join(line for report in reports for line in report.lines))
        return 0 if all(report.complete for report in reports) else 2
    return 0
