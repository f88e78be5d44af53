"""Scores that papers and their authors' READMEs report, means over the four folds in % (chapter 12).

Sources: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*, CVPR 2022 (PANet,
PFENet, HSNet, HM, ASNet); README of github.com/dahyun-kang/cst (CST); README of github.com/visinf/emat (EMAT,
and CST on EMAT's backbone). Each is of one run, without an interval.
"""

from typing import NamedTuple


class Score(NamedTuple):
    """A reported pair of metrics in %: ER and mIoU, in FS-S mIoU and FB-IoU."""

    first: float
    second: float


SETTINGS = (("pascal", 1, 1), ("pascal", 2, 1), ("coco", 1, 1), ("coco", 2, 1))
"""Benchmark, ways and shots of the columns of `FS_CS`."""

FS_CS = {
    ("panet", "resnet50"): ((69.0, 36.2), (50.9, 37.2), (66.7, 25.2), (48.5, 23.6)),
    ("pfenet", "resnet50"): ((74.6, 43.0), (41.0, 35.3), (71.4, 31.9), (36.5, 22.6)),
    ("hsnet", "resnet50"): ((83.7, 49.7), (67.3, 43.5), (77.0, 34.3), (62.5, 29.5)),
    ("asnethm", "resnet50"): ((83.0, 51.7), (59.3, 46.5), (57.1, 31.8), (78.6, 36.2)),
    ("asnet", "resnet50"): ((84.9, 52.3), (68.3, 47.8), (78.6, 35.8), (63.1, 31.6)),
    ("cst", "dino_vits8"): ((85.7, 55.5), (70.4, 53.7), (80.8, 38.3), (64.0, 36.2)),
    ("cst", "dinov2_vits14"): (None, (80.58, 63.28), None, (78.70, 51.47)),
    ("emat", "dinov2_vits14"): (None, (82.70, 63.38), None, (80.07, 52.81)),
}
"""ER and mIoU with masks; the columns are `SETTINGS`.

HM's scores on COCO are as printed, and read as if those of 1 and 2 ways were swapped.
"""

FS_CS_WEAK = {("cst", "dino_vits8"): ((79.9, 33.2), (64.6, 31.9), (78.2, 19.6), (62.4, 18.3))}
"""ER and mIoU from class tags alone; the columns are `SETTINGS`."""

FS_S = {
    ("asnet", "resnet50"): {1: (66.1, 77.7), 5: (70.8, 80.4)},
    ("asnet", "resnet101"): {1: (66.9, 78.0), 5: (71.1, 81.0)},
    ("asnet", "vgg16"): {1: (60.6, 73.2), 5: (64.9, 76.5)},
}
"""mIoU and FB-IoU of FS-S on Pascal-5i by the number of shots."""


def find_published(
    method: str,
    backbone: str,
    benchmark: str,
    way: int = 1,
    shot: int = 1,
    *,
    task: str = "fs-cs",
    weak: bool = False,
) -> Score | None:
    """The reported score of a learner in a setting, None if there is none."""
    if task == "fs-s":
        found = FS_S.get((method, backbone), {}).get(shot) if (benchmark, way, weak) == ("pascal", 1, False) else None
    elif (benchmark, way, shot) in SETTINGS:
        column = SETTINGS.index((benchmark, way, shot))
        found = (FS_CS_WEAK if weak else FS_CS).get((method, backbone), (None,) * len(SETTINGS))[column]
    else:
        found = None
    return found and Score(*found)
