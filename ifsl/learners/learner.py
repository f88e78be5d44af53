"""What the five learners share: the shapes of an episode, the frozen backbone, and the way to a prediction."""

import torch
from torch import Tensor, nn

from ..errors import InputError, is_int, shown
from .maps import Maps, segment

Features = list[list[Tensor]]
"""A pyramid: for each level the outputs of its bottlenecks, each (M, C, h, w) for M images."""


class Learner(nn.Module):
    """An episode in, maps out; a subclass says how images are encoded and how query and support are compared.

    A subclass defines `compare` and, where the backbone's plain pyramid is not what it looks at, `pyramid`, `for_query`
    and `for_support`. Its `frozen` says whether the backbone stays as it was pretrained (then it is kept in evaluation
    mode and its parameters ask for no gradient).

    Letters: B episodes, N ways, K shots, S image side, h w map size, H W picture size.
    """

    method: str
    frozen = True
    needs_masks: str | None = None  # why a learner cannot work from class tags alone; None if it can
    image_size = 400  # the side S that pictures are resized to unless asked otherwise
    backbone_name: str

    def pyramid(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to what is seen in them, whether they are queries or supports."""
        return self.backbone.pyramid(images)

    def for_query(self, seen: Features) -> Features:
        """What `compare` wants of queries."""
        return seen

    def for_support(self, seen: Features, images: Tensor, masks: Tensor) -> Features:
        """What `compare` wants of supports (M, 3, S, S) with masks (M, S, S)."""
        return seen

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to the features of queries."""
        return self.for_query(self.pyramid(images))

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """(M, 3, S, S) images and (M, S, S) masks to the features of supports."""
        return self.for_support(self.pyramid(images), images, masks)

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        """Both at once: the backbone sees all images in one pass, and one that occurs several times only once."""
        images = torch.cat([query, supports])
        distinct, places = images.unique(dim=0, return_inverse=True)
        if len(distinct) < len(images):
            seen = [[x[places] for x in level] for level in self.pyramid(distinct)]
        else:
            seen = self.pyramid(images)
        parts = [[x.split([len(query), len(supports)]) for x in level] for level in seen]
        of_query, of_support = ([[x[which] for x in level] for level in parts] for which in (0, 1))
        return self.for_query(of_query), self.for_support(of_support, supports, masks)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Features of B queries and of B·N·K supports (ordered episode, way, shot), and masks (B, N, K, S, S)."""
        raise NotImplementedError

    def maps(self, query: Tensor, supports: Tensor, masks: Tensor | None = None) -> Maps:
        """All that is known about the queries.

        query: (B, 3, S, S) normalised images; supports: (B, N, K, 3, S, S); masks: (B, N, K, S, S) of 0 and 1, or None
        for class tags alone (weak): then the whole support image is taken for its class. Raises `InputError` where
        shapes or values do not fit.
        """
        self.check(query, supports, masks)
        masks = torch.ones_like(supports[:, :, :, 0]) if masks is None else masks.to(query.dtype)
        return self.compare(*self.encode(query, supports.flatten(0, 2), masks.flatten(0, 2)), masks)

    def forward(self, query: Tensor, supports: Tensor, masks: Tensor | None = None) -> Tensor:
        """The learner's maps (B, N, 2, h, w): log-probabilities of background and foreground; see `maps`."""
        return self.maps(query, supports, masks).log_prob

    @torch.inference_mode()
    def predict(
        self, query: Tensor, supports: Tensor, masks: Tensor | None = None, sizes: list[tuple[int, int]] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Presence (B, N) bool and a list of B masks (H, W) uint8 at the `sizes` (H, W) of the queries' pictures.

        Without `sizes` the masks have the size of the query images.
        """
        found = self.maps(query, supports, masks)
        sizes = [tuple(query.shape[-2:])] * len(query) if sizes is None else check_sizes(sizes, len(query))
        return found.presence, segment(found.stacked, sizes)

    def train(self, mode: bool = True) -> "Learner":
        """As `nn.Module.train`, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for module in self.frozen_modules():
                module.eval()
        return self

    def frozen_modules(self) -> list[nn.Module]:
        """The modules that training leaves alone."""
        return [self.backbone]

    def freeze(self) -> None:
        """Ask for no gradient in the frozen modules; a subclass calls it at the end of its constructor."""
        for module in self.frozen_modules():
            module.requires_grad_(False).eval()

    def check(self, query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
        """Raise `InputError` unless the tensors make up an episode (see `maps`)."""
        if masks is None and self.needs_masks:
            raise InputError(self.needs_masks)
        for name, tensor in (("query", query), ("supports", supports), ("masks", masks)):
            if not isinstance(tensor, Tensor) and not (tensor is None and name == "masks"):
                raise InputError(f"{name} is a {type(tensor).__name__}; give a torch tensor.")
        device = next(self.parameters()).device
        for name, tensor in (("query", query), ("supports", supports), ("masks", masks)):
            if tensor is not None and tensor.device != device:
                raise InputError(f"{name} is on {tensor.device}, the learner on {device}; move one.")
        if query.dim() != 4 or query.shape[1] != 3:
            raise InputError(f"query has shape {tuple(query.shape)}; give (B, 3, S, S).")
        if supports.dim() != 6 or supports.shape[3] != 3:
            raise InputError(f"supports has shape {tuple(supports.shape)}; give (B, N, K, 3, S, S).")
        if supports.shape[0] != query.shape[0] or supports.shape[-2:] != query.shape[-2:]:
            raise InputError(
                f"query {tuple(query.shape)} and supports {tuple(supports.shape)} differ in batch or image size; "
                "give as many support sets as queries, all images of one size."
            )
        if query.shape[-2] != query.shape[-1]:
            raise InputError(f"query has shape {tuple(query.shape)}; resize pictures to a square, S x S.")
        if query.dtype != supports.dtype:
            raise InputError(f"query holds {query.dtype}, supports {supports.dtype}; give both in one kind of float.")
        if 0 in supports.shape:
            raise InputError(f"supports has shape {tuple(supports.shape)}; give at least one episode, way and shot.")
        for name, tensor in (("query", query), ("supports", supports)):
            if not tensor.is_floating_point():
                raise InputError(f"{name} holds {tensor.dtype}; give normalised images as floats.")
            if not all(bound.isfinite() for bound in tensor.aminmax()):
                raise InputError(f"{name} holds NaN or infinite values; look at how the images were read.")
        if masks is not None:
            expected = supports.shape[:3] + supports.shape[-2:]
            if masks.shape != expected:
                raise InputError(f"masks has shape {tuple(masks.shape)}; these supports need {tuple(expected)}.")
            if not ((masks == 0) | (masks == 1)).all():
                raise InputError("masks holds values besides 0 and 1; give one binary mask per support image.")


def check_sizes(sizes: list[tuple[int, int]], queries: int) -> list[tuple[int, int]]:
    """Raise `InputError` unless there is one (H, W) for each query."""
    if not isinstance(sizes, list | tuple) or len(sizes) != queries:
        raise InputError(f"sizes is {shown(sizes)} for {queries} queries; give a list of one (height, width) each.")
    for size in sizes:
        if len(size) != 2 or not all(is_int(side) and side > 0 for side in size):
            raise InputError(f"sizes holds {shown(size)}; give (height, width) in whole pixels, from 1.")
    return [tuple(size) for size in sizes]
