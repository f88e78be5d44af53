"""The schematics are readable on white and on dark pages, and the shapes on them are those of a forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from PIL import Image

from ifsl import InputError, build_model
from ifsl.course.costs import TITLES
from ifsl.learners import BACKBONES
from ifsl.pictures import draw_learner, draw_system
from ifsl.pictures.canvas import WIDTH
from ifsl.pictures.diagrams import DIAGRAMS
from ifsl.pictures.schematics import PARTS
from ifsl.pictures.shapes import compute_shapes, find_sides, flatten, write_shape
from ifsl.pictures.sketching import MIDDLE, Sketch

PAGES = "#ffffff", "#111111"  # JupyterLab's, light and dark
SMALL = "efficientnet_lite0"
FIGURES: dict[str, Callable[[], Sketch]] = {
    "system": draw_system,
    "system, small": lambda: draw_system(small=True),
    **{f"system, {part}": lambda part=part: draw_system(part) for part in PARTS},
    **{method: lambda method=method: draw_learner(method) for method in DIAGRAMS},
    **{f"{method}, {SMALL}": lambda method=method: draw_learner(method, SMALL) for method in DIAGRAMS},
}


@cache
def figure(name: str) -> Sketch:
    return FIGURES[name]()


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances, as WCAG defines it: 1 … 21."""
    lights = []
    for colour in (one, other):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        lights.append(np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(lights) / min(lights)


def texts(fig: Sketch) -> list[Text]:
    return [text for text in fig.axes[0].texts if text.get_text()]


def apart(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes x0 y0 x1 y1 have no area in common, to a pixel."""
    return a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1


def within(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[:2] >= b[:2] - 0.5).all() and (a[2:] <= b[2:] + 0.5).all())


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_lies_on_text(name: str) -> None:
    """Texts with their labels, boxes and arrows: what covers a text, or is cut off?"""
    fig = figure(name)
    fig.draw_without_rendering()
    ax, page = fig.axes[0], np.array([0, 0, *fig.get_size_inches() * fig.dpi])
    assert fig.get_figwidth() <= WIDTH
    words = [(text.get_text(), text.get_window_extent().extents, text.get_bbox_patch()) for text in texts(fig)]
    words = [
        (word, box if patch is None else patch.get_window_extent().extents, patch is not None)
        for word, box, patch in words
    ]
    boxes = [patch.get_window_extent().extents for patch in ax.patches if patch.get_gid() == "box"]
    for word, box, _ in words:
        assert within(box, page), f"{word} is cut off"
        for other in boxes:
            assert apart(box, other) or within(box, other), f"{word} crosses the edge of a box"
    for (one, a, _), (other, b, _) in combinations(words, 2):
        assert apart(a, b), f"{one} lies on {other}"
    for start, end in pieces(fig):
        line = start + np.linspace(0, 1, 200)[:, None] * (end - start)
        for word, box, label in words:
            hit = ((line > box[:2]) & (line < box[2:])).all(axis=1).any()
            assert label or not hit, f"an arrow crosses {word}"


def pieces(fig: Sketch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The straight pieces of all arrows, in pixels."""
    ax = fig.axes[0]
    for arrow in ax.patches:
        if isinstance(arrow, FancyArrowPatch):
            points = ax.transData.transform(arrow._path_original.vertices)
            yield from zip(points, points[1:], strict=False)


@pytest.mark.parametrize("method", DIAGRAMS)
def test_arrows_go_round_boxes(method: str) -> None:
    fig = figure(method)
    fig.draw_without_rendering()
    boxes = [patch.get_window_extent().extents for patch in fig.axes[0].patches if patch.get_gid() == "box"]
    for start, end in pieces(fig):
        line = start + np.linspace(0.02, 0.98, 200)[:, None] * (end - start)
        for box in boxes:
            hit = ((line > box[:2] + 2) & (line < box[2:] - 2)).all(axis=1).any()
            from_within = ((start > box[:2] + 2) & (start < box[2:] - 2)).all()
            assert not hit or from_within, f"an arrow from {start} to {end} passes through a box"


@pytest.mark.parametrize("name", ["system", "system, comparison", "cst"])
def test_text_is_readable_on_white_and_on_dark(name: str) -> None:
    """Against what is drawn behind it, on both pages; and large enough."""
    fig = figure(name)
    assert min(text.get_fontsize() for text in texts(fig)) >= 8.5
    bundle, about = fig._repr_mimebundle_()
    drawn = Image.open(BytesIO(bundle["image/png"]))
    assert drawn.mode == "RGBA" and len(bundle["image/png"]) < 250_000
    assert 2 * about["image/png"]["width"] == drawn.width
    fig.draw_without_rendering()  # at its own resolution again
    fine = drawn.width / fig.get_figwidth() / fig.dpi
    for page in PAGES:
        seen = Image.new("RGBA", drawn.size, page)
        seen.alpha_composite(drawn)
        for text in texts(fig):
            if text.get_rotation() or len(text.get_text()) < 2:
                continue
            x0, y0, x1, y1 = text.get_window_extent().extents * fine
            box = seen.crop((round(x0), round(drawn.height - y1), round(x1), round(drawn.height - y0))).convert("RGB")
            _, most = max(box.getcolors(box.width * box.height))
            behind = "#{:02x}{:02x}{:02x}".format(*most)
            least = 2.2 if text.get_color() == MIDDLE and behind not in PAGES else 4  # pale parts are not to be read
            assert contrast(text.get_color(), behind) >= least, f"{text.get_text()} on {behind}"


def test_highlighted_parts_alone_are_in_full_colour() -> None:
    whole, one = draw_system(small=True), draw_system("backbone")
    strong = [[image for image in fig.axes[0].images if image.get_alpha() is None] for fig in (whole, one)]
    assert len(strong[0]) == len(whole.axes[0].images) > len(strong[1]) == 6  # three grids for each image
    both = draw_system(["maps", "presence"])
    assert len([image for image in both.axes[0].images if image.get_alpha() is None]) == 2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="no part 'loss'"):
        draw_system("loss")
    with pytest.raises(InputError, match="no diagram of 'unet'"):
        draw_learner("unet")
    with pytest.raises(InputError, match="no backbone 'vgg19' for asnet"):
        draw_learner("asnet", "vgg19")


# Shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", [None, SMALL])
@pytest.mark.parametrize("method", DIAGRAMS)
def test_every_shape_is_on_an_arrow(method: str, backbone: str | None) -> None:
    fig = figure(f"{method}, {backbone}" if backbone else method)
    labels = {text.get_text() for text in texts(fig) if text.get_bbox_patch()}
    expected = {write_shape(shape) for shape in compute_shapes(method, backbone).values()}
    assert labels - {"1"} == expected  # 1 is the way's number


def test_every_learner_of_the_chapters_has_a_diagram() -> None:
    assert set(TITLES) == set(DIAGRAMS)


def test_sides_of_published_sizes() -> None:
    assert find_sides("resnet50", BACKBONES["resnet50"]) == [50, 25, 13]
    assert find_sides("vgg16", BACKBONES["vgg16"]) == [50, 25, 12]
    assert find_sides(SMALL, BACKBONES[SMALL]) == [34, 17, 9]


@contextmanager
def recorded(monkeypatch, **places) -> Iterator[dict[str, tuple[int, ...]]]:
    """Shapes of tensors that pass a place: a module ("in" or "out"), or a function of a module, by its name."""
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = []
    for name, (owner, what) in places.items():
        if isinstance(owner, torch.nn.Module):

            def hook(module, inputs, output, name=name, what=what):
                tensor = inputs[0] if what == "in" else output
                shapes.setdefault(name, tuple(tensor.shape))

            hooks.append(owner.register_forward_hook(hook))
        else:
            original = getattr(owner, what)

            def wrapped(*args, name=name, original=original, **options):
                found = original(*args, **options)
                shapes.setdefault(name, tuple(found.shape))
                return found

            monkeypatch.setattr(owner, what, wrapped)
    yield shapes
    for hook in hooks:
        hook.remove()


def pass_forward(model) -> dict[str, torch.Tensor]:
    """One episode of one class and one shot."""
    side = model.image_size
    mask = torch.zeros(1, 1, 1, side, side)
    mask[..., 60:200, 50:180] = 1
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, side, side, generator=generator)
    with torch.inference_mode():
        return model.maps(images[:1], images[1:].reshape(1, 1, 1, 3, side, side), mask)


def compare(method: str, found: dict[str, tuple[int, ...]], *batch: str) -> None:
    """The shapes of a forward pass against those of the diagram; all begin with a batch axis of 1."""
    expected = {name: flatten(shape) for name, shape in compute_shapes(method, SMALL).items()}
    assert {name: shape[1:] for name, shape in found.items()} == {name: expected[name] for name in found}
    assert set(expected) - set(found) <= set(batch)


def test_shapes_of_panet(monkeypatch) -> None:
    from ifsl.learners import panet

    model = build_model("panet", SMALL)
    with recorded(monkeypatch, prototypes=(panet, "average"), maps=(panet, "cosine")) as found:
        pass_forward(model)
    found["features"] = tuple(model.encode_query(torch.zeros(1, 3, 272, 272))[0][0].shape)
    compare("panet", found)


def test_shapes_of_pfenet(monkeypatch) -> None:
    from ifsl.learners import pfenet

    model = build_model("pfenet", SMALL)
    places = {
        "middle": (model.down_qry, "in"), "reduced": (model.down_qry, "out"), "layer3": (model.backbone3, "out"),
        "layer4": (model.backbone4, "out"), "vector": (pfenet, "masked_mean"), "prior": (pfenet, "prior_maps"),
        "maps": (model.learner.cls, "out"),
    }  # fmt: skip
    with recorded(monkeypatch, **places) as found:
        pass_forward(model)
    found["prior"] = found["prior"][1:]  # episode, way, shot, h, w
    found["prior"] = (1, *found["prior"][1:])
    compare("pfenet", found)


@pytest.mark.parametrize("method", ["hsnet", "asnet", "asnethm"])
def test_shapes_of_correlation_learners(monkeypatch, method: str) -> None:
    model = build_model(method, SMALL)
    network, correlations = model.learner, []
    network.register_forward_pre_hook(lambda module, inputs: correlations.extend(inputs[0]))
    blocks = {f"squeezed{level}": getattr(network, f"encoder_layer{level}") for level in (2, 3, 4)}
    blocks["mixed3"] = network.encoder_layer4to3
    places = {name: (block[-1], "out") for name, block in blocks.items()}
    with recorded(monkeypatch, cells=(network.decoder1, "in"), maps=(network, "out"), **places) as found:
        pass_forward(model)
    found |= {f"correlation{level}": tuple(x.shape) for level, x in zip((2, 3, 4), correlations, strict=True)}
    for name in blocks:  # ASNet has both axes of the query grid in one
        if len(found[name]) == 5:
            batch, channels, cells, *rest = found[name]
            found[name] = batch, channels, round(cells**0.5), round(cells**0.5), *rest
    compare(method, found)


@pytest.mark.parametrize("method", ["cst", "emat"])
def test_shapes_of_token_learners(monkeypatch, method: str) -> None:
    model = build_model(method, SMALL)
    network = model.learner
    places = {
        "correlation": (network, "in"), "layer0": (network.corrtransformer[0], "out"),
        "layer1": (network.corrtransformer[1], "out"), "token": (network.decoder1_cls, "in"),
        "class": (network.decoder2_cls, "out"), "maps": (network.decoder2_seg, "out"),
    }  # fmt: skip
    with recorded(monkeypatch, **places) as found:
        pass_forward(model)
    found["class"] = found["class"][:2]  # before the mean over cells
    side = round(found["correlation"][2] ** 0.5)
    for name in ("correlation", "layer0", "layer1"):  # both axes of the query grid are in one
        batch, channels, cells, tokens = found[name]
        found[name] = batch, channels, side, cells // side, tokens
    compare(method, found, "query", "support")
