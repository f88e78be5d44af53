"""The two frozen vision transformers of CST and EMAT: timm's models, read block by block.

Both are a ViT-S with 12 blocks: DINO's with patches of 8 pixels and DINOv2's with patches of 14, without registers.

Source: Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*, ICCV 2021; Oquab et al., *DINOv2:
Learning Robust Visual Features without Supervision*, TMLR 2024. Which tokens are read, and how positions are resized:
Kang et al., *Distilling Self-Supervised Vision Transformers for Weakly-Supervised Few-Shot Classification &
Segmentation*, CVPR 2023.

Letters: M images, S image side, D token width, h w grid of the cells, m side of the position table.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from ..weights import read_vit_weights
from .registry import BACKBONES

HEADS = 6
"""Heads of a ViT-S's attention, of 64 channels each."""

TIMM_NAMES = {"dino_vits8": "vit_small_patch8_224.dino", "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m"}
"""Our name of a backbone: that of timm's model of the same shape."""


def build_vit(name: str, pretrained: bool = False) -> nn.Module:
    """timm's ViT-S in evaluation mode, with the published weights if `pretrained` (see `read_vit_weights`).

    dinov2_vits14 has one tensor that timm's lacks: `mask_token`, which DINOv2's file and EMAT's checkpoints contain and
    no image ever meets.
    """
    import timm  # takes seconds to import

    vit = timm.create_model(TIMM_NAMES[name], num_classes=0, dynamic_img_size=True)
    if name == "dinov2_vits14":
        vit.mask_token = nn.Parameter(torch.zeros(1, vit.embed_dim))
    if pretrained:
        vit.load_state_dict(read_vit_weights(name, vit))
    return vit.eval()


def encode_tokens(vit: nn.Module, images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """What every block returns for (M, 3, S, S) images, passed through the one last norm.

    Returns the cells of each block, (M, D, h, w), and its class tokens, (M, D); and from the attention of the last
    block the class token's query, (M, D), and the keys of all cells, (M, D, h, w).
    """
    cells = vit.patch_embed.proj(images)
    h, w = cells.shape[-2:]
    cells = rearrange(cells, "m d h w -> m (h w) d")
    x = torch.cat([vit.cls_token.expand(len(images), -1, -1), cells], dim=1)
    x = x + resize_positions(vit.pos_embed, h)
    outputs = []
    for block in vit.blocks:
        last, x = x, block(x)
        outputs.append(vit.norm(x))
    attention = vit.blocks[-1]
    query, key, _ = attention.attn.qkv(attention.norm1(last)).chunk(3, dim=-1)
    grids = [rearrange(tokens[:, 1:], "m (h w) d -> m d h w", h=h) for tokens in (*outputs, key)]
    return grids[:-1], [tokens[:, 0] for tokens in outputs], query[:, 0], grids[-1]


def resize_positions(table: Tensor, side: int) -> Tensor:
    """The table of positions (1, 1 + m·m, D) for an image of side x side cells: (1, 1 + side·side, D).

    As published, 0.1 is added to the side, against rounding errors; it shifts every position a little.
    """
    m = isqrt(table.shape[1] - 1)
    if side == m:
        return table
    cells = rearrange(table[:, 1:], "1 (h w) d -> 1 d h w", h=m)
    cells = F.interpolate(cells, scale_factor=(side + 0.1) / m, mode="bicubic")
    return torch.cat([table[:, :1], rearrange(cells, "1 d h w -> 1 (h w) d")], dim=1)


def check_side(name: str, side: int) -> None:
    """Raise `InputError` for an image side that a vision transformer cannot cut into whole patches."""
    patch = BACKBONES[name].patch
    if patch and (side % patch or not side):
        raise InputError(
            f"Images of {side} x {side} pixels do not fit {name}; give sides that are multiples of {patch}, such as "
            f"{BACKBONES[name].image_size}."
        )
