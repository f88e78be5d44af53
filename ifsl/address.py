"""Where the repository is published: the one setting behind launch buttons, Colab's first cell and kept learners."""

import os

REPOSITORY = ""
"""The address of the public repository, such as "https://github.com/owner/ifsl"; empty while there is none."""
BRANCH = "main"


def repository() -> str:
    """`REPOSITORY`, or the environment variable IFSL_REPOSITORY, for a copy that lives elsewhere."""
    return os.environ.get("IFSL_REPOSITORY", REPOSITORY).rstrip("/")
