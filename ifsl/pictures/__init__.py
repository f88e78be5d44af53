"""Every figure of the course, and the widgets.

`canvas` has what all figures share, `episodes` and `charts` what many chapters show; the other modules belong to one or
two chapters each.
"""
