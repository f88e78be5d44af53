"""What CST and EMAT share: correlation tokens, attention over them, two heads, and what their maps mean (chapter 16).

A support is a row of tokens: one for its whole image, the class token, and one for each cell of a coarse grid. All of
them are compared with every cell of the query. Two layers of attention reduce each query cell's row of correlations to
two tokens; a class head turns the first into presence and a mask head the second into a map.

Source: Kang, Koniusz, Cho & Murray, *Distilling Self-Supervised Vision Transformers for Weakly-Supervised Few-Shot
Classification & Segmentation*, CVPR 2023; Carrión-Ojeda, Roth & Schaub-Meyer, *Efficient Masked Attention Transformer
for Few-Shot Classification and Segmentation*, GCPR 2025.

Letters: B episodes, N ways, K shots, M images, G = B·N supports of one shot, D channels and D' those of a layer's
output, h w query grid (maps have 2h x 2w cells), s side of the support grid, J = 1 + s·s support tokens (the class
token first) and J' those that a layer leaves, S image side, H W size of the query's own image.
"""

from collections.abc import Callable
from math import isqrt, log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .backbones import Features, build_backbone, encode_together
from .learner import Learner
from .maps import VOID, find_present, resize
from .registry import BACKBONES
from .vit import HEADS as VIT_HEADS
from .vit import check_side

HEADS = 8
"""Heads of the attention over support tokens."""
CLASS_WEIGHT = 0.1
"""Weight of the class head's loss."""
PSEUDO = 0.4
"""A pseudo mask has the pixels where a cosine, moved from -1 … 1 to 0 … 1, is above this."""


class TokenMaps(NamedTuple):
    """The four fields of `Maps`, and what only these learners have.

    log_prob: (B, N, 2, 2h, 2w) log-probabilities of background and foreground for each class, whose probabilities are
    means over the shots. stacked: (B, N + 1, 2h, 2w), 0 for the background and the log-odds of the foregrounds.
    presence: (B, N) bool. shots: (B, N, K, 2, 2h, 2w) log-probabilities of each shot.
    classes: (B, N, 2) log-probabilities of absence and presence from the class head; None where there is no such head.
    similarity: (B, N, h, w) cosines that give the query's pseudo mask; None where there are none.
    """

    log_prob: Tensor
    stacked: Tensor
    presence: Tensor
    shots: Tensor
    classes: Tensor | None = None
    similarity: Tensor | None = None


class TokenLearner(Learner):
    """A learner of correlation tokens. Masks come from logits that are resized before the softmax.

    Subclasses define `network`, which is built from the number of correlation channels and of support cells and maps
    correlation tokens (G, D, h·w, J) and masks (G, S, S) to logits of the mask (G, 2, 2h, 2w) and of the class (G, 2).
    support_side: s on a vision transformer. class_tokens: whether a support's tokens begin with its class token.

    On EfficientNet-Lite0 the tokens are a variation, of neither paper. Its 13 blocks of strides 8, 16 and 32 take the
    places of the transformer's blocks, all on the grid of stride 16 and each with a single head; s is 12; and the mean
    over a support's cells takes the place of its class token: like a class token, it covers the whole image.
    """

    backbones = ("dino_vits8", "dinov2_vits14", "efficientnet_lite0")
    network: Callable[[int, int], nn.Module]
    support_side: int
    class_tokens = True

    def __init__(self, backbone: str = "dinov2_vits14", pretrained: bool = False):
        super().__init__(backbone)
        facts = BACKBONES[backbone]
        self.backbone = build_backbone(backbone, pretrained)
        self.heads = VIT_HEADS if facts.patch else 1
        self.support_side = self.support_side if facts.patch else 12
        self.learner = self.network(self.heads * sum(facts.depths), self.support_side)
        self.freeze()

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to cells (M, D, h, w) and class tokens (M, D) of each block.

        A vision transformer adds a third level: the class token's query and the cells' keys of its last attention.
        """
        if BACKBONES[self.backbone_name].patch:
            cells, class_tokens, class_query, keys = self.backbone.encode(images)
            return [cells, class_tokens, [class_query, keys]]
        levels = self.backbone.pyramid(images)
        grid = levels[1][0].shape[-2:]
        cells = [F.adaptive_avg_pool2d(x, grid) for x in levels[0]] + levels[1] + [resize(x, grid) for x in levels[2]]
        return [cells, [x.mean(dim=(-2, -1)) for x in cells]]

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        return self.prepare_support(self.encode_query(images))

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        query, features = encode_together(self.encode_query, query, supports)
        return query, self.prepare_support(features)

    def prepare_support(self, features: Features) -> Features:
        """The same with cells (M, D, s, s), and keys that have become the cosines (M, 1, h, w) of `compare_keys`."""
        cells, class_tokens, *attention = features
        side = self.support_side
        return [
            [resize(x, (side, side)) for x in cells],
            class_tokens,
            *([class_query, compare_keys(class_query, keys)] for class_query, keys in attention),
        ]

    def compare(self, query: Features, support: Features, masks: Tensor) -> TokenMaps:
        """Each shot gives logits of its own; their probabilities are averaged."""
        ways, shots = masks.shape[1:3]
        query_cells = [split_heads(x, self.heads) for x in query[0]]
        mask_logits, class_logits = [], []
        for shot in range(shots):
            tokens = [split_heads(x[shot::shots], self.heads) for x in self.line_up(support)]
            correlation = correlate(query_cells, tokens)
            found = self.learner(correlation, masks[:, :, shot].flatten(0, 1))
            for logits, one in zip((mask_logits, class_logits), found, strict=True):
                logits.append(None if one is None else one.unflatten(0, (-1, ways)))
        classes = None if class_logits[0] is None else torch.stack(class_logits, dim=2)
        return merge_logits(torch.stack(mask_logits, dim=2), classes)

    def line_up(self, support: Features) -> list[Tensor]:
        """The support tokens of each block, (M, D, J)."""
        cells = [x.flatten(2) for x in support[0]]
        if not self.class_tokens:
            return cells
        return [torch.cat([first[:, :, None], x], dim=2) for first, x in zip(support[1], cells, strict=True)]

    # What the maps mean

    def decide(
        self, found: TokenMaps, sizes: list[tuple[int, int]], task: str = "fs-cs"
    ) -> tuple[Tensor, list[Tensor]]:
        """In each pixel the class with the most probable foreground wins, if that is at least 0.5.

        Nothing connects the two heads: a class may be called absent and still have pixels.
        """
        presence = torch.ones_like(found.presence) if task == "fs-s" else found.presence
        return presence, segment_shots(found.shots, sizes)

    def loss(
        self, found: TokenMaps, query_masks: Tensor, present: Tensor, task: str = "fs-cs", weak: bool = False
    ) -> Tensor:
        """Negative log-likelihoods of each class's mask and, with a tenth of the weight, of its presence.

        Published training has one way; with several, each is a problem of two classes, and their losses are averaged.
        FS-S has the same loss, with a class that is always present.
        Weak: the mask is the query's pseudo mask, empty where the tag says that the class is absent.
        """
        if weak:
            pseudo = make_pseudo_masks(found.similarity, query_masks.shape[-2:])
            truth = (pseudo & present[..., None, None]).long()
        else:
            ways = torch.arange(1, present.shape[1] + 1, device=query_masks.device)[:, None, None]
            truth = query_masks[:, None]
            truth = (truth == ways).long().masked_fill(truth == VOID, VOID)  # B, N, S, S
        # resized log-probabilities have the same softmax as resized logits: both channels differ by the same number
        logits = resize(found.log_prob.flatten(0, 1), truth.shape[-2:])
        loss = F.cross_entropy(logits, truth.flatten(0, 1), ignore_index=VOID)
        if found.classes is not None:
            loss = loss + CLASS_WEIGHT * F.nll_loss(found.classes.flatten(0, 1), present.long().flatten())
        return loss

    def check_shapes(self, query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
        super().check_shapes(query, supports, masks)
        check_side(self.backbone_name, query.shape[-1])


# Correlation tokens ---------------------------------------------------------------------------------------------------


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Tokens (M, D, ...) to unit vectors (M, heads, D/heads, ...), each of contiguous channels."""
    return F.normalize(tokens.unflatten(1, (heads, -1)), dim=2)


def correlate(query: list[Tensor], support: list[Tensor]) -> Tensor:
    """Cosines of every query cell with every support token: (G, heads·blocks, h·w, J), head after head.

    query, support: unit vectors of each block, (B, heads, D/heads, h, w) and (G, heads, D/heads, J); the first G/B
    supports belong to the first query and so on. Unlike in the other learners, negative cosines stay.
    """
    ways = len(support[0]) // len(query[0])
    cosines = [
        torch.einsum("gndx,gndj->gnxj", q.flatten(3).repeat_interleave(ways, dim=0), s)
        for q, s in zip(query, support, strict=True)
    ]
    return torch.stack(cosines, dim=2).flatten(1, 2)


# Two layers -----------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """For every query cell by itself: attention of a few tokens over all J, then a residual sum.

    Subclasses define `project(x)`, which returns queries (G, D'/2, h·w, J') and keys and values (G, D'/2, h·w, J), and
    `short_cut`, a module from (G, D, h·w, J) to (G, D', h·w, J').
    """

    def __init__(self, out: int):
        super().__init__()
        self.agg = nn.Sequential(
            norm(out // 2), nn.ReLU(), nn.Conv2d(out // 2, out, 1, bias=False), norm(out), nn.ReLU()
        )
        self.out_norm = norm(out)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        """(G, D, h·w, J) and masks (G, S, S) to (G, D', h·w, J')."""
        query, key, value = self.project(x)
        attended = attend(query, key, value, find_inside(masks, key.shape[-1]))
        return self.out_norm(self.agg(attended) + self.short_cut(x))


def attend(query: Tensor, key: Tensor, value: Tensor, inside: Tensor) -> Tensor:
    """query (G, D, h·w, J'), key and value (G, D, h·w, J), inside (G, J) bool: (G, D, h·w, J').

    A softmax over the tokens inside, whose logits are not scaled; where no token is inside, 0.
    """
    q, k, v = (rearrange(x, "g (heads d) cell j -> g (cell heads) j d", heads=HEADS) for x in (query, key, value))
    inside, some = inside[:, None, None], inside.any(dim=1)[:, None, None, None]
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=inside | ~some, scale=1.0)
    return rearrange(attended * some, "g (cell heads) j d -> g (heads d) cell j", heads=HEADS)


def find_inside(masks: Tensor, tokens: int) -> Tensor:
    """Which of J tokens take part: masks (G, S, S) to (G, J) bool.

    Cells do where the mask, resized to their grid, is not exactly 0. The class token, if there is one, always does.
    """
    side = isqrt(tokens)
    inside = resize(masks[:, None], (side, side)).flatten(1) != 0
    return F.pad(inside, (tokens - side**2, 0), value=True)


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions with half the channels between them, and a residual sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.ff = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 1, bias=False),
            norm(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 1, bias=False),
        )
        self.out_norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_norm(self.ff(x) + x)


class Layer(nn.Module):
    """Attention over the support tokens, then a feed-forward part; out: D'."""

    def __init__(self, attention: Attention, out: int):
        super().__init__()
        self.attn = attention
        self.ff = FeedForward(out)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        return self.ff(self.attn(x, masks))


def norm(channels: int) -> nn.GroupNorm:
    """Normalisation in four groups. Its statistics cover all query cells, which nothing else mixes."""
    return nn.GroupNorm(4, channels)


def split_class(x: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (G, D, h·w, J) to class tokens (G, D, h·w, 0 or 1) and cells (G, D, h·w, s, s)."""
    side = isqrt(x.shape[-1])
    count = x.shape[-1] - side**2
    return x[..., :count], x[..., count:].unflatten(3, (side, side))


def pool_cells(cells: Tensor, size: int) -> Tensor:
    """Average over windows of size x size support cells: (G, D, h·w, s, s) to (G, D, h·w, s', s')."""
    return F.avg_pool3d(cells, (1, size, size))


# Two heads ------------------------------------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    """Correlation tokens to logits: two layers that leave two tokens, a mask head, and with `classes` a class head.

    layers: the two layers; width: D' of the second.
    """

    def __init__(self, layers: list[Layer], width: int, classes: bool = True):
        super().__init__()
        half = width // 2
        self.corrtransformer = nn.ModuleList(layers)
        self.linear = nn.Sequential(
            *(nn.Conv2d(width, width, 1), norm(width), nn.ReLU()), *(nn.Conv2d(width, width, 1), norm(width), nn.ReLU())
        )
        self.decoder1_cls = self.decoder2_cls = None
        if classes:
            self.decoder1_cls = two_convolutions(width, width, half, kernel=1).append(nn.ReLU())
            self.decoder2_cls = two_convolutions(half, half, 2, kernel=1)
        self.decoder1_seg = two_convolutions(width, width, half, kernel=3).append(nn.ReLU())
        self.decoder2_seg = two_convolutions(half, half, 2, kernel=3)

    def forward(self, x: Tensor, masks: Tensor) -> tuple[Tensor, Tensor | None]:
        """(G, D, h·w, J) and masks (G, S, S) to logits of the mask (G, 2, 2h, 2w) and of the class (G, 2) or None."""
        for layer in self.corrtransformer:
            x = layer(x, masks)
        x = self.linear(x)
        x = x.unflatten(2, (isqrt(x.shape[2]),) * 2)  # G, D, query rows, query columns, tokens
        return self.decode_mask(x[..., -1]), None if self.decoder1_cls is None else self.decode_class(x[..., 0])

    def decode_class(self, x: Tensor) -> Tensor:
        """The class map (G, D, h, w) to logits (G, 2) of absence and presence."""
        x = F.avg_pool2d(self.decoder1_cls(x), 3, 2, 1)
        return self.decoder2_cls(x).mean(dim=(-2, -1))

    def decode_mask(self, x: Tensor) -> Tensor:
        """The segmentation map (G, D, h, w) to logits (G, 2, 2h, 2w) of background and foreground."""
        x = self.decoder1_seg(x)
        h, w = x.shape[-2:]
        return self.decoder2_seg(resize(x, (2 * h, 2 * w)))


def two_convolutions(channels: int, middle: int, out: int, kernel: int) -> nn.Sequential:
    """Two convolutions with a ReLU between them."""
    first = nn.Conv2d(channels, middle, kernel, padding=kernel // 2)
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(middle, out, kernel, padding=kernel // 2))


# From logits to maps and masks ----------------------------------------------------------------------------------------


def merge_logits(mask_logits: Tensor, class_logits: Tensor | None) -> TokenMaps:
    """Logits of the masks (B, N, K, 2, 2h, 2w) and of the classes (B, N, K, 2) of K shots to `TokenMaps`.

    A class is present where the mean of its probabilities is above 0.5; without a class head, where a cell's is.
    """
    shots = mask_logits.log_softmax(dim=3)
    log_prob = average(shots)
    odds = log_prob[:, :, 1] - log_prob[:, :, 0]
    stacked = torch.cat([torch.zeros_like(odds[:, :1]), odds], dim=1)
    if class_logits is None:
        return TokenMaps(log_prob, stacked, find_present(log_prob), shots)
    classes = average(class_logits.log_softmax(dim=3))
    return TokenMaps(log_prob, stacked, classes[..., 1] > classes[..., 0], shots, classes)


def average(log_prob: Tensor) -> Tensor:
    """The logarithm of the mean probability of K shots: (B, N, K, ...) to (B, N, ...)."""
    return log_prob.logsumexp(dim=2) - log(log_prob.shape[2])


def segment_shots(shots: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Segmentations: (B, N, K, 2, 2h, 2w) and B sizes (H, W) to a list of B (H, W) uint8, 0 background, n for way n.

    Probabilities are averaged over the shots at the full size: after the resizing, which applies to log-odds.
    """
    masks = []
    for one, size in zip(shots, sizes, strict=True):
        foreground = resize(one[:, :, 1] - one[:, :, 0], size).sigmoid().mean(dim=1)  # N, H, W
        best, way = foreground.max(dim=0)
        masks.append(((way + 1) * (best >= 0.5)).byte())
    return masks


def compare_keys(class_query: Tensor, keys: Tensor) -> Tensor:
    """Cosines of a class token's query (M, D) with the keys (M, D, h, w) of cells, mean over heads: (M, 1, h, w)."""
    class_query, keys = split_heads(class_query, VIT_HEADS), split_heads(keys, VIT_HEADS)
    return torch.einsum("mnd,mndhw->mnhw", class_query, keys).mean(dim=1, keepdim=True)


def make_pseudo_masks(cosines: Tensor, size: tuple[int, int]) -> Tensor:
    """The masks that a backbone's attention suggests: (B, N, h, w) cosines to (B, N, H, W) bool."""
    return (resize(cosines, size) + 1) / 2 > PSEUDO
