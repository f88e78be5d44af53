"""Every figure of the course, and the widgets.

`canvas` has what all figures share, `episodes` and `charts` what many chapters show. The schematics are here by name,
`draw_system` and `draw_learner`: they are in `schematics` and `diagrams`, and their parts in `sketching` and `shapes`.
The other modules belong to one or two chapters each.
"""

from .diagrams import draw_learner
from .schematics import draw_system

__all__ = ["draw_learner", "draw_system"]
