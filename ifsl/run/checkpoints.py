"""Checkpoints: the published ones, those of our own training, and the small ones of `data/checkpoints` (chapter 12).

Our own files name their learner. Of the published ones, names and shapes of the tensors tell which it is. Only HM and
ASNet look the same there; the settings beside the file, the folder's name or the argument `method` decide between them.
Published files of CST and EMAT contain their backbone, so they need no other weights.

No file is trusted: PyTorch's files are read with `weights_only=True`, which makes tensors and plain values and runs no
code; safetensors files cannot contain anything else.
"""

import argparse
import hashlib
import json
import os
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np
import torch
from torch import Tensor

from ..data.benchmarks import check_size
from ..data.files import write_whole
from ..data.kept import find_kept, is_kept_name
from ..errors import InputError, is_text, reading, shown, writing
from ..learners import BACKBONES, LEARNERS, Learner, build_model, learner_class

WRAPPERS = ("module", "_orig_mod")
"""Parts of a tensor's name that are no part of a learner: of DataParallel and DDP, and of `torch.compile`."""
HOLDERS = ("model.", "net.", "network.")
PLAIN = (str, int, float, bool, type(None))
"""What settings in a file may be. A result keeps them as JSON."""

PATHLIB = ("pathlib", "pathlib._local")  # the latter is Python 3.13's name
HARMLESS = {
    "argparse.Namespace": argparse.Namespace,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray.scalar": np._core.multiarray.scalar,  # NumPy 1
    "numpy._core.multiarray.scalar": np._core.multiarray.scalar,
    **{f"numpy.dtypes.{kind.__name__}": kind for kind in map(type, map(np.dtype, "?bBhHiIlLqQefdg"))},
    **{
        f"{home}.{kind}": PurePosixPath
        for home in PATHLIB
        for kind in ("PosixPath", "PurePosixPath", "Path", "PurePath")
    },
    **{f"{home}.{kind}": PureWindowsPath for home in PATHLIB for kind in ("WindowsPath", "PureWindowsPath")},
}
"""What may be among hyperparameters besides plain values: it makes numbers and names and runs no code of the file."""


def load_model(path: str | Path, method: str | None = None, backbone: str | None = None, **options) -> Learner:
    """The learner in a checkpoint, in evaluation mode; its `settings` are what the file tells about its training, and
    which file it is.

    path: a published .ckpt, one of our training, a .safetensors of `save_learner`, a folder (see `best_checkpoint`), or
    the name of a learner that the repository keeps, such as "tiny/asnet" (see `data.kept`).
    options: of the learner, such as `published_prior` of pfenet, instead of those it was trained with. A frozen
    backbone that is not in the file gets its ImageNet weights. Raises `InputError` for a file that is missing or
    broken, that would run code, or that does not contain what `method`, `backbone` and `options` ask for.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise InputError(f"path is {shown(path)}; give the path of a checkpoint or of a log folder.")
    path = find_kept(path) if is_kept_name(path) else Path(path)
    with reading(path):
        if path.is_dir():
            path = best_checkpoint(path)
        if not path.is_file():
            raise InputError(f"There is no checkpoint {path}; give a .ckpt or .safetensors file, or a log folder.")
    state, settings = read_safetensors(path) if path.suffix == ".safetensors" else read_ckpt(path)
    methods, held = name_itself(settings) or identify(state, path, settings)
    settings = read_settings_beside(path) | settings
    method = choose_method(methods, method, settings, path)
    if backbone not in (None, held):
        raise InputError(f"{path} holds {method} on {held}, not on {backbone}; leave out the backbone.")
    told = find_options(method, state, settings)
    if "width" in told and options.get("width", told["width"]) != told["width"]:
        raise InputError(
            f"{path} holds {method} of width {told['width']}, not {shown(options['width'])}; leave out the width."
        )

    rebuilt = not any(name.startswith("backbone") for name in state)
    with naming(path):
        model = build_model(method, held, pretrained=rebuilt, **told | options)
        if settings.get("size") is not None:
            check_size(settings["size"])
            model.image_size = settings["size"]
    if rebuilt and settings.get("backbone_crc32", fingerprint(model)) != fingerprint(model):
        raise InputError(f"{path} was trained on other weights of {held} than ImageNet's; give its run's .ckpt.")
    fill(model, state, path)
    model.settings = settings | {"checkpoint": str(path), "sha256": hash_file(path)}
    return model


def save_learner(model: Learner, path: str | Path, **settings) -> Path:
    """Write what training changed as one small .safetensors file, whole or not at all; returns its path.

    Weights of convolutions are stored in half precision, everything else as it is. A frozen backbone is left out:
    `load_model` gives it its ImageNet weights again. settings: plain values, such as benchmark, fold and steps, to be
    stored in the file. Raises `InputError` if the file cannot be written.
    """
    from safetensors.torch import save

    if not isinstance(model, Learner):
        raise InputError(f"model is a {type(model).__name__}; give a Learner.")
    if not isinstance(path, str | Path) or "\0" in str(path) or os.path.isdir(path or "."):
        raise InputError(f"path is {shown(path)}; give the path of a .safetensors file.")
    path = Path(path)
    state = {name: shrink(value.detach().cpu()).contiguous() for name, value in trained_state(model).items()}
    settings = {"step": model.settings.get("step")} | settings
    settings |= {"method": model.method, "backbone": model.backbone_name, "size": model.image_size}
    settings |= {name: getattr(model, name) for name in model.options}
    if model.frozen:
        settings["backbone_crc32"] = fingerprint(model)
    try:
        text = json.dumps(settings)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The settings for {path} are not plain ({error}); give texts and numbers.") from error
    with writing(f"The checkpoint {path}", "try another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(state, {"settings": text}))
    return path


def best_checkpoint(folder: str | Path) -> Path:
    """The best checkpoint in a log folder: best_model-v<highest>.ckpt, or best_model.ckpt if there is no version.

    A resumed run writes its better models under the next version, so the plain name is the oldest. EMAT's published
    folders have a best.ckpt instead. Raises `InputError` for a folder without one.
    """
    found = {}
    for path in Path(folder).glob("best_model*.ckpt"):
        if match := re.fullmatch(r"best_model(?:-v(\d+))?\.ckpt", path.name):
            found[int(match[1] or 0)] = path
    if not found and (Path(folder) / "best.ckpt").is_file():
        return Path(folder) / "best.ckpt"
    if not found:
        remedy = "train first, put a published one there (data/README.md), or look at fold, backbone and logpath"
        raise InputError(f"There is no best_model.ckpt in {folder}; {remedy}.")
    return found[max(found)]


# Which learner it is --------------------------------------------------------------------------------------------------


def name_itself(settings: dict) -> tuple[tuple[str, ...], str] | None:
    """The method and the backbone that a file of ours names; None for a published one, whose options cannot be trusted.

    A published file with the option resnet101 may hold PFENet on resnet50.
    """
    method, backbone = settings.get("method"), settings.get("backbone")
    known = method in tuple(LEARNERS) and backbone in tuple(BACKBONES)
    return ((method,), backbone) if "size" in settings and known else None


def identify(state: dict[str, Tensor], path: Path, settings: dict | None = None) -> tuple[tuple[str, ...], str]:
    """The methods (two if they look the same) and the backbone whose tensors have these names and shapes.

    settings: what the file says about its training. CST's learner looks the same on both vision transformers, so where
    the backbone is not in the file, they decide.
    """
    try:
        if "down_qry.0.weight" in state:
            inputs = state["down_qry.0.weight"].shape[1]  # layer2 and layer3 side by side
            names = learner_class("pfenet").backbones
            return ("pfenet",), next(name for name in names if sum(BACKBONES[name].channels[:2]) == inputs)
        for methods, first in ((("hsnet",), "0.conv1.weight"), (("asnet", "asnethm"), "0.attn.qhead.weight")):
            if f"learner.encoder_layer2.{first}" in state:
                inputs = tuple(state[f"learner.encoder_layer{level}.{first}"].shape[1] for level in (2, 3, 4))
                return methods, next(name for name, facts in BACKBONES.items() if facts.depths == inputs)
        # resnet101's key before resnet50's, which its checkpoints contain too; so with dinov2_vits14 and dino_vits8
        keys = (name for name in reversed(BACKBONES) if f"backbone.{BACKBONES[name].key}" in state)
        if state and all(name.startswith("backbone.") for name in state):
            return ("panet",), next(keys)
        method, held = find_token_learner(state), next(keys, (settings or {}).get("backbone"))
        if method is not None and held in learner_class(method).backbones:
            check_support_size(path)
            return (method,), held
    except (KeyError, IndexError, StopIteration):
        pass  # such names, but not all of them, or of other shapes
    raise InputError(f"{path} holds no whole learner of this package; give a checkpoint of {', '.join(LEARNERS)}.")


def find_token_learner(state: dict[str, Tensor]) -> str | None:
    """Which of cst, emat and ematseg has these tensors, None for any other learner."""
    first = "learner.corrtransformer.0.attn"
    if f"{first}.qkv.weight" in state:
        return "cst"
    if f"{first}.kv.weight" in state:
        return "emat" if "learner.decoder1_cls.0.weight" in state else "ematseg"
    return None


def check_support_size(path: Path) -> None:
    """Raise `InputError` for CST-large, which looks like CST: only the config.yaml beside it tells them apart."""
    try:
        text = (path.parent / "config.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    if re.search(r"^\s*SUPPORT_DIM:\s*325\s*$", text, re.MULTILINE):
        raise InputError(f"{path} holds CST-large, with 18 x 18 support cells, which is not here; give cst or emat.")


def choose_method(methods: tuple[str, ...], asked: str | None, settings: dict, path: Path) -> str:
    """The one of `methods` that is asked for, that the settings name, or that the file's folder is called."""
    said = settings.get("method")
    if asked is not None:
        held = (said,) if said in methods else methods
        if asked not in held:
            raise InputError(f"{path} holds {' or '.join(held)}, not {asked}; leave out the method, or give that one.")
        return asked
    if len(methods) == 1:
        return methods[0]
    for name in (said, path.resolve().parent.name.removesuffix("-weak").removesuffix("-fs-s")):
        if name in methods:
            return name
    raise InputError(f"{path} may be {' or '.join(methods)}, whose tensors look the same; give the method.")


def find_options(method: str, state: dict[str, Tensor], settings: dict) -> dict[str, int | bool]:
    """The learner's options that the shapes of its tensors or the settings tell; the others have their defaults."""
    known = {name: settings[name] for name in learner_class(method).options if settings.get(name) is not None}
    weight = state.get("down_qry.0.weight") if method == "pfenet" else None
    return known if weight is None or weight.dim() == 0 else known | {"width": weight.shape[0]}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A context in which a refusal of what stands in the file, such as its size, names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_settings_beside(path: Path) -> dict:
    """The settings.json that training writes next to its checkpoints; {} if there is none that can be read."""
    try:
        settings = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


# Reading, comparing, writing ------------------------------------------------------------------------------------------


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and settings of a file that `save_learner` wrote."""
    from safetensors import SafetensorError, safe_open

    if not is_text(str(path)):
        raise InputError(f"The path {str(path)!r} cannot be written as text; rename the file, or the folder above it.")
    try:
        with safe_open(path, "pt") as file:
            settings = json.loads((file.metadata() or {}).get("settings", "{}"))
            if not isinstance(settings, dict):
                raise ValueError("its settings are no dict")
            return {name: file.get_tensor(name) for name in file.keys()}, settings  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is broken or no checkpoint ({error}); fetch it again.") from error


def read_ckpt(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and settings of a file that PyTorch or Lightning wrote, of version 1.3 or later."""
    try:
        check_sums(path)
        # Lightning 1.3 files carry the command line (a Namespace) and name their callbacks' classes.
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipfile.is_zipfile(path) else []
        allowed = [(HARMLESS.get(name) or stand_in(name), name) for name in {*named, *HARMLESS}]
        with torch.serialization.safe_globals(allowed):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint.get("state_dict", checkpoint)
        if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
            raise TypeError("no tensors by name")
        settings = checkpoint.get("settings", checkpoint.get("hyper_parameters", {}))
        settings = vars(settings) if isinstance(settings, argparse.Namespace) else dict(settings)
        settings |= {"step": checkpoint["global_step"]} if "global_step" in checkpoint else {}
        settings = {name: to_plain(value) for name, value in settings.items()}
        return unwrap(state), {name: value for name, value in settings.items() if isinstance(value, PLAIN)}
    except Exception as error:  # a broken or hostile file can fail in any way
        if isinstance(error, pickle.UnpicklingError) and (code := re.search(r"(?:GLOBAL|would run) (\S+)", str(error))):
            raise InputError(
                f"{path} is refused, because reading it would run {code[1]}; get a file of tensors and plain values."
            ) from error
        raise InputError(f"{path} is broken or no checkpoint ({type(error).__name__}); fetch it again.") from error


def check_sums(path: str | Path) -> None:
    """Raise `BadZipFile` if a part of a file that PyTorch wrote does not fit its checksum, which PyTorch ignores."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if (part := file.testzip()) is not None:
                raise zipfile.BadZipFile(f"{part} does not fit its checksum")


def unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the learner's own names, without what DataParallel, DDP and `torch.compile` put into them.

    A name may also begin with the attribute that held the learner, if all do.
    """
    plain = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in state}
    if len(plain) < len(state):
        return state  # two would have one name: not such a file
    for holder in HOLDERS:
        if all(name.startswith(holder) for name in plain):
            plain = {name.removeprefix(holder): old for name, old in plain.items()}
    return {name: state[old] for name, old in plain.items()}


def to_plain(value):
    """A number of NumPy as Python's own, a path as text, anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, PurePath) else value


def stand_in(name: str) -> type:
    """A class in place of one that a file names: the file may mention it, but no object is made and no code runs."""

    def refuse(*_):
        raise pickle.UnpicklingError(f"would run {name}")

    return type(name, (), {"__new__": refuse})


def fill(model: Learner, state: dict[str, Tensor], path: Path) -> None:
    """Load the tensors into the learner; those of frozen modules may be absent, if all are. Raises `InputError`."""
    expected, frozen = model.state_dict(), frozen_names(model)
    needed = expected.keys() - (frozen if frozen.isdisjoint(state) else set())
    faults = [f"{name} is missing" for name in sorted(needed - state.keys())]
    faults += [f"{name} is not known" for name in sorted(state.keys() - expected.keys())]
    faults += filter(None, (find_fault(name, state[name], expected[name]) for name in expected.keys() & state.keys()))
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(
            f"{path} does not fit {model.method} on {model.backbone_name}: {faults[0]}{more}; fetch or train it again."
        )
    check_finite(state, path)
    model.load_state_dict(state, strict=False)


def find_fault(name: str, given: Tensor, expected: Tensor) -> str | None:
    """Why a tensor cannot take the place of the one that is expected, None if it can."""
    if given.shape != expected.shape:
        return f"{name} has shape {tuple(given.shape)} in place of {tuple(expected.shape)}"
    if not is_ordinary(given):
        return f"{name} is sparse, quantised or without values in place of an ordinary tensor"
    if expected.is_floating_point() and not given.is_floating_point():
        return f"{name} holds {given.dtype} in place of {expected.dtype}"
    return None


def is_ordinary(value) -> bool:
    """Whether a value is a tensor whose numbers all lie in memory as they are."""
    dense = isinstance(value, Tensor) and value.layout == torch.strided
    return dense and not (value.is_meta or value.is_quantized)


def check_finite(state: dict[str, Tensor], path: str | Path) -> None:
    """Raise `InputError` for weights that are no numbers, or too large for the learner's kind of float."""
    floats = {name: value.float() for name, value in state.items() if value.is_floating_point()}
    strange = next((name for name, value in floats.items() if not value.isfinite().all()), None)
    if strange is not None:
        raise InputError(
            f"{path} holds NaN or infinite numbers in {strange}, its training went wrong; take an earlier checkpoint."
        )


def trained_state(model: Learner) -> dict[str, Tensor]:
    """The learner's tensors by name, without those of its frozen modules."""
    frozen = frozen_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def frozen_names(model: Learner) -> set[str]:
    """Names of the tensors of a learner's frozen modules."""
    frozen = {id(tensor) for part in model.frozen_modules() for tensor in part.state_dict(keep_vars=True).values()}
    return {name for name, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in frozen}


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(model: Learner) -> int:
    """A checksum of the first frozen weight, which tells one set of weights from another."""
    weight = next(model.frozen_modules()[0].parameters())
    return zlib.crc32(weight.detach().cpu().float().numpy().tobytes())


def shrink(value: Tensor) -> Tensor:
    """Weights of convolutions in half precision, if it can represent them; everything else unchanged."""
    small = value.half() if value.is_floating_point() and value.dim() > 1 else value
    return small if torch.isfinite(small).all() else value
