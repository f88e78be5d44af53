"""Scores, learning curves and speed as charts (chapters 00, 05 to 13 and 18)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .canvas import DARK, DPI, FONT, INK, LIGHT, LINES, QUIET, SOFT, WIDTH, InlineFigure

MARKERS = "osD^vX"
ACCENT, OPEN = "#D55E00", "#8C8C8C"  # what to look at, and what is undecided
Scores = dict[str, tuple[float, float, float]]
"""{metric: (value, low, high)} in %."""


def make_chart(height: float, rows: int = 1, columns: int = 1, **options) -> tuple[InlineFigure, np.ndarray]:
    """A figure as wide as a notebook, some inches high, and its axes (rows, columns) without the upper right frame."""
    fig = InlineFigure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


def name_bars(ax: Axes, names: list[str], rows: int | None = None) -> None:
    """The names of horizontal bars, the first on top; rows: how many there is room for."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim((rows or len(names)) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def stack_bars(ax: Axes, bars: dict[str, dict[str, float]], form: str) -> float:
    """Draw bars made of parts, {bar: {part: size}}, with the sum in the format `form` behind each; returns the longest.

    The parts are the same in each bar, each in a colour of its own.
    """
    starts = np.zeros(len(bars))
    for part, colour in zip(next(iter(bars.values())), LINES, strict=False):
        sizes = np.array([parts[part] for parts in bars.values()])
        ax.barh(range(len(bars)), sizes, 0.62, starts, color=colour, edgecolor="white", linewidth=0.5, label=part)
        starts += sizes
    for y, length in enumerate(starts):
        ax.text(length + 0.01 * starts.max(), y, f"{length:{form}}", va="center", color=INK)
    return starts.max()


def trim_ticks(ax: Axes) -> None:
    """Fix the ticks of both axes to those inside the limits."""
    for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
        axis.set_ticks([tick for tick in axis.get_ticklocs() if low <= tick <= high])


def legend_of_lines(names: list[str], size: float) -> list[Line2D]:
    """A handle for each line, in its colour and with its marker."""
    return [
        Line2D([], [], color=LINES[i % 6], marker=MARKERS[i % 6], markersize=size, label=name)
        for i, name in enumerate(names)
    ]


def plot_scores(rows: dict[str, Scores]) -> InlineFigure:
    """Bars for a few learners: {learner: scores}; a whisker spans low to high."""
    metrics = list(next(iter(rows.values())))
    fig, axes = make_chart(0.4 * len(rows) + 0.9, 1, len(metrics), sharey=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        for y, row in enumerate(rows.values()):
            value, low, high = row[metric]
            ax.barh(y, value, 0.62, color=SOFT)
            if low < high:
                ends = [[max(value - low, 0)], [max(high - value, 0)]]  # over few episodes the value may lie outside
                ax.errorbar(value, y, xerr=ends, color=INK, capsize=3, linewidth=1)
            ax.text(max(value, high) + 2, y, f"{value:.1f}", va="center", color=INK)
        name_bars(ax, list(rows))
        ax.set(xlim=(0, 112), xlabel=f"{metric} (%)", xticks=range(0, 101, 20))
    return fig


def plot_curves(runs: dict[str, list[dict[str, str]]], best: int | None = None) -> InlineFigure:
    """Loss, and the two metrics in validation, over the steps of training runs.

    runs: {name: the rows of a metrics.csv, as `read_curve` returns them}; best: a step to mark, such as that of the
    best checkpoint.
    """
    fig, axes = make_chart(2.9, 1, 3)
    labels = {
        "loss": "training loss",
        "val_er": "validation ER (%)",
        "val_miou": "validation mIoU (%)",
        "val_fb_iou": "validation FB-IoU (%)",
    }
    first = next(iter(runs.values()))[0]
    columns = {name: label for name, label in labels.items() if name in first}
    for ax, (column, label) in zip(axes[0], columns.items(), strict=True):
        for i, rows in enumerate(runs.values()):
            points = np.array([(int(row["step"]), float(row[column])) for row in rows if row[column]]).reshape(-1, 2)
            marker = "" if column == "loss" and len(points) > 2 else MARKERS[i % 6]
            ax.plot(*points.T, color=LINES[i % 6], linewidth=1.3, marker=marker, markersize=4)
        if best is not None:
            ax.axvline(best, color=QUIET, linewidth=1, linestyle="--", zorder=0)
        ax.set(xlabel="step", ylabel=label, xlim=(0, None), ylim=(0, None))
        if column != "loss":
            ax.set(ylim=(-2, 102), yticks=range(0, 101, 20))
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    handles = legend_of_lines(list(runs), 4)
    if best is not None:
        handles.append(Line2D([], [], color=QUIET, linewidth=1, linestyle="--", label=f"best, step {best}"))
    fig.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6), frameon=False)
    return fig


def plot_ways(lines: dict[str, dict[int, Scores]]) -> InlineFigure:
    """Scores over the number of ways, a column for each learner and a row for each metric: {learner: {N: scores}}.

    A whisker spans low to high; the other learners are pale. The dashed line has the ER that a learner would have at N
    ways if its replies for each class were right as often as at one way, and independent.
    """
    metrics = list(next(iter(next(iter(lines.values())).values())))
    fig, axes = make_chart(4.4, len(metrics), len(lines), sharex=True, sharey=True)
    for row, metric in zip(axes, metrics, strict=True):
        for ax, name in zip(row, lines, strict=True):
            for other, points in lines.items():
                x = sorted(points)
                value, low, high = np.array([points[n][metric] for n in x]).T
                if other != name:
                    ax.plot(x, value, color=SOFT, linewidth=0.8, alpha=0.7, zorder=1)
                    continue
                ends = np.maximum([value - low, high - value], 0)
                ax.errorbar(x, value, ends, color=DARK, marker="o", markersize=4, linewidth=1.8, capsize=2, zorder=3)
                if metric == "ER":
                    power = [100 * (value[0] / 100) ** n for n in x]
                    ax.plot(x, power, color=ACCENT, linewidth=1.4, linestyle="--", zorder=2)
            ax.set(ylim=(0, 102), yticks=range(0, 101, 25), xticks=x)
            ax.grid(axis="y", color=LIGHT)
            if ax in axes[0]:
                ax.set_title(name, fontsize=FONT, fontweight="bold", color=INK)
        row[0].set_ylabel(f"{metric} (%)")
    fig.supxlabel("ways N, one shot", fontsize=FONT)
    handles = [
        Line2D([], [], color=DARK, marker="o", markersize=4, linewidth=1.8, label="this learner"),
        Line2D([], [], color=SOFT, linewidth=0.8, label="the others"),
        Line2D([], [], color=ACCENT, linewidth=1.4, linestyle="--", label="(ER at one way)$^N$"),
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return fig


def plot_shots(lines: dict[str, dict[int, Scores]]) -> InlineFigure:
    """From few shots to many, a row for each learner: {learner: {K: scores}} with two numbers of shots.

    A whisker spans low to high.
    """
    few, many = sorted(next(iter(lines.values())))
    metrics = list(next(iter(lines.values()))[few])
    fig, axes = make_chart(0.5 * len(lines) + 1.2, 1, len(metrics), sharey=True)
    looks = {few: ("o", SOFT, -0.15), many: ("D", DARK, 0.15)}
    for ax, metric in zip(axes[0], metrics, strict=True):
        for y, points in enumerate(lines.values()):
            for shots, (marker, colour, aside) in looks.items():
                value, low, high = points[shots][metric]
                ends = [[max(value - low, 0)], [max(high - value, 0)]]
                ax.errorbar(value, y + aside, xerr=ends, color=colour, marker=marker, markersize=6, capsize=2)
        name_bars(ax, list(lines))
        ax.set(xlim=(0, 102), xlabel=f"{metric} (%)", xticks=range(0, 101, 20))
        ax.grid(axis="x", color=LIGHT)
    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=1.2, label=f"{shots} shot{'s' if shots > 1 else ''}")
        for shots, (marker, colour, _) in looks.items()
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return fig


def judge_order(low: float, high: float, published: float) -> str:
    """How the paired interval of a difference fits a published difference: "same", "opposite" or "open"."""
    if low <= 0 <= high or published == 0:
        return "open"
    return "same" if (low > 0) == (published > 0) else "opposite"


def plot_order(pairs: dict[str, dict[str, tuple[float, float, float, float]]]) -> InlineFigure:
    """Differences of two learners here beside the published ones, a row for each pair and a panel for each metric.

    pairs: {"A − B": {metric: (difference, low, high, published difference)}} in points.
    """
    metrics = list(next(iter(pairs.values())))
    fig, axes = make_chart(0.3 * len(pairs) + 1.3, 1, len(metrics), sharey=True)
    looks = {"same": ("o", DARK), "open": ("s", OPEN), "opposite": ("X", ACCENT)}
    for ax, metric in zip(axes[0], metrics, strict=True):
        for y, row in enumerate(pairs.values()):
            value, low, high, published = row[metric]
            marker, colour = looks[judge_order(low, high, published)]
            ends = [[max(value - low, 0)], [max(high - value, 0)]]
            ax.errorbar(value, y, xerr=ends, color=colour, marker=marker, markersize=6, linewidth=1.4, capsize=2)
            ax.plot(published, y, marker="D", markersize=6, markerfacecolor="white", color=INK, linestyle="")
        ax.axvline(0, color=QUIET, linewidth=1, zorder=0)
        name_bars(ax, list(pairs))
        ax.set(xlabel=f"difference in {metric} (points)")
        ax.grid(axis="y", color=LIGHT)
    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=1.4, label=f"here: {kind}")
        for kind, (marker, colour) in looks.items()
    ]
    published = {"marker": "D", "markerfacecolor": "white", "color": INK, "linestyle": ""}
    handles.append(Line2D([], [], label="published", **published))
    fig.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return fig


def plot_rates(groups: dict[str, dict[str, list[float]]], label: str) -> InlineFigure:
    """How fast something is in several settings: {what was varied: {setting: measurements}}, a panel for each group.

    A bar is the median, its whisker spans the slowest to the fastest of several measurements. Each panel has a scale of
    its own.
    """
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    most = max(map(len, groups.values()))
    fig, axes = make_chart(rows * (0.34 * most + 1.0), rows, columns)
    for ax, (title, settings) in zip(axes.flat, groups.items(), strict=False):
        for y, values in enumerate(settings.values()):
            middle, low, high = np.median(values), min(values), max(values)
            ax.barh(y, middle, 0.62, color=SOFT)
            if len(values) > 1:
                ax.errorbar(middle, y, xerr=[[middle - low], [high - middle]], color=INK, capsize=3, linewidth=1)
            text = f"{middle:.3g}" if middle < 1000 else f"{middle:,.0f}"
            ax.annotate(text, (high, y), (6, 0), textcoords="offset points", va="center", color=INK)
        ax.set_title(title, loc="left", fontsize=FONT, fontweight="bold", color=INK)
        name_bars(ax, list(settings), most)
        ax.set(xlim=(0, 1.2 * max(max(values) for values in settings.values())), xlabel=label)
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    return fig
