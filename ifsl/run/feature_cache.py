"""A cache of the features that a frozen backbone computes, kept between training steps (chapter 11).

Letters: B episodes, N ways, K shots, D channels, h w feature grid, S image side.
"""

import torch
from torch import Tensor

from ..data.episodes import Draw
from ..errors import InputError
from ..learners.learner import Features, Learner


class FeatureCache:
    """Encodes each image once and returns the kept features from then on.

    Training never augments images, so a frozen backbone computes the same features of an image in every step. Images
    are encoded one at a time, so that the features do not depend on which batch an image came in first. A query is kept
    under its name, a support under its name and class, because its mask enters the features of most learners.

    Memory: 1.4 MB an image for EfficientNet-Lite0 at 272 px, 40 MB for ResNet-50 at 400 px, 50 MB for the query of a
    vision transformer; twice that for an image that is both a query and a support. Raises `InputError` for a learner
    whose backbone is trained.
    """

    def __init__(self, learner: Learner):
        if not learner.frozen:
            raise InputError(
                f"{learner.method} trains its backbone, so there is nothing to keep; leave out cache_features."
            )
        self.learner = learner
        self.kept: dict[tuple[str, int], Features] = {}  # (image name, class id; 0 for a query): features of one image

    def features(
        self, draws: list[Draw], query: Tensor, supports: Tensor, masks: Tensor | None
    ) -> tuple[Features, Features]:
        """Features of the queries and of the supports of B episodes, as `Learner.maps` takes them.

        draws: the names in each episode; query: (B, 3, S, S); supports: (B, N, K, 3, S, S); masks: (B, N, K, S, S), or
        None for class tags alone (weak).
        """
        masks = torch.ones_like(supports[:, :, :, 0]) if masks is None else masks.to(query.dtype)
        queries = [(drawn.query, 0) for drawn in draws]
        shots = [
            (name, class_id)
            for drawn in draws
            for class_id, names in zip(drawn.classes, drawn.support, strict=True)
            for name in names
        ]
        return (
            self.look_up(queries, self.learner.encode_query, query),
            self.look_up(shots, self.learner.encode_support, supports.flatten(0, 2), masks.flatten(0, 2)),
        )

    def look_up(self, keys: list[tuple[str, int]], encode, *inputs: Tensor) -> Features:
        """The features of M images, one for each key; `encode(*inputs)` is called for those that are not kept yet."""
        for i, key in enumerate(keys):
            if key not in self.kept:
                with torch.no_grad():
                    self.kept[key] = encode(*(x[i : i + 1] for x in inputs))
        return concatenate([self.kept[key] for key in keys])


def concatenate(pyramids: list[Features]) -> Features:
    """Pyramids of one image each, (1, D, h, w) at every bottleneck, as one pyramid of M images."""
    levels = zip(*pyramids, strict=True)
    return [[torch.cat(bottleneck) for bottleneck in zip(*level, strict=True)] for level in levels]
