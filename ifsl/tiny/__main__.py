"""`python -m ifsl.tiny`: make the tiny benchmark."""

import sys

from ..__main__ import Parser, run_command
from . import commands


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(prog="python -m ifsl.tiny", description="Make the tiny benchmark.")
    commands.add_arguments(parser)
    return run_command(parser, commands.run, arguments)


if __name__ == "__main__":
    sys.exit(main())
