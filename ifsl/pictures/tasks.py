"""One query under three tasks (chapter 01)."""

from ..data.episodes import Episode
from . import canvas
from .canvas import GAP, GUTTER, LABEL, QUIET, SMALL_FONT, InlineFigure
from .episodes import place_shot

SIDE = 1.45  # inches, of a support, and the height of the query


def show_three_tasks(ep: Episode) -> InlineFigure:
    """One query under the three set-ups, for a 2-way episode whose query shows exactly one of its classes."""
    shown = int(ep.presence.nonzero()[0, 0])
    width = SIDE * ep.size[1] / ep.size[0]
    x_query, x_answer = 2 * (SIDE + GAP) + GUTTER, 2 * (SIDE + GAP) + width + 2 * GUTTER
    row = 2 * LABEL + SIDE + 0.25
    fig, ax = canvas.make_canvas(x_answer + width + 2.1, 3 * row)
    tasks = (  # name, the ways that are asked for, whether there are masks, whether presence is asked for, a note
        ("FS-C, few-shot classification: which one is it?", [0, 1], False, True, "exactly one yes"),
        ("FS-S, few-shot segmentation: where is it?", [shown], True, False, "it is there for sure"),
        (
            "FS-CS, both at once: which of them are there, if any, and where?",
            [0, 1],
            True,
            True,
            "none, one or several yes",
        ),
    )
    for i, (name, ways, masked, asked, note) in enumerate(tasks):
        top = i * row
        canvas.write_heading(ax, 0, top, name)
        for place, n in enumerate(ways):
            x = place * (SIDE + GAP)
            canvas.write_class(ax, x, top + LABEL, n + 1, ep.class_names[n])
            place_shot(ax, (x, top + 2 * LABEL, SIDE, SIDE), ep, n, 0, masked)
        canvas.write(ax, x_query, top + LABEL, "query", color=QUIET)
        canvas.place_image(ax, (x_query, top + 2 * LABEL, width, SIDE), ep.picture)
        title = canvas.write(ax, x_answer, top + LABEL, "answer", color=QUIET)
        x_text = x_answer
        if masked:
            frame = (x_answer, top + 2 * LABEL, width, SIDE)
            canvas.place_prediction(ax, frame, title, ep.picture, ep.query_mask.numpy())
            x_text += width + 0.15
        for place, n in enumerate(ways if asked else []):
            words = f"{ep.class_names[n]}: {canvas.yes(ep.presence[n])}"
            canvas.write_class(ax, x_text, top + (2 + place) * LABEL, n + 1, words)
        canvas.write(ax, x_text, top + (4.2 if asked else 2) * LABEL, note, color=QUIET, fontsize=SMALL_FONT)
    return fig
