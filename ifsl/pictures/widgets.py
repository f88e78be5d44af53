"""Figures that follow sliders and clicks (all chapters). They need a running kernel.

A widget keeps its figure in an `ipywidgets.Image`, so that moving a slider changes pixels and writes no output.
"""

from collections.abc import Callable

import ipywidgets
from torch import Tensor

from ..data.benchmarks import Benchmark
from ..data.episodes import Episode
from ..data.images import to_image
from ..errors import InputError
from ..run.folders import Prediction
from .canvas import InlineFigure
from .correlation import select_cell, show_correlation
from .episodes import show
from .folders import show_predictions
from .maps import show_threshold


def make_slider(name: str, value: int, low: int, high: int) -> ipywidgets.IntSlider:
    """A slider over whole numbers that reports its value when it is let go."""
    return ipywidgets.IntSlider(value, low, high, description=name, continuous_update=False)


class Screen(ipywidgets.VBox):
    """A figure under its controls; `plot(**values)` makes the figure, again each time that a control changes.

    controls: {argument of `plot`: control}. The sentence of an `InputError` from `plot` appears over the last good
    figure.
    """

    def __init__(self, plot: Callable[..., InlineFigure], controls: dict[str, ipywidgets.ValueWidget]):
        self.plot, self.controls = plot, controls
        self.picture = ipywidgets.Image(layout={"max_width": "100%", "align_self": "flex-start"})
        self.note = ipywidgets.Label()
        row = ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
        super().__init__([row, self.note, self.picture])
        for control in controls.values():
            control.observe(self.update, names="value")
        self.update()

    def update(self, _change=None) -> None:
        try:
            fig = self.plot(**{name: control.value for name, control in self.controls.items()})
        except InputError as error:
            self.note.value = str(error)
            return
        self.note.value = ""
        with self.picture.hold_sync():
            self.picture.format, self.picture.value = fig.encode()


def explore_episodes(bench: Benchmark, way: int = 2, shot: int = 1, index: int = 0, size: int = 272) -> Screen:
    """Any test episode of a benchmark: sliders for way, shot and index."""
    most = min(5, len(bench.class_ids))
    return Screen(  # many shots are shown small: then fewer pixels do, and an update stays quick
        lambda way, shot, index: show(bench.episode(index, way, shot, min(size, 800 // shot))),
        {
            "way": make_slider("way N", min(way, most), 1, most),
            "shot": make_slider("shot K", shot, 1, 5),
            "index": make_slider("episode", index, 0, 999),
        },
    )


def explore_question(ask: Callable[[int, list[int]], Episode], names: dict[int, str], queries: int) -> Screen:
    """Ask a query for any of the fold's classes: a button for each, and a slider over the queries.

    ask: the number of a query and class ids to an episode; names: {class id: name} of the fold; queries: how many.
    """

    def plot(query: int, **chosen: bool) -> InlineFigure:
        classes = [int(c) for c, pressed in chosen.items() if pressed]
        if not classes:
            raise InputError("Choose at least one class to ask for.")
        return show(ask(query, classes))

    buttons = {
        str(c): ipywidgets.ToggleButton(place < 2, description=name) for place, (c, name) in enumerate(names.items())
    }
    return Screen(plot, {"query": make_slider("query", 0, 0, queries - 1), **buttons})


def explore_threshold(cases: dict[str, tuple[Episode, Tensor]], limit: float = 0.5) -> Screen:
    """What a threshold does to presence: a slider for it, and a choice of episodes.

    cases: {label: (episode, its maps (N, 2, h, w) of log-probabilities)}.
    """
    return Screen(
        lambda case, limit: show_threshold(*cases[case], limit),
        {
            "case": ipywidgets.Dropdown(options=list(cases), description="episode"),
            "limit": ipywidgets.FloatSlider(
                limit, min=0, max=1, step=0.01, description="threshold", continuous_update=False
            ),
        },
    )


def explore_correlation(ep: Episode, correlations: dict[str, Tensor], x: int = 50, y: int = 50) -> Screen:
    """Move a cross over the query and see which cells of the first support resemble it, level by level.

    correlations: {name: (L, Hq, Wq, Hs, Ws)} of the query with the support of way 1, shot 1.
    """
    support, mask = to_image(ep.supports[0, 0]), ep.masks[0, 0]

    def plot(x: int, y: int, inside_only: bool) -> InlineFigure:
        point = x / 100, y / 100
        return show_correlation(ep.picture, point, support, mask, select_cell(correlations, point), inside_only)

    return Screen(
        plot,
        {
            "x": make_slider("across, %", x, 0, 100),
            "y": make_slider("down, %", y, 0, 100),
            "inside_only": ipywidgets.Checkbox(False, description="only inside the mask", indent=False),
        },
    )


def explore_shots(found: dict[int, dict[str, Prediction]]) -> Screen:
    """Predictions for a photo with more or fewer examples: {K: {learner: its prediction with K examples}}."""
    return Screen(
        lambda shot: show_predictions(found[shot]), {"shot": make_slider("shot K", min(found), min(found), max(found))}
    )
