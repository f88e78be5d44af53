"""The two frozen vision transformers of CST and EMAT, read block by block (chapter 16).

Both are a ViT-S: DINO's with patches of 8 pixels, and DINOv2's with patches of 14, without registers.

Source: Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*, ICCV 2021; Oquab et al., *DINOv2:
Learning Robust Visual Features without Supervision*, TMLR 2024. Which tokens are read, and how positions are resized:
Kang et al., *Distilling Self-Supervised Vision Transformers for Weakly-Supervised Few-Shot Classification &
Segmentation*, CVPR 2023.

Letters: M images, S image side, D token width, h w grid of the cells, m side of the position table.
"""

from collections import OrderedDict
from functools import partial
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

TABLES = {"dino_vits8": 28, "dinov2_vits14": 37}
"""Sides m of the position tables: they were trained for images of 224 and 518 pixels."""


class VisionTransformer(nn.Module):
    """A ViT-S of timm's blocks with the published tensor names; layer_scale: whether its blocks have layer scales.

    The names and numbers are those of timm's own `vit_small_patch8_224.dino` and `vit_small_patch14_dinov2.lvd142m`,
    except for the positions, which timm resizes in another way (see `resize_positions`), and for `mask_token`, which
    DINOv2's file and EMAT's checkpoints contain although no image ever meets it.
    """

    def __init__(self, patch: int, table: int, layer_scale: bool, width: int = 384, depth: int = 12):
        super().__init__()
        from timm.models.vision_transformer import Block  # takes seconds to import

        norm = partial(nn.LayerNorm, eps=1e-6)
        parts = {"qkv_bias": True, "norm_layer": norm, "init_values": 1.0 if layer_scale else None}
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + table**2, width))
        if layer_scale:
            self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, patch, patch)))
        self.blocks = nn.ModuleList(Block(width, HEADS, **parts) for _ in range(depth))
        self.norm = norm(width)

    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, S, S) images to the tokens of the last block (M, 1 + h·w, D), the class token first."""
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def encode(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """What every block returns for (M, 3, S, S) images, passed through the one last norm.

        Returns the cells of each block, (M, D, h, w), and its class tokens, (M, D); and from the attention of the last
        block the class token's query, (M, D), and the keys of all cells, (M, D, h, w).
        """
        x = self.embed(images)
        outputs = []
        for block in self.blocks:
            before, x = x, block(x)
            outputs.append(self.norm(x))
        query, key, _ = block.attn.qkv(block.norm1(before)).chunk(3, dim=-1)
        side = isqrt(x.shape[1] - 1)
        *cells, keys = (rearrange(tokens[:, 1:], "m (h w) d -> m d h w", h=side) for tokens in (*outputs, key))
        return cells, [tokens[:, 0] for tokens in outputs], query[:, 0], keys

    def embed(self, images: Tensor) -> Tensor:
        """(M, 3, S, S) images to tokens (M, 1 + h·w, D): class token and patches, with their positions."""
        patches = self.patch_embed(images)
        tokens = rearrange(patches, "m d h w -> m (h w) d")
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        return tokens + resize_positions(self.pos_embed, patches.shape[-1])


def build(name: str, pretrained: bool = False) -> VisionTransformer:
    """A vision transformer in evaluation mode, with the published weights if `pretrained` (see `read_vit_weights`)."""
    vit = VisionTransformer(BACKBONES[name].patch, TABLES[name], layer_scale=name == "dinov2_vits14")
    if pretrained:
        vit.load_state_dict(read_vit_weights(name, vit))
    return vit.eval()


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
    if patch and side % patch:
        raise InputError(
            f"Images of {side} x {side} pixels do not fit {name}; give sides that are multiples of {patch}, such as "
            f"{BACKBONES[name].image_size}."
        )
