"""What all learners share: the shapes of an episode, the frozen backbone, and the steps to a prediction (chapter 04).

Letters: B episodes, N ways, K shots, M images, S image side, h w map size, H W size of the query's own image.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..checks import check_shapes, check_sizes, check_values
from ..errors import InputError, shown
from ..tasks import check_task
from .backbones import Features
from .maps import Maps, fss_loss, predict, strong_loss, weak_loss
from .registry import BACKBONES, PYRAMIDS


class Learner(nn.Module):
    """Maps an episode to `Maps`. A subclass defines how images are encoded and how query and support are compared.

    Facts about a method are attributes of its class:
    method: its published name. backbones: the backbones it works on. options: names of the options that its constructor
    takes besides the backbone. frozen: whether the backbone stays as it was pretrained. needs_masks: why it cannot work
    from class tags alone, None if it can. unused: beginnings of the names of parameters that get no gradient.
    weak_monitor: the metric whose highest value marks the best checkpoint of a run from class tags.

    settings: what the checkpoint that it was loaded from tells about its training; empty for one that was just built.
    """

    method: str
    backbones = PYRAMIDS
    options: tuple[str, ...] = ()
    frozen = True
    needs_masks: str | None = None
    unused: tuple[str, ...] = ()
    weak_monitor = "val_er"

    def __init__(self, backbone: str):
        super().__init__()
        self.backbone_name = backbone
        self.settings: dict = {}
        self.image_size = BACKBONES[backbone].image_size  # the side S that images are resized to

    # What a subclass defines

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) query images to features."""
        return self.backbone.pyramid(images)

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """(M, 3, S, S) support images and their (M, S, S) masks to features."""
        return self.encode_query(images)

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        """Features of (B, 3, S, S) queries, and of all (B·N·K, 3, S, S) supports with their (B·N·K, S, S) masks."""
        return self.encode_query(query), self.encode_support(supports, masks)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Features of B queries and of B·N·K supports (ordered episode, way, shot), and masks (B, N, K, S, S)."""
        raise NotImplementedError

    def guess_masks(self, support: Features, whole: Tensor) -> Tensor:
        """Masks for supports that have class tags alone: as in `whole` (B, N, K, S, S), the whole image counts."""
        return whole

    def decide(self, found: Maps, sizes: list[tuple[int, int]], task: str = "fs-cs") -> tuple[Tensor, list[Tensor]]:
        """What the maps mean: presence (B, N) bool and B segmentations (H, W) of `sizes`; see `maps.predict`."""
        return predict(found, sizes, task)

    def loss(
        self, found: Maps, query_masks: Tensor, present: Tensor, task: str = "fs-cs", weak: bool = False
    ) -> Tensor:
        """The loss under a task: against the query's mask (B, S, S), or with `weak` against presence (B, N) alone."""
        if task == "fs-s":
            return fss_loss(found.log_prob[:, 0], query_masks)
        return weak_loss(found.log_prob, present) if weak else strong_loss(found.stacked, query_masks)

    @staticmethod
    def optimizer(parameters: Iterable[nn.Parameter], lr: float | None = None, weak: bool = False):
        """The published optimiser; lr: a learning rate instead of the published one."""
        return torch.optim.Adam(parameters, lr or (1e-4 if weak else 1e-3))

    # From an episode to a prediction

    def maps(
        self,
        query: Tensor,
        supports: Tensor,
        masks: Tensor | None = None,
        features: tuple[Features, Features] | None = None,
    ) -> Maps:
        """The class maps of the queries.

        query: (B, 3, S, S) normalised images; supports: (B, N, K, 3, S, S); masks: (B, N, K, S, S) of 0 and 1, or None
        for class tags alone (weak supervision; see `guess_masks`). features: what `encode_query` and `encode_support`
        return for these images, if they are cached. Raises `InputError` where the shapes do not fit, and on
        a CPU where values do not (on a GPU, `predict` checks them).
        """
        self.check_shapes(query, supports, masks)
        if query.device.type == "cpu":
            check_values(query, supports, masks)
        given = torch.ones_like(supports[:, :, :, 0]) if masks is None else masks.to(query.dtype)
        if features is None:
            features = self.encode(query, supports.flatten(0, 2), given.flatten(0, 2))
        return self.compare(*features, self.guess_masks(features[1], given) if masks is None else given)

    def forward(self, query: Tensor, supports: Tensor, masks: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, N, 2, h, w) of background and foreground; see `maps`."""
        return self.maps(query, supports, masks).log_prob

    @torch.inference_mode()
    def predict(
        self,
        query: Tensor,
        supports: Tensor,
        masks: Tensor | None = None,
        sizes: list[tuple[int, int]] | None = None,
        task: str = "fs-cs",
    ) -> tuple[Tensor, list[Tensor]]:
        """Presence (B, N) bool and a list of B segmentations (H, W) uint8, of the given `sizes` (H, W).

        Without `sizes` the segmentations have the size of the query images. task: "fs-s" takes presence for granted and
        has the shots vote (see `maps.vote`). Raises `InputError` for shapes or values that do not fit.
        """
        check_episode(self, query, supports, masks)
        check_task(task, supports.shape[1], masks is None)
        sizes = [tuple(query.shape[-2:])] * len(query) if sizes is None else check_sizes(sizes, len(query))
        return self.decide(self.maps(query, supports, masks), sizes, task)

    # The frozen backbone

    def frozen_modules(self) -> list[nn.Module]:
        """The modules that training does not change."""
        return [self.backbone]

    def freeze(self) -> None:
        """Turn off gradients in the frozen modules; a subclass calls it at the end of its constructor."""
        for module in self.frozen_modules():
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Learner":
        """As `nn.Module.train`, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for module in self.frozen_modules():
                module.eval()
        return self

    # Refusals

    @classmethod
    def check_backbone(cls, name: str) -> None:
        """Raise `InputError` for a backbone that does not exist or that this learner does not work on."""
        if not isinstance(name, str) or name not in BACKBONES:
            raise InputError(f"There is no backbone {shown(name)}; choose one of {', '.join(BACKBONES)}.")
        if name not in cls.backbones:
            raise InputError(f"{cls.method} does not work on {name}; choose {' or '.join(cls.backbones)}.")

    def check_shapes(self, query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
        """Raise `InputError` unless the shapes make up an episode (see `maps`). No value is read."""
        check_shapes(query, supports, masks, next(self.parameters()), self.needs_masks)


def check_episode(learner: Learner, query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
    """Raise `InputError` for shapes or values that do not make up an episode for this learner."""
    learner.check_shapes(query, supports, masks)
    check_values(query, supports, masks)
