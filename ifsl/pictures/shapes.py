"""The shapes of the tensors on a learner's block diagram, from the facts about its backbone.

Shapes are those of one support (one episode, way and shot), written channels first: `128 · 50×50 · 2×2` has 128
channels at each pair of 50 x 50 query cells and 2 x 2 support cells.

Letters: s side of the support tokens' grid.
"""

from ..errors import InputError, shown
from ..learners import learner_class
from ..learners.registry import BACKBONES, Backbone
from ..learners.vit import HEADS

Shape = tuple[int | tuple[int, int], ...]
"""The axes of a tensor; a pair is a grid (height, width)."""

PUBLISHED = {"cst": "dino_vits8", "emat": "dinov2_vits14"}
"""The published backbones of learners that do not have resnet50."""
WIDTH = 256  # of PFENet
STRIDES = {  # of the layers that squeeze the support grid: layer2, layer3, layer4
    "hsnet": ((4, 4, 2), (4, 2, 2), (2, 2, 2)),
    "asnet": ((4, 4), (4, 4), (4, 2)),
}
TOKENS = {"cst": (12, 32, 128), "emat": (20, 64, 32)}  # s on a vision transformer, and the channels of both layers


def find_facts(method: str, backbone: str | None) -> tuple[str, Backbone]:
    """A backbone's name, by default the published one of a method, and its facts.

    Raises `InputError` for one that the learner does not work on.
    """
    name = backbone or PUBLISHED.get(method, "resnet50")
    known = learner_class(method).backbones
    if name not in known:
        raise InputError(f"There is no backbone {shown(name)} for {method}; choose one of {', '.join(known)}.")
    return name, BACKBONES[name]


def find_sides(backbone: str, facts: Backbone) -> list[int]:
    """The sides of the feature grids of stride 8, 16 and 32."""
    side, sides = facts.image_size, []
    for stride in (2, 4, 8, 16, 32):
        side = side // 2 if backbone == "vgg16" else divide(side, 2)  # VGG's poolings leave out what is over
        sides += [side] if stride >= 8 else []
    return sides


def divide(side: int, stride: int) -> int:
    """The side of a grid after a stride, rounded up."""
    return -(-side // stride)


def square(side: int) -> tuple[int, int]:
    return side, side


def compute_shapes(method: str, backbone: str | None = None) -> dict[str, Shape]:
    """{name of a tensor: its shape} for a learner, in the order of its computation."""
    name, facts = find_facts(method, backbone)
    if method == "panet":
        return list_panet(facts, find_sides(name, facts))
    if method == "pfenet":
        return list_pfenet(facts, find_sides(name, facts)[0])
    if method in TOKENS:
        return list_tokens(method, name, facts)
    return list_correlations(method, facts, find_sides(name, facts))


def list_panet(facts: Backbone, sides: list[int]) -> dict[str, Shape]:
    channels, grid = facts.channels[2], square(sides[2])
    return {"features": (channels, grid), "prototypes": (2, channels), "maps": (2, grid)}


def list_pfenet(facts: Backbone, side: int) -> dict[str, Shape]:
    grid = square(side)
    return {
        "middle": (sum(facts.channels[:2]), grid),
        "layer3": (facts.channels[1], grid),
        "layer4": (facts.channels[2], grid),
        "reduced": (WIDTH, grid),
        "vector": (WIDTH,),
        "prior": (1, grid),
        "maps": (2, grid),
    }


def list_correlations(method: str, facts: Backbone, sides: list[int]) -> dict[str, Shape]:
    """HSNet, ASNet and HM: three levels of correlations, squeezed to 128 channels and mixed."""
    pooled = method != "hsnet"
    supports = [divide(side, 2) if pooled and side > 32 else side for side in sides]
    shapes: dict[str, Shape] = {}
    for level, depth, side, support, strides in zip(
        (2, 3, 4), facts.depths, sides, supports, STRIDES["asnet" if pooled else "hsnet"], strict=True
    ):
        shapes[f"correlation{level}"] = (depth, square(side), square(support))
        for stride in strides:
            support = divide(support, stride)
        shapes[f"squeezed{level}"] = (128, square(side), square(support))
    left = 1 if pooled else 2  # support cells in a row
    shapes["mixed3"] = (128, square(sides[1]), square(left))
    shapes["cells"] = (128, square(sides[0]))
    shapes["maps"] = (2, square(2 * sides[0]))
    return shapes


def list_tokens(method: str, name: str, facts: Backbone) -> dict[str, Shape]:
    """CST and EMAT: a row of support tokens at each query cell, reduced to two."""
    side, first, second = TOKENS[method]
    if facts.patch:
        grid, heads = square(facts.image_size // facts.patch), HEADS
    else:  # the tiny preset: the grid of stride 16, and as many support cells for both learners
        grid, heads, side = square(find_sides(name, facts)[1]), 1, 12
    middle = side // (4 if method == "cst" else 2)
    return {
        "query": (sum(facts.depths), grid),
        "support": (sum(facts.depths), 1 + side**2),
        "correlation": (heads * sum(facts.depths), grid, 1 + side**2),
        "layer0": (first, grid, 1 + middle**2),
        "layer1": (second, grid, 2),
        "token": (second, grid),
        "class": (2,),
        "maps": (2, square(2 * grid[0])),
    }


def write_shape(shape: Shape) -> str:
    """`128 · 50×50 · 2×2` for (128, (50, 50), (2, 2))."""
    return " · ".join(str(axis) if isinstance(axis, int) else f"{axis[0]}×{axis[1]}" for axis in shape)


def flatten(shape: Shape) -> tuple[int, ...]:
    """The axes as PyTorch counts them, grids taken apart."""
    return tuple(side for axis in shape for side in ((axis,) if isinstance(axis, int) else axis))
