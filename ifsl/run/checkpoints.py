"""Checkpoints: the published ones, those of our own training, and the small ones of `data/checkpoints` (chapter 12).

Which learner a file belongs to is read off the names and shapes of its tensors. Only HM and ASNet look the same there;
between them decide the file's settings, those beside it, the folder's name, or whoever asks.

No file is trusted: PyTorch's files are read with `weights_only=True`, which makes tensors and plain values and runs
nothing; safetensors can hold nothing else.
"""

import argparse
import json
import os
import pickle
import re
import zipfile
import zlib
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, shown
from ..learners import METHODS, Learner, build_model
from ..learners.backbones import RESNETS, LitePyramid

DEPTHS = {blocks[1:]: name for name, (blocks, _) in RESNETS.items()} | {LitePyramid.depths: "efficientnet_lite0"}
"""Bottlenecks of layer2, layer3, layer4, which are the input channels of HSNet and ASNet: backbone."""

PFENET_INPUTS = {512 + 1024: "resnet50", sum(LitePyramid.channels[:2]): "efficientnet_lite0"}
"""Input channels of PFENet's learner: backbone."""


def load_model(path: str | Path, method: str | None = None, backbone: str | None = None) -> Learner:
    """The learner in a checkpoint, in evaluation mode; its `settings` are what the file tells of how it was trained.

    path: a published .ckpt, one of our training, a .safetensors of `save_learner`, or a folder (see `best_checkpoint`).
    A frozen backbone that is not in the file gets its ImageNet weights. Raises `InputError` for a file that is missing,
    broken, would run code, or holds another learner than `method` and `backbone` say.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"path is {shown(path)}; give the path of a checkpoint or of a log folder.")
    path = Path(path)
    if path.is_dir():
        path = best_checkpoint(path)
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}; give a .ckpt or .safetensors file, or a log folder.")
    state, settings = read_safetensors(path) if path.suffix == ".safetensors" else read_ckpt(path)
    settings = beside(path) | settings
    methods, held = identify(state, path)
    method = choose_method(methods, method, settings, path)
    if backbone not in (None, held):
        raise InputError(f"{path} holds {method} on {held}, not on {backbone}; leave out the backbone.")

    options = {"width": state["down_qry.0.weight"].shape[0]} if method == "pfenet" else {}
    rebuilt = not any(name.startswith("backbone") for name in state)
    model = build_model(method, held, pretrained=rebuilt, **options)
    if rebuilt and settings.get("backbone_crc32", fingerprint(model)) != fingerprint(model):
        raise InputError(f"{path} was trained on other weights of {held} than ImageNet's; give its run's .ckpt.")
    fill(model, state, path)
    if isinstance(settings.get("size"), int):
        model.image_size = settings["size"]
    model.settings = settings
    return model


def save_learner(model: Learner, path: str | Path, **settings) -> Path:
    """Write what training changed as one small .safetensors file; a kill while writing leaves the file before whole.

    Weights of convolutions are kept in half precision, all else as it is; a frozen backbone is not kept, `load_model`
    gives it its ImageNet weights again. settings: plain values, such as benchmark, fold and steps, kept in the file.
    Raises `InputError` where the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    state = {name: shrink(value.detach().cpu()).contiguous() for name, value in trained_state(model).items()}
    settings = settings | {"method": model.method, "backbone": model.backbone_name, "size": model.image_size}
    if model.frozen:
        settings["backbone_crc32"] = fingerprint(model)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(save(state, {"settings": json.dumps(settings)}))
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"The checkpoint {path} cannot be written ({error.strerror}); try another place.") from error
    return path


def best_checkpoint(folder: str | Path) -> Path:
    """The best checkpoint in a log folder: best_model-v<highest>.ckpt, or best_model.ckpt where there is no version.

    A resumed run writes its better models under the next version, so the plain name is the oldest. Raises `InputError`
    for a folder without any.
    """
    found = {}
    for path in Path(folder).glob("best_model*.ckpt"):
        if match := re.fullmatch(r"best_model(?:-v(\d+))?\.ckpt", path.name):
            found[int(match[1] or 0)] = path
    if not found:
        raise InputError(f"There is no best_model.ckpt in {folder}; train first, or look at logpath and fold.")
    return found[max(found)]


# Which learner it is --------------------------------------------------------------------------------------------------


def identify(state: dict[str, Tensor], path: Path) -> tuple[tuple[str, ...], str]:
    """The methods (two where they look the same) and the backbone that have such names and shapes."""
    try:
        if "down_qry.0.weight" in state:
            return ("pfenet",), PFENET_INPUTS[state["down_qry.0.weight"].shape[1]]
        for methods, first in ((("hsnet",), "0.conv1.weight"), (("asnet", "asnethm"), "0.attn.qhead.weight")):
            if f"learner.encoder_layer2.{first}" in state:
                shapes = [state[f"learner.encoder_layer{level}.{first}"].shape for level in (2, 3, 4)]
                return methods, DEPTHS[tuple(shape[1] for shape in shapes)]
        if state and all(name.startswith("backbone.") for name in state):
            if any(name.startswith("backbone.net.") for name in state):
                return ("panet",), "efficientnet_lite0"
            return ("panet",), "resnet101" if "backbone.layer3.22.conv1.weight" in state else "resnet50"
    except (KeyError, IndexError):
        pass  # such names, but not all of them, or of other shapes
    raise InputError(f"{path} holds no whole learner of this package; give a checkpoint of {', '.join(METHODS)}.")


def choose_method(methods: tuple[str, ...], asked: str | None, settings: dict, path: Path) -> str:
    """The one of `methods` that is asked for, that the settings name, or that the file's folder is named after."""
    said = settings.get("method")
    if asked is not None:
        held = (said,) if said in methods else methods
        if asked not in held:
            raise InputError(f"{path} holds {' or '.join(held)}, not {asked}; leave out the method, or give that one.")
        return asked
    if len(methods) == 1:
        return methods[0]
    for name in (said, path.resolve().parent.name.removesuffix("-weak")):
        if name in methods:
            return name
    raise InputError(f"{path} may be {' or '.join(methods)}, whose tensors look the same; give the method.")


def beside(path: Path) -> dict:
    """The settings.json that training writes next to its checkpoints; {} where there is none to read."""
    try:
        settings = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


# Reading, comparing, writing ------------------------------------------------------------------------------------------


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and settings of a file of `save_learner`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            settings = json.loads((file.metadata() or {}).get("settings", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, dict(settings)  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is broken or no checkpoint ({error}); fetch it again.") from error


def read_ckpt(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and settings of a file that PyTorch or Lightning wrote, of version 1.3 or later."""
    try:
        # Lightning 1.3 files carry the command line (a Namespace) and name their callbacks' classes.
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipfile.is_zipfile(path) else []
        allowed = [argparse.Namespace, *((stand_in(name), name) for name in named if name != "argparse.Namespace")]
        with torch.serialization.safe_globals(allowed):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint.get("state_dict", checkpoint)
        if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
            raise TypeError("no tensors by name")
        settings = checkpoint.get("settings", checkpoint.get("hyper_parameters", {}))
        return state, vars(settings) if isinstance(settings, argparse.Namespace) else dict(settings)
    except Exception as error:  # a broken or hostile file can fail in any way
        if isinstance(error, pickle.UnpicklingError) and (code := re.search(r"(?:GLOBAL|would run) (\S+)", str(error))):
            raise InputError(
                f"{path} is refused, because reading it would run {code[1]}; get a file of tensors and plain values."
            ) from error
        raise InputError(f"{path} is broken or no checkpoint ({type(error).__name__}); fetch it again.") from error


def stand_in(name: str) -> type:
    """A class that takes the place of one that a file names: it may be mentioned, but nothing is made of it or run."""

    def refuse(*_):
        raise pickle.UnpicklingError(f"would run {name}")

    return type(name, (), {"__new__": refuse})


def fill(model: Learner, state: dict[str, Tensor], path: Path) -> None:
    """Put the tensors in their places; those of frozen modules may be absent, all of them. Raises `InputError`."""
    expected, frozen = model.state_dict(), frozen_names(model)
    needed = expected.keys() - (frozen if frozen.isdisjoint(state) else set())
    faults = [f"{name} is missing" for name in sorted(needed - state.keys())]
    faults += [f"{name} is not known" for name in sorted(state.keys() - expected.keys())]
    faults += [
        f"{name} has shape {tuple(state[name].shape)} in place of {tuple(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(
            f"{path} does not fit {model.method} on {model.backbone_name}: {faults[0]}{more}; fetch or train it again."
        )
    model.load_state_dict(state, strict=False)


def trained_state(model: Learner) -> dict[str, Tensor]:
    """The learner's tensors by name, without those of modules that training leaves alone."""
    frozen = frozen_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def frozen_names(model: Learner) -> set[str]:
    """Names of the tensors of a learner's frozen modules."""
    frozen = {id(tensor) for part in model.frozen_modules() for tensor in part.state_dict(keep_vars=True).values()}
    return {name for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in frozen}


def fingerprint(model: Learner) -> int:
    """A number that tells one set of frozen weights from another: a checksum of the first of them."""
    weight = next(model.frozen_modules()[0].parameters())
    return zlib.crc32(weight.detach().cpu().float().numpy().tobytes())


def shrink(value: Tensor) -> Tensor:
    """Weights of convolutions in half precision, where they fit into it; all else as it is."""
    small = value.half() if value.is_floating_point() and value.dim() > 1 else value
    return small if torch.isfinite(small).all() else value
