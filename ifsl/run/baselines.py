"""Baselines without training: matching colours, a threshold on untrained correlations, a fixed reply.

What a learner adds shows only beside something that has learned nothing. Each baseline is a `Learner`, so `evaluate`
takes it like any other. It gives each cell of the query a score from 0 to 1 for each class, and two thresholds decide:
a class is present where its largest score reaches the first, and its mask has the cells above the second (none if the
class is absent). `choose_thresholds` finds them on episodes of the training classes.

Letters: B episodes, N ways, K shots, M images, D channels, S image side, h w size of a score map.
"""

from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.benchmarks import Benchmark
from ..data.images import MEAN, STD
from ..data.loading import EpochSampler, TrainEpisodes, loader
from ..errors import InputError, is_int, shown
from ..learners.backbones import Features, build_backbone
from ..learners.correlation import correlation_pyramid, normalize
from ..learners.learner import Learner
from ..learners.maps import Maps, merge_classes, resize

LEVELS = (2, 3, 4)
BINS = 12
"""The colour histogram has this many bins for each of red, green and blue."""
WINDOW = 9
"""Side of the window over which back-projected colours are averaged, in cells of two pixels."""
STEPS = 1000
"""Thresholds are multiples of 1 / STEPS."""
EPISODES = 500
"""How many training episodes thresholds are chosen on."""
SHARPNESS = 1000.0
"""Factor from a score's distance to the threshold to a logit: so large that probabilities are 0 or 1."""


class Baseline(Learner):
    """A score for each cell, and the two thresholds that turn scores into `Maps`. A subclass defines `score`.

    thresholds: (2,) for presence and for the mask, both 0.5 until they are chosen.
    """

    def __init__(self, method: str, backbone: str):
        if backbone not in self.backbones:
            names = ", ".join(self.backbones)
            raise InputError(f"There is no baseline on the backbone {shown(backbone)}; choose one of {names}.")
        super().__init__(backbone)
        self.method = method
        self.thresholds = nn.Parameter(torch.full((2,), 0.5), requires_grad=False)

    def frozen_modules(self) -> list[nn.Module]:
        """None, unless there is a backbone; the thresholds have no gradient anyway."""
        return []

    def score(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """Scores (B, N, h, w) from 0 to 1; the arguments are those of `Learner.compare`."""
        raise NotImplementedError

    def score_episode(self, query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
        """Scores (B, N, h, w) of an episode's images and masks, which have the shapes of `Learner.maps`."""
        support = self.encode_support(supports.flatten(0, 2), masks.flatten(0, 2))
        return self.score(self.encode_query(query), support, masks)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Scores to maps: a logit is the score's distance to the mask's threshold."""
        score = self.score(query, support, masks)
        presence = score.amax(dim=(-2, -1)) >= self.thresholds[0]
        logit = SHARPNESS * (score - self.thresholds[1]).where(presence[..., None, None], -1.0)
        log_prob = F.logsigmoid(torch.stack([-logit, logit], dim=2))
        return Maps(log_prob, merge_classes(log_prob), presence, log_prob[:, :, None])


class Constant(Baseline):
    """The same reply to every episode: nothing is there, or every class is there and everywhere."""

    def __init__(self, present: bool, backbone: str = "efficientnet_lite0"):
        super().__init__("always-there" if present else "nothing-there", backbone)
        self.reply = float(present)

    def encode_query(self, images: Tensor) -> Features:
        return []

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        return []

    def score(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """The same score (B, N, 1, 1) for all."""
        return masks.new_full((*masks.shape[:2], 1, 1), self.reply)


class ColourHistogram(Baseline):
    """How typical the colour of each query pixel is of the supports' pixels under the mask, compared with the others.

    Source: Swain & Ballard, *Color Indexing*, IJCV 7(1), 1991 (a ratio of histograms, projected back onto the image and
    smoothed). Their ratio divides by the histogram of the searched image; ours by that of the supports.
    """

    def __init__(self, backbone: str = "efficientnet_lite0"):
        super().__init__("colour-histogram", backbone)

    def encode_query(self, images: Tensor) -> Features:
        """The bin of every second pixel's colour: (M, 3, S, S) to one level with one map (M, 1, S/2, S/2)."""
        colours = images[:, :, ::2, ::2] * STD.to(images) + MEAN.to(images)
        red, green, blue = (colours * BINS).long().clamp(0, BINS - 1).unbind(dim=1)
        return [[((red * BINS + green) * BINS + blue)[:, None]]]

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        return self.encode_query(images)

    def score(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """(B, N, S/2, S/2): the mean over a window of inside / (inside + outside), read at the bin of each pixel.

        inside, outside: the shares of the supports' pixels under and beside the mask that have this colour.
        """
        [[query]], [[support]] = query, support  # bins
        batch, way, shot = masks.shape[:3]
        bins = support.reshape(batch * way, -1)
        inside = masks[..., ::2, ::2].reshape(batch * way, -1)
        ratio = divide(count_colours(bins, inside), count_colours(bins, 1 - inside))  # B·N, bins
        pixels = query.flatten(1).repeat_interleave(way, dim=0)
        projected = ratio.gather(1, pixels).view(batch, way, *query.shape[-2:])
        return F.avg_pool2d(projected, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)


def count_colours(bins: Tensor, weights: Tensor) -> Tensor:
    """A smoothed histogram that sums to 1 (to 0 if all weights are 0): bins, weights (M, pixels) to (M, BINS ** 3)."""
    counts = weights.new_zeros(len(bins), BINS**3).scatter_add(1, bins, weights)
    cube = counts.view(-1, 1, BINS, BINS, BINS)
    smooth = F.avg_pool3d(F.pad(cube, (1,) * 6), 3, stride=1).flatten(1)
    return smooth / smooth.sum(dim=1, keepdim=True).clamp(min=1e-6)


def divide(inside: Tensor, outside: Tensor) -> Tensor:
    """inside / (inside + outside), bin by bin, and near 0 for a colour that neither has."""
    return inside / (inside + outside + 1e-4)


class UntrainedThreshold(Baseline):
    """The largest correlation of each query cell with a support cell inside the mask, at one level of the backbone.

    A correlation is the mean cosine over the bottlenecks of the level, as in the prior of chapter 03.
    """

    def __init__(self, level: int, backbone: str = "efficientnet_lite0", pretrained: bool = True):
        if not is_int(level) or level not in LEVELS:
            raise InputError(f"There is no level {shown(level)}; choose 2, 3 or 4.")
        super().__init__(f"untrained-layer{level}", backbone)
        self.level = level
        self.backbone = build_backbone(backbone, pretrained)
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        return [self.backbone]

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to the bottlenecks of the one level."""
        return [self.backbone.pyramid(images)[self.level - LEVELS[0]]]

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        return self.encode_query(images)

    def score(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """(B, N, h, w): maximum over the cells of all K shots that the mask touches."""
        batch, way, shot = masks.shape[:3]
        grid = support[0][0].shape[-2:]
        inside = resize(masks.flatten(1, 2), grid).unflatten(1, (way, shot)) > 0  # B, N, K, h, w
        [correlations] = correlation_pyramid(normalize(query), normalize(support))  # B·N·K, L, h, w, h, w
        mean = correlations.mean(dim=1).unflatten(0, (batch, way, shot))
        return (mean * inside[:, :, :, None, None]).amax(dim=(2, 5, 6))


# Thresholds -----------------------------------------------------------------------------------------------------------


def build_baselines(
    trn: Benchmark, backbone: str = "efficientnet_lite0", pretrained: bool = True, episodes: int = EPISODES
) -> dict[str, Baseline]:
    """All baselines by name, ready to be evaluated: their thresholds are chosen on `episodes` training episodes.

    trn: the training split of the fold that they will be tested on.
    """
    fixed = [Constant(False, backbone), Constant(True, backbone)]
    matching = [ColourHistogram(backbone), *(UntrainedThreshold(level, backbone, pretrained) for level in LEVELS)]
    for baseline in matching:
        choose_thresholds(baseline, trn, episodes)
    return {baseline.method: baseline.eval() for baseline in fixed + matching}


@torch.inference_mode()
def choose_thresholds(
    baseline: Baseline,
    trn: Benchmark,
    episodes: int = EPISODES,
    shot: int = 1,
    *,
    seed: int = 0,
    batch: int = 8,
    workers: int | None = None,
) -> tuple[float, float]:
    """Set a baseline's thresholds for presence and for the mask, and return them.

    They are chosen on the first `episodes` 1-way episodes that a training run with this seed would see: the first
    threshold has the best ER, the second the best mIoU when the mask is empty where the class is called absent. trn:
    the training split. Raises `InputError` for the test split, whose episodes must not decide anything.
    """
    scores = Scores()
    for found in training_batches(trn, baseline.image_size, episodes, shot, seed=seed, batch=batch, workers=workers):
        scores.add(baseline.score_episode(found["query"], found["supports"], found["masks"]), found)
    first, second = scores.choose()
    baseline.thresholds.copy_(torch.tensor([first, second]))
    return first, second


def training_batches(
    trn: Benchmark,
    size: int,
    episodes: int,
    shot: int = 1,
    *,
    seed: int = 0,
    batch: int = 8,
    workers: int | None = None,
) -> Iterator[dict]:
    """Batches (see `collate`) of the first 1-way episodes that a training run with this seed would see.

    Raises `InputError` for the test split.
    """
    if trn.split != "trn":
        raise InputError("Thresholds are chosen on training classes; give a benchmark with split trn.")
    if not is_int(episodes) or episodes < 1:
        raise InputError(f"episodes is {shown(episodes)}; give a whole number from 1.")
    data = TrainEpisodes(trn, 1, shot, size, seed)
    yield from loader(data, batch, workers, list(islice(EpochSampler(len(data), seed), episodes)))


class Scores:
    """Scores of 1-way episodes, kept as what thresholds are chosen by: the largest one, and pixels above thresholds."""

    def __init__(self):
        self.peaks: list[float] = []
        self.present: list[bool] = []
        self.classes: list[int] = []
        self.counts: list[Tensor] = []

    def add(self, score: Tensor, found: dict) -> None:
        """Add the scores (B, 1, h, w) of a batch of training episodes."""
        self.peaks += score.amax(dim=(1, 2, 3)).tolist()
        self.present += found["presence"][:, 0].tolist()
        self.classes += found["classes"][:, 0].tolist()
        maps = resize(score, found["query"].shape[-2:])[:, 0]
        self.counts += [count_above(one, mask == 1) for one, mask in zip(maps, found["query_masks"], strict=True)]

    def choose(self) -> tuple[float, float]:
        """The thresholds for presence and for the mask; see `choose_thresholds`."""
        first = choose_presence(torch.tensor(self.peaks), torch.tensor(self.present))
        said = torch.tensor(self.peaks) >= first
        return first, choose_mask(torch.stack(self.counts), said, torch.tensor(self.classes))

    def measure(self, first: float, second: float) -> tuple[float, float]:
        """ER and mIoU in % with these thresholds; mIoU is the mean over the classes that occur."""
        said, present = torch.tensor(self.peaks) >= first, torch.tensor(self.present)
        ious = class_ious(torch.stack(self.counts), said, torch.tensor(self.classes))
        miou = ious.mean(dim=0)[round(second * STEPS) + 1]
        return 100 * (said == present).double().mean().item(), 100 * miou.item()


def choose_presence(peaks: Tensor, present: Tensor) -> float:
    """The threshold with the best ER. peaks: (E,) largest scores of E episodes; present: (E,) bool.

    The candidates are the multiples of 1 / STEPS from 0 (always present) to 1 + 1 / STEPS (never).
    """
    candidates = torch.arange(STEPS + 2) / STEPS
    right = ((peaks >= candidates[:, None]) == present).sum(dim=1)
    return candidates[find_best(right)].item()


def choose_mask(counts: Tensor, said: Tensor, classes: Tensor) -> float:
    """The threshold with the best mIoU, where an episode's mask is empty unless its class is called present.

    counts: (E, 2, STEPS + 1) of `count_above`; said: (E,) bool, which episodes are called present; classes: (E,) ids.
    """
    return (find_best(class_ious(counts, said, classes).mean(dim=0)) - 1) / STEPS


def class_ious(counts: Tensor, said: Tensor, classes: Tensor) -> Tensor:
    """The IoU of each class that occurs at each threshold, (classes, STEPS + 1); arguments as for `choose_mask`."""
    truth, above = counts[:, 0, :1], counts * said[:, None, None]
    intersection, union = above[:, 0], truth + above[:, 1]
    own = [classes == c for c in classes.unique()]
    return torch.stack([intersection[one].sum(dim=0) / union[one].sum(dim=0).clamp(min=1) for one in own])


def count_above(score: Tensor, truth: Tensor) -> Tensor:
    """Count the pixels above each threshold: (2, STEPS + 1) int64, a row for the object and one for the rest.

    score: (H, W) from 0 to 1; truth: (H, W) bool. Column k counts the scores above (k - 1) / STEPS: column 0 all of
    them.
    """
    columns = (score.clamp(0, 1) * STEPS).ceil().long()
    counts = [torch.bincount(columns[where], minlength=STEPS + 1) for where in (truth, ~truth)]
    return torch.stack(counts).flip(1).cumsum(dim=1).flip(1)


def find_best(values: Tensor) -> int:
    """The index of the largest value; of several equal ones, the middle one."""
    best = (values == values.max()).nonzero()[:, 0]
    return best[len(best) // 2].item()
