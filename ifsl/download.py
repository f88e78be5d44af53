"""`python -m ifsl.download`: fetch and check the real benchmarks (data/README.md)."""

import argparse
import sys

from .__main__ import Parser, run_command
from .data import download


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(
        prog="python -m ifsl.download",
        description=download.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    download.add_arguments(parser)
    return run_command(parser, download.run, arguments)


if __name__ == "__main__":
    sys.exit(main())
