"""Feature pyramids of ResNet-50, ResNet-101, VGG-16 and EfficientNet-Lite0 (chapter 03).

A backbone returns the output of every bottleneck of three levels, at strides 8, 16 and 32 of the image (layer2, layer3
and layer4 of a ResNet). They are taken before the last ReLU: after the sum with the shortcut, where values may be
negative.

Source: He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016; Min et al., *Hypercorrelation Squeeze for
Few-Shot Segmentation*, ICCV 2021, section 4.1 (which bottlenecks, and where they are read).

Letters: M images, S image side, D channels, h w feature grid.
"""

from collections.abc import Callable
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VGG, ResNet, resnet, vgg

from ..errors import InputError, shown
from ..weights import read_lite_weights, read_torchvision_weights
from .fast import backbones as fast
from .fast import faster
from .registry import BACKBONES

Features = list[list[Tensor]]
"""A feature pyramid: for each level the outputs of its bottlenecks, each (M, D, h, w)."""


class Bottleneck(resnet.Bottleneck):
    """Torchvision's bottleneck, split where the features are read: before the last ReLU."""

    def before_relu(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn3(self.conv3(out))
        out += shortcut
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.before_relu(x))


class ResNetPyramid(ResNet):
    """A torchvision ResNet with its tensor names, which also returns its bottlenecks.

    depths: bottlenecks of layer2, layer3 and layer4.
    """

    def __init__(self, depths: tuple[int, int, int]):
        super().__init__(Bottleneck, [3, *depths])

    @faster(fast.pyramid)
    def pyramid(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to three levels of bottleneck outputs, before the last ReLU."""
        x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(channels_last(images))))))
        levels = []
        for layer in (self.layer2, self.layer3, self.layer4):
            level = []
            for bottleneck in layer:
                level.append(bottleneck.before_relu(x))
                x = F.relu(level[-1])
            levels.append(level)
        return levels

    def stages(self) -> list[nn.Module]:
        """The stem and the stages of stride 4, 8, 16 and 32, each a module to be called."""
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool)
        return [stem, self.layer1, self.layer2, self.layer3, self.layer4]


class VGGPyramid(VGG):
    """torchvision's VGG-16, whose convolutions of stride 8 and 16, before their ReLUs, take the places of bottlenecks.

    The last max-pooling (stride 32) takes the place of layer4.
    """

    LEVELS = ((17, 19, 21), (24, 26, 28), (30,))
    """Numbers of the modules of `features` whose outputs are returned."""

    def __init__(self):
        super().__init__(vgg.make_layers(vgg.cfgs["D"]), init_weights=False)

    def pyramid(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to three levels of outputs."""
        x, outputs = channels_last(images), {}
        for number, module in enumerate(self.features):
            x = F.relu(x) if isinstance(module, nn.ReLU) else module(x)  # its own ReLUs write over what they read
            if number in sum(self.LEVELS, ()):
                outputs[number] = x
        return [[outputs[number] for number in level] for level in self.LEVELS]


class LitePyramid(nn.Module):
    """timm's EfficientNet-Lite0, whose blocks of stride 8, 16 and 32 take the places of the bottlenecks.

    A block ends in a convolution without activation, so there is no last ReLU to stop before. output_stride: of the
    last blocks; where it is below 32, timm dilates the later kernels instead of striding.
    """

    def __init__(self, output_stride: int = 32):
        super().__init__()
        import timm  # takes seconds to import

        self.net = timm.create_model("tf_efficientnet_lite0", output_stride=output_stride)

    @faster(fast.pyramid)
    def pyramid(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to three levels of block outputs."""
        stem, *stages = self.stages()
        x = stages[0](stem(channels_last(images)))
        levels = []
        for stage in stages[1:]:
            level = []
            for block in (block for part in stage for block in part):
                x = block(x)
                level.append(x)
            levels.append(level)
        return levels

    def stages(self) -> list[nn.Module]:
        """The stem and the stages of stride 4, 8, 16 and 32, each a module to be called."""
        blocks = self.net.blocks
        return [nn.Sequential(self.net.conv_stem, self.net.bn1), blocks[:2], blocks[2:3], blocks[3:5], blocks[5:7]]


def channels_last(images: Tensor) -> Tensor:
    """The same images with the three values of a pixel next to each other in memory, which convolutions read faster."""
    return images.contiguous(memory_format=torch.channels_last)


def encode_together(encode: Callable[[Tensor], Features], query: Tensor, supports: Tensor) -> tuple[Features, Features]:
    """Queries and supports through `encode` as one batch, which takes less time than two."""
    features = encode(torch.cat([query, supports]))
    count = len(query)
    return [[x[:count] for x in level] for level in features], [[x[count:] for x in level] for level in features]


def build_backbone(name: str, pretrained: bool = False, output_stride: int = 32) -> nn.Module:
    """A backbone in evaluation mode, with published weights if `pretrained`.

    output_stride: of EfficientNet-Lite0's last blocks, 8, 16 or 32. Raises `InputError` for an unknown name, and for
    weights that are neither on this machine nor can be downloaded.
    """
    if name not in BACKBONES:
        raise InputError(f"There is no backbone {shown(name)}; choose one of {', '.join(BACKBONES)}.")
    if BACKBONES[name].module:
        return import_module(f".{BACKBONES[name].module}", __package__).build(name, pretrained).eval()
    if name == "efficientnet_lite0":
        backbone = LitePyramid(output_stride)
        if pretrained:
            backbone.net.load_state_dict(read_lite_weights(backbone.net))
    else:
        backbone = VGGPyramid() if name == "vgg16" else ResNetPyramid(BACKBONES[name].depths)
        if pretrained:
            backbone.load_state_dict(read_torchvision_weights(name))
    for conv in (module for module in backbone.modules() if isinstance(module, nn.Conv2d)):
        conv.weight.data = channels_last(conv.weight.data)  # `.to(memory_format=...)` fails on the tests' fake device
    return backbone.eval()
