"""Integrative few-shot learning: decide which of N classes an image shows, and where, from K examples of each.

The chapters in `notebooks/` explain every module of this package. Names are imported when they are first used, so that
`import ifsl` costs next to nothing.
"""

from importlib import import_module

_HOME = {
    "Benchmark": "data.benchmarks",
    "InputError": "errors",
    "build_model": "learners",
    "load_model": "run.checkpoints",
    "ExactRatio": "run.metrics",
    "MeanIoU": "run.metrics",
    "evaluate": "run.evaluation",
    "predict_folder": "run.folders",
    "show": "pictures.episodes",
}

__all__ = sorted(_HOME)
__version__ = "0.2.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'ifsl' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
