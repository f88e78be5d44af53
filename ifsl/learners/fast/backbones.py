"""`pyramid` of a backbone, sooner: each batch normalisation becomes part of the convolution before it.

In evaluation, batch normalisation multiplies each channel by a number and adds another. The weights and the bias of the
convolution before it can do the same, and one pass over the feature map is saved.
"""

from copy import deepcopy
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def pyramid(backbone: nn.Module, images: Tensor) -> list[list[Tensor]]:
    """As `backbone.pyramid(images)`."""
    plain = type(backbone).pyramid.plain
    return plain(fused_copy(backbone) if can_fuse(backbone, images) else backbone, images)


def can_fuse(backbone: nn.Module, images: Tensor) -> bool:
    """Whether a copy gives the same: no batch statistics, no gradients and no hooks are wanted."""
    if any(m.training or m._forward_hooks or m._forward_pre_hooks for m in backbone.modules()):
        return False
    tensors = [images, *backbone.parameters()]
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return not needs_gradient and not any(x.is_inference() for x in tensors[1:])


def fused_copy(backbone: nn.Module) -> nn.Module:
    """The fused copy of a backbone. It is kept on the backbone, and made again when a weight has changed or moved."""
    weights = chain(backbone.parameters(), backbone.buffers())
    state = [(x.data_ptr(), None if x.is_inference() else x._version) for x in weights]
    kept = backbone.__dict__.get("_fused")
    if kept is None or kept[0] != state:
        backbone.__dict__.pop("_fused", None)  # not to be copied
        with torch.inference_mode(False), torch.no_grad():
            kept = backbone.__dict__["_fused"] = (
                state,
                fuse(deepcopy(backbone).requires_grad_(False)).to(memory_format=torch.channels_last),
            )
    return kept[1]


def fuse(module: nn.Module) -> nn.Module:
    """Fuse every convolution with the batch normalisation after it, here and in all children; returns the module."""
    for (name, conv), (next_name, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            setattr(module, next_name, getattr(norm, "act", nn.Identity()))  # timm's norms include an activation
    for child in module.children():
        fuse(child)
    return module
