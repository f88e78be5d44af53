"""Rooflines, and the least time of a training step on several devices (chapter 11)."""

import numpy as np

from ..run.roofline import Device, Work
from .canvas import INK, LIGHT, LINES, InlineFigure
from .charts import make_chart, name_bars, stack_bars, trim_ticks


def plot_roofline(parts: dict[str, list[Work]], devices: dict[str, Device]) -> InlineFigure:
    """Operations as points under the roofs of devices: arithmetic intensity against the best possible rate.

    An operation is on the lowest roof of the devices; operations without arithmetic are left out; the panel
    beside has the share of the bytes that they move.
    """
    fig, axes = make_chart(3.6, 1, 2, width_ratios=(3, 1))
    ax, moved = axes[0]
    reach = np.array([0.1, 3000])
    for (name, device), style in zip(devices.items(), ("-", "--", ":"), strict=False):
        xs = np.array([reach[0], device.flops / device.bandwidth, reach[1]])
        ax.plot(xs, np.minimum(xs * device.bandwidth, device.flops) / 1e12, style, color=INK, linewidth=1.5, label=name)
    lowest = next(iter(devices.values()))
    for (part, works), colour, marker, side in zip(parts.items(), LINES, "osD", (9, 6, 3), strict=False):
        intensity = np.array([work.flops / work.bytes for work in works if work.flops])
        rate = np.minimum(intensity * lowest.bandwidth, lowest.flops) / 1e12
        ax.plot(intensity, rate, marker, color=colour, markerfacecolor="none", markersize=side, label=part)
    ax.set(xscale="log", yscale="log", xlim=tuple(reach))
    ax.set(xlabel="arithmetic intensity (FLOP per byte)", ylabel="best possible rate (TFLOP/s)")
    trim_ticks(ax)
    totals = [(sum(w.bytes for w in works if not w.flops), sum(w.bytes for w in works)) for works in parts.values()]
    shares = [100 * without / total for without, total in totals]
    moved.barh(range(len(parts)), shares, 0.62, color=LINES[: len(parts)])
    name_bars(moved, list(parts))
    moved.set(xlim=(0, 100), xlabel="bytes moved without\narithmetic (%)", xticks=(0, 50, 100))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False, columnspacing=1.2)
    return fig


def plot_bounds(bounds: dict[str, dict[str, float]], label: str) -> InlineFigure:
    """Bars made of parts, one for each device: {device: {part: least time}}; the sum is written behind a bar."""
    fig, ((ax,),) = make_chart(0.36 * len(bounds) + 1.2)
    longest = stack_bars(ax, bounds, ".0f")
    name_bars(ax, list(bounds))
    ax.grid(axis="x", color=LIGHT)
    ax.set_axisbelow(True)
    ax.set(xlim=(0, 1.08 * longest), xlabel=label)
    trim_ticks(ax)
    fig.legend(loc="outside upper center", ncols=len(bounds), frameon=False)
    return fig
