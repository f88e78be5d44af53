"""Pictures that answer to sliders and clicks (all chapters). They need a running kernel; figures.py draws for them.

A widget keeps its picture in an `ipywidgets.Image`, so that moving a slider changes pixels and writes no output.
"""

from collections.abc import Callable

import ipywidgets
from torch import Tensor

from ..data.benchmarks import Benchmark
from ..data.episodes import Episode, to_picture
from ..errors import InputError
from ..run.folders import Prediction
from .explain import answers, at, threshold
from .figures import Picture, asked, show


def slider(name: str, value: int, low: int, high: int) -> ipywidgets.IntSlider:
    """A slider over whole numbers that speaks when it is let go."""
    return ipywidgets.IntSlider(value, low, high, description=name, continuous_update=False)


class Screen(ipywidgets.VBox):
    """A picture under its controls; `draw(**values)` makes the figure, again each time a control changes.

    controls: {argument of `draw`: control}. An `InputError` of `draw` stands as a sentence over the last good picture.
    """

    def __init__(self, draw: Callable[..., Picture], controls: dict[str, ipywidgets.ValueWidget]):
        self.draw, self.controls = draw, controls
        self.picture = ipywidgets.Image(layout={"max_width": "100%", "align_self": "flex-start"})
        self.note = ipywidgets.Label()
        row = ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
        super().__init__([row, self.note, self.picture])
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self.redraw()

    def redraw(self, _change=None) -> None:
        try:
            fig = self.draw(**{name: control.value for name, control in self.controls.items()})
        except InputError as error:
            self.note.value = str(error)
            return
        self.note.value = ""
        with self.picture.hold_sync():
            self.picture.format, self.picture.value = fig.encode()


def explore_episodes(bench: Benchmark, way: int = 2, shot: int = 1, index: int = 0, size: int = 272) -> Screen:
    """Any test episode of a benchmark: sliders for way, shot and index."""
    most = min(5, len(bench.class_ids))
    return Screen(  # with many shots each is drawn small: then fewer pixels do, and a redraw stays quick
        lambda way, shot, index: show(bench.episode(index, way, shot, min(size, 800 // shot))),
        {
            "way": slider("way N", min(way, most), 1, most),
            "shot": slider("shot K", shot, 1, 5),
            "index": slider("episode", index, 0, 999),
        },
    )


def explore_question(ask: Callable[[int, list[int]], Episode], names: dict[int, str], queries: int) -> Screen:
    """Ask a query for any of the fold's classes: a button for each, and a slider over the queries.

    ask: the number of a query and class ids to an episode; names: {class id: name} of the fold; queries: how many.
    """

    def draw(query: int, **chosen: bool) -> Picture:
        classes = [int(c) for c, pressed in chosen.items() if pressed]
        if not classes:
            raise InputError("Choose at least one class to ask for.")
        return show(ask(query, classes))

    buttons = {
        str(c): ipywidgets.ToggleButton(place < 2, description=name) for place, (c, name) in enumerate(names.items())
    }
    return Screen(draw, {"query": slider("query", 0, 0, queries - 1), **buttons})


def explore_threshold(cases: dict[str, tuple[Episode, Tensor]], limit: float = 0.5) -> Screen:
    """What a threshold does to presence: a slider for it, and a choice of episodes.

    cases: {label: (episode, its maps (N, 2, h, w) of log-probabilities)}.
    """
    return Screen(
        lambda case, limit: threshold(*cases[case], limit),
        {
            "case": ipywidgets.Dropdown(options=list(cases), description="episode"),
            "limit": ipywidgets.FloatSlider(
                limit, min=0, max=1, step=0.01, description="threshold", continuous_update=False
            ),
        },
    )


def explore_correlation(ep: Episode, correlations: dict[str, Tensor], x: int = 50, y: int = 50) -> Screen:
    """Move a cross over the query and see where the first support answers, level by level.

    correlations: {name: (L, Hq, Wq, Hs, Ws)} of the query with the support of way 1, shot 1.
    """
    support, mask = to_picture(ep.supports[0, 0]), ep.masks[0, 0]

    def draw(x: int, y: int, inside_only: bool) -> Picture:
        point = x / 100, y / 100
        return answers(ep.picture, point, support, mask, at(correlations, point), inside_only)

    return Screen(
        draw,
        {
            "x": slider("across, %", x, 0, 100),
            "y": slider("down, %", y, 0, 100),
            "inside_only": ipywidgets.Checkbox(False, description="only inside the mask", indent=False),
        },
    )


def explore_shots(found: dict[int, dict[str, Prediction]]) -> Screen:
    """What a photo is answered with a few examples more or less: {K: {learner: its answer with K examples}}."""
    return Screen(lambda shot: asked(found[shot]), {"shot": slider("shot K", min(found), min(found), max(found))})
