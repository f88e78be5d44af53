"""Everything the course draws: figures, plots and widgets."""
