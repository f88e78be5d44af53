"""The exercises of each chapter; `..exercises` loads a chapter's module when its first exercise is asked for."""
