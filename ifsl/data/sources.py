"""Where the real data come from: addresses, sizes and digests of archives and image lists (chapter 13)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .fetch import Remote


@dataclass(frozen=True)
class Archive:
    """An archive, and which of its files are kept.

    remote: the archive on the network.
    folder: where its files go, below the root.
    wanted: expression that the names of wanted members match; group 1 is the name in the folder.
    count: how many members are wanted.
    unpacked: how many bytes they have, roughly.
    there: globs that find the files in the folder.
    """

    remote: Remote
    folder: str
    wanted: str
    count: int
    unpacked: int
    there: tuple[str, ...]

    def is_there(self, root: Path, count: int | None = None) -> bool:
        """Whether the folder has all files (`count` of them, if that is not the number of wanted members)."""
        return sum(1 for glob in self.there for _ in (root / self.folder).glob(glob)) >= (count or self.count)

    def download_path(self, root: Path) -> Path:
        """Where the archive itself is until it is unpacked."""
        return root / "downloads" / self.remote.name

    def part_folder(self, root: Path) -> Path:
        """Where the archive is unpacked first: beside its folder (which may be a link), so on the same disk."""
        folder = (root / self.folder).resolve()
        return folder.with_name(f"{folder.name}.part")


VOC = Archive(
    remote=Remote(
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012",
        "VOCtrainval_11-May-2012.tar",
        1_999_639_040,
        "sha256:e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    ),
    folder="VOC2012",
    wanted=r"VOCdevkit/VOC2012/(JPEGImages/\w+\.jpg|SegmentationClass/\w+\.png|ImageSets/Segmentation/val\.txt)",
    count=17_125 + 2_913 + 1,
    unpacked=1_950_000_000,
    there=("JPEGImages/*.jpg", "SegmentationClass/*.png", "ImageSets/Segmentation/val.txt"),
)
SBD = Archive(
    remote=Remote(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours",
        "benchmark.tgz",
        1_419_539_633,
        "md5:82b4d87ceb2ed10f6038a1cba92111cb",
    ),
    folder="VOC2012/SegmentationClassAug",
    wanted=r"benchmark_RELEASE/dataset/cls/(\w+)\.mat",
    count=11_355,
    unpacked=150_000_000,
    there=("*.png",),
)
AUGMENTED = 12_031
"""Masks in SegmentationClassAug: VOC's own 2,913 and the 9,118 of SBD's that VOC has none for."""

COCO_BASE = "http://images.cocodataset.org"
COCO = (
    Archive(
        remote=Remote(
            f"{COCO_BASE}/zips",
            "train2014.zip",
            13_510_573_713,
            "sha256:ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
        ),
        folder="COCO2014/train2014",
        wanted=r"train2014/(COCO_train2014_\d{12}\.jpg)",
        count=82_783,
        unpacked=13_600_000_000,
        there=("*.jpg",),
    ),
    Archive(
        remote=Remote(
            f"{COCO_BASE}/zips",
            "val2014.zip",
            6_645_013_297,
            "sha256:fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
        ),
        folder="COCO2014/val2014",
        wanted=r"val2014/(COCO_val2014_\d{12}\.jpg)",
        count=40_504,
        unpacked=6_700_000_000,
        there=("*.jpg",),
    ),
    Archive(
        remote=Remote(
            f"{COCO_BASE}/annotations",
            "annotations_trainval2014.zip",
            252_872_794,
            "sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
        ),
        folder="COCO2014/annotations",
        wanted=r"annotations/(instances_(?:train|val)2014\.json)",
        count=2,
        unpacked=500_000_000,
        there=("instances_*2014.json",),
    ),
)
"""The largest first: then the archives never need more disk than the first of them."""

LISTS_BASE = (
    "https://raw.githubusercontent.com/dahyun-kang/ifsl/d0b0c0d1b01c036eaae1470585764d1321ec5336/fs-cs/data/splits"
)
# fmt: off
LISTS = {
    "pascal/trn/fold0.txt": (36576, "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2"),
    "pascal/trn/fold1.txt": (54800, "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e"),
    "pascal/trn/fold2.txt": (94128, "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609"),
    "pascal/trn/fold3.txt": (33376, "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17"),
    "pascal/val/fold0.txt": (5536, "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df"),
    "pascal/val/fold1.txt": (7216, "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14"),
    "pascal/val/fold2.txt": (11600, "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb"),
    "pascal/val/fold3.txt": (5536, "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a"),
    "coco/trn/fold0.pkl": (3330536, "5a94e113d8c150a7e20723360dd9779eaa1305ccddc28dff4501e29ed3df5c45"),
    "coco/trn/fold1.pkl": (4090562, "69629cdd84fd57b3bb4e281b5bf65440f7ecf9b62eb119f1d8d7fe78b0fb02a8"),
    "coco/trn/fold2.pkl": (4064175, "594adc4b8ebecf9b8b559284f334ff3dd3fa3c150317cbc6ce7917ce81a08c03"),
    "coco/trn/fold3.pkl": (4099479, "07b38ccc9e15ebfd1ab6288eeaad3a5f289bbba3419807212169fd44b89cc5c5"),
    "coco/val/fold0.pkl": (1272708, "96002389be83b4730d13b814398f54eb2baf5c3283598ec2288d60624d6ef9c3"),
    "coco/val/fold1.pkl": (732057, "a34deecdf2858fc436f5ea4d5a2d46b6674ce09f7ebce41c34b694116381fa56"),
    "coco/val/fold2.pkl": (624406, "0f275c5e9bf538f6ef8a95054f6daf2519b53785c4ab7fd07e633dda57dac1e5"),
    "coco/val/fold3.pkl": (602257, "927597bd78036a460abdab243330667af6ceffdb483bc3331ae55d148f00c449"),
}
# fmt: on


def published_lists(name: str) -> list[Remote]:
    """The lists in the public repository of Kang & Cho, CVPR 2022, at the commit of the published results."""
    return [
        Remote(LISTS_BASE, file, size, f"sha256:{total}")
        for file, (size, total) in LISTS.items()
        if file.startswith(f"{name}/")
    ]
