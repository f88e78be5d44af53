"""The five learners, one module each; `build_model` makes one by its published name."""

from importlib import import_module

from ..errors import InputError, shown
from .learner import Learner

METHODS = {
    "panet": ("panet", "PANet"),
    "pfenet": ("pfenet", "PFENet"),
    "hsnet": ("hsnet", "HSNet"),
    "asnet": ("asnet", "ASNet"),
    "asnethm": ("hybrid_masking", "HybridMasking"),
}
"""Published method name: (module, class)."""


def build_model(method: str, backbone: str = "resnet50", pretrained: bool = False, **options) -> Learner:
    """A learner in evaluation mode, untrained.

    method: panet, pfenet, hsnet, asnet or asnethm; backbone: resnet50, resnet101 or efficientnet_lite0; pretrained:
    load the backbone's ImageNet weights. Way and shot come from the inputs, not from here. `options` go to the
    learner's own constructor (PFENet takes its `width`). Raises `InputError` for unknown
    names and weights that cannot be had.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"There is no method {shown(method)}; choose one of {', '.join(METHODS)}.")
    if options and (method != "pfenet" or set(options) != {"width"}):
        raise InputError(f"{method} has no option {min(options)}; pfenet alone has one, its width.")
    module, name = METHODS[method]
    cls = getattr(import_module(f"{__name__}.{module}"), name)
    return cls(backbone, pretrained=pretrained, **options).eval()
