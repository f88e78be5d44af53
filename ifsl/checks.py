"""Refusals: what a learner cannot be given, each in one sentence.

Letters: B episodes, N ways, K shots, S image side, H W size of the query's own image.
"""

from torch import Tensor

from .errors import InputError, is_int, shown


def check_flag(name: str, value) -> bool:
    """The value, if it is True or False; raises `InputError` for anything else."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; give True or False.")
    return value


def check_shapes(
    query: Tensor, supports: Tensor, masks: Tensor | None, weight: Tensor, needs_masks: str | None = None
) -> None:
    """Raise `InputError` unless the shapes make up an episode: (B, 3, S, S), (B, N, K, 3, S, S) and (B, N, K, S, S).

    weight: one of the learner's, for its device and kind of float; needs_masks: why it cannot do without masks, None if
    it can. No value is read.
    """
    if masks is None and needs_masks:
        raise InputError(needs_masks)
    given = {"query": query, "supports": supports} | ({} if masks is None else {"masks": masks})
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"{name} is a {type(tensor).__name__}; give a torch tensor.")
        if tensor.device != weight.device:
            raise InputError(f"{name} is on {tensor.device}, the learner on {weight.device}; move one.")
        if name != "masks" and not tensor.is_floating_point():
            raise InputError(f"{name} holds {tensor.dtype}; give normalised images as floats.")
    if query.dim() != 4 or query.shape[1] != 3:
        raise InputError(f"query has shape {tuple(query.shape)}; give (B, 3, S, S).")
    if supports.dim() != 6 or supports.shape[3] != 3:
        raise InputError(f"supports has shape {tuple(supports.shape)}; give (B, N, K, 3, S, S).")
    if supports.shape[0] != query.shape[0] or supports.shape[-2:] != query.shape[-2:]:
        raise InputError(
            f"query {tuple(query.shape)} and supports {tuple(supports.shape)} differ in batch or image size; "
            "give as many support sets as queries, all images of one size."
        )
    if query.shape[-2] != query.shape[-1]:
        raise InputError(f"query has shape {tuple(query.shape)}; resize images to a square, S x S.")
    if query.dtype != supports.dtype:
        raise InputError(f"query holds {query.dtype}, supports {supports.dtype}; give both in one kind of float.")
    if query.dtype != weight.dtype:
        raise InputError(
            f"The images hold {query.dtype}, the learner {weight.dtype}; convert one, such as by model.float()."
        )
    if 0 in supports.shape:
        raise InputError(f"supports has shape {tuple(supports.shape)}; give at least one episode, way and shot.")
    expected = supports.shape[:3] + supports.shape[-2:]
    if masks is not None and masks.shape != expected:
        raise InputError(f"masks has shape {tuple(masks.shape)}; these supports need {tuple(expected)}.")


def check_values(query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
    """Raise `InputError` for images with NaN or infinite values and for masks with values besides 0 and 1.

    On a GPU this waits for the values, so it is no part of a training step.
    """
    for name, tensor in (("query", query), ("supports", supports)):
        if not all(bound.isfinite() for bound in tensor.aminmax()):
            raise InputError(f"{name} holds NaN or infinite values; look at how the images were read.")
    if masks is not None and not ((masks == 0) | (masks == 1)).all():
        raise InputError("masks holds values besides 0 and 1; give one binary mask per support image.")


def check_sizes(sizes: list[tuple[int, int]], queries: int) -> list[tuple[int, int]]:
    """Raise `InputError` unless there is one (H, W) for each query."""
    if not isinstance(sizes, list | tuple) or len(sizes) != queries:
        raise InputError(f"sizes is {shown(sizes)} for {queries} queries; give a list of one (height, width) each.")
    for size in sizes:
        if len(size) != 2 or not all(is_int(side) and side > 0 for side in size):
            raise InputError(f"sizes holds {shown(size)}; give (height, width) in whole pixels, from 1.")
    return [tuple(size) for size in sizes]
