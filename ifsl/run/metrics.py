"""The two metrics, as published: 0/1 exact ratio and mean IoU (chapters 04 and 12).

Both are torchmetrics, so they add up over batches and over processes. Source: Kang & Cho, CVPR 2022, section 5.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from ..errors import InputError, is_int, shown
from ..learners.maps import VOID


class ExactRatio(Metric):
    """0/1 exact ratio (ER): the share of episodes whose N presence predictions are all correct, in %.

    Higher is better: the letters look like "error rate", but it is an accuracy. way: N, or None where it
    differs between updates, as in fully augmented episodes.
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, way: int | None, **kwargs):
        super().__init__(**kwargs)
        if way is not None and (not is_int(way) or way < 1):
            raise InputError(f"way is {shown(way)}; give a whole number from 1.")
        self.way = way
        self.add_state("exact", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("episodes", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Count B episodes; predicted, true: (B, N) bool, which classes the queries show."""
        for presence in (predicted, true):
            if not isinstance(presence, Tensor):
                raise InputError(
                    f"presence is a {type(presence).__name__}; give a torch tensor (B, {self.way or 'N'})."
                )
        unfit = self.way is not None and predicted.shape[-1:] != (self.way,)
        if predicted.shape != true.shape or predicted.dim() != 2 or unfit:
            raise InputError(
                f"presence has shapes {tuple(predicted.shape)} and {tuple(true.shape)}; give (B, {self.way or 'N'}) "
                "twice."
            )
        self.exact += (predicted.bool() == true.bool()).all(dim=1).sum()
        self.episodes += len(true)

    def compute(self) -> Tensor:
        """The ratio in %, 0-dimensional. Raises `InputError` if no episode was counted."""
        if self.episodes == 0:
            raise InputError("There is no ER of no episode; update the metric first.")
        return 100 * self.exact / self.episodes


class MeanIoU(Metric):
    """Mean over the split's classes of intersection over union, in %.

    Pixels are counted over all episodes under their absolute class id, the background under 0. The mean leaves out the
    background. A class whose union is empty has an IoU of 0, as published (its union is raised to 1).

    class_ids: the ids of the split's classes.
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, class_ids: list[int], **kwargs):
        super().__init__(**kwargs)
        self.class_ids = list(class_ids) if isinstance(class_ids, Iterable) else []
        if not self.class_ids or not all(is_int(c) and c >= 1 for c in self.class_ids):
            raise InputError(f"class_ids is {shown(class_ids)}; give the ids of the split's classes, from 1.")
        counts = torch.zeros(max(self.class_ids) + 1, dtype=torch.long)
        self.add_state("intersection", counts, dist_reduce_fx="sum")
        self.add_state("union", counts.clone(), dist_reduce_fx="sum")

    def update(self, predicted: Tensor | list[Tensor], true: Tensor | list[Tensor], classes: Tensor) -> None:
        """Count the pixels of B queries.

        predicted, true: (B, H, W), or lists of B (H, W), with 0 background and n for way n. classes: (B, N) absolute
        ids of the ways; where they are on the CPU, nothing waits for a GPU. Pixels whose truth is 255 (void) are left
        out. Raises `InputError` for classes of another split, shapes that differ and, on the CPU, values above N.
        """
        if not len(predicted) == len(true) == len(classes):
            raise InputError(
                f"{len(predicted)} predictions, {len(true)} masks, {len(classes)} rows of classes; give B of each."
            )
        strays = set(classes.flatten().tolist()) - set(self.class_ids)
        if strays:
            raise InputError(f"class {min(strays)} is not one of the split's {self.class_ids}; give its classes.")
        ids = F.pad(classes, (1, 0)).to(self.union.device, non_blocking=True)  # B, 1 + N: the background is 0
        for guess, truth, ways in zip(predicted, true, ids, strict=True):
            if guess.shape != truth.shape:
                raise InputError(
                    f"a prediction {tuple(guess.shape)} meets a mask {tuple(truth.shape)}; give equal sizes."
                )
            intersection, union = count_pixels(guess, truth, len(ways))
            self.intersection.index_add_(0, ways, intersection.to(ways.device))
            self.union.index_add_(0, ways, union.to(ways.device))

    def iou_per_class(self) -> dict[int, float]:
        """{class id: IoU in %} of every class of the split."""
        iou = 100 * self.intersection / self.union.clamp(min=1)
        return {c: iou[c].item() for c in self.class_ids}

    def foreground_background(self) -> float:
        """FB-IoU in %: the mean of the background's IoU and the IoU of all classes taken as one foreground."""
        fore = self.intersection[1:].sum() / self.union[1:].sum().clamp(min=1)
        back = self.intersection[0] / self.union[0].clamp(min=1)
        return 50 * (fore + back).item()

    def compute(self) -> Tensor:
        """The mean in %, 0-dimensional."""
        iou = 100 * self.intersection / self.union.clamp(min=1)
        return iou[self.class_ids].mean()


def count_pixels(guess: Tensor, truth: Tensor, labels: int) -> tuple[Tensor, Tensor]:
    """Pixels in the intersection and in the union of two masks (H, W), for each label from 0: two (labels,) tensors.

    Pixels whose truth is `VOID` are left out. Raises `InputError` for other values than labels; on a GPU they are not
    looked for, because reading the answer would make every step wait.
    """
    guess, truth, void = guess.long(), truth.long(), truth == VOID
    if not (guess.is_cuda or truth.is_cuda):
        valid = (guess >= 0) & (guess < labels) & (truth >= 0) & (truth < labels)
        if not (valid | void).all():
            raise InputError(f"a mask holds values outside 0…{labels - 1}; 0 is background, n way n.")
    pairs = torch.where(void, labels**2, truth * labels + guess).flatten()  # the number of a pair of labels
    counts = torch.zeros(labels**2 + 1, dtype=torch.long, device=pairs.device)
    counts.index_add_(0, pairs, torch.ones_like(pairs))
    confusion = counts[:-1].view(labels, labels)  # true label, guessed label
    intersection = confusion.diagonal()
    return intersection, confusion.sum(dim=0) + confusion.sum(dim=1) - intersection
