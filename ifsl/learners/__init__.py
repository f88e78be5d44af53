"""The learners, one module each, and what they share; `build_model` makes one by its published name."""

from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import InputError, shown
from .registry import BACKBONES, LEARNERS

if TYPE_CHECKING:
    from .learner import Learner

BACKBONE_NAMES = tuple(BACKBONES)

__all__ = ["BACKBONES", "BACKBONE_NAMES", "LEARNERS", "Learner", "build_model", "learner_class"]


def learner_class(method: str) -> "type[Learner]":
    """The class of a method; raises `InputError` for an unknown name."""
    if not isinstance(method, str) or method not in LEARNERS:
        raise InputError(f"There is no method {shown(method)}; choose one of {', '.join(LEARNERS)}.")
    module, name = LEARNERS[method]
    return getattr(import_module(f".{module}", __name__), name)


def build_model(method: str, backbone: str = "resnet50", pretrained: bool = False, **options) -> "Learner":
    """An untrained learner in evaluation mode.

    method: panet, pfenet, hsnet, asnet, asnethm, cst, emat or ematseg; backbone: resnet50, resnet101, vgg16 or
    efficientnet_lite0, for the last three dino_vits8, dinov2_vits14 or efficientnet_lite0; pretrained: load the
    backbone's published weights. Way and shot come from the inputs, not from here. `options` are the learner's own:
    pfenet has `width` and `published_prior`, panet `frozen_norm`. Raises `InputError` for unknown names and options,
    for a backbone that the method does not work on, and for weights that cannot be found or downloaded.
    """
    cls = learner_class(method)
    unknown = sorted(set(options) - set(cls.options))
    if unknown:
        has = f"it has {' and '.join(cls.options)}" if cls.options else "it has none"
        raise InputError(f"{method} has no option {unknown[0]}; {has}.")
    cls.check_backbone(backbone)
    return cls(backbone, pretrained=pretrained, **options).eval()


def __getattr__(name: str):
    if name == "Learner":
        return import_module(".learner", __name__).Learner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
