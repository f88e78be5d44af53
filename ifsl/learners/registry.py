"""Which learners and backbones there are. Nothing here imports PyTorch, so `python -m ifsl --help` is quick.

A new learner is one module and one line in `LEARNERS`; a new backbone is one entry in `BACKBONES` and its module.
"""

from dataclasses import dataclass

LEARNERS = {
    "panet": ("panet", "PANet"),
    "pfenet": ("pfenet", "PFENet"),
    "hsnet": ("hsnet", "HSNet"),
    "asnet": ("asnet", "ASNet"),
    "asnethm": ("hybrid_masking", "HybridMasking"),
    "cst": ("cst", "CST"),
    "emat": ("emat", "EMAT"),
    "ematseg": ("emat", "EMATSeg"),
}
"""Published name of a method: (module, class)."""


@dataclass(frozen=True)
class Backbone:
    """Facts about a backbone.

    image_size: the side in pixels that images are resized to. depths, channels: bottlenecks (or blocks, convolutions)
    of the levels of stride 8, 16 and 32, and channels of each level's last map; a vision transformer has one level, of
    the stride `patch`. head: the ImageNet classifier, through which no image goes. key: a tensor of its checkpoints.
    sides: those ASNet can squeeze. patch: a vision transformer's patch side. module: the one that builds it.
    """

    image_size: int
    depths: tuple[int, ...]
    channels: tuple[int, ...]
    head: tuple[str, ...]
    key: str
    sides: range = range(257, 513)
    patch: int | None = None
    module: str | None = None


BACKBONES = {
    "resnet50": Backbone(400, (4, 6, 3), (512, 1024, 2048), ("fc",), "layer4.2.conv1.weight"),
    "resnet101": Backbone(400, (4, 23, 3), (512, 1024, 2048), ("fc",), "layer3.22.conv1.weight"),
    "efficientnet_lite0": Backbone(
        272, (2, 6, 5), (40, 112, 320), ("net.conv_head", "net.bn2", "net.classifier"), "net.conv_stem.weight"
    ),
    "vgg16": Backbone(400, (3, 3, 1), (512, 512, 512), ("classifier",), "features.28.weight", sides=range(272, 520)),
    "dino_vits8": Backbone(400, (12,), (384,), (), "blocks.0.norm1.weight", patch=8, module="vit"),
    "dinov2_vits14": Backbone(700, (12,), (384,), (), "blocks.0.ls1.gamma", patch=14, module="vit"),
}
"""Name of a backbone: what is known about it. Of two whose `key` a checkpoint has, the later counts."""

PYRAMIDS = tuple(name for name, facts in BACKBONES.items() if facts.patch is None)
"""The backbones that return a pyramid of three levels."""
