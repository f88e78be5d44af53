"""`python -m ifsl.collect logs`: one table of all results below a folder."""

import os
import sys
from argparse import Namespace
from pathlib import Path

from .__main__ import Parser, run_command
from .data.files import write_whole
from .errors import writing


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(prog="python -m ifsl.collect", description="One table of all results below a folder.")
    parser.add_argument("folder", nargs="?", default="logs", help="where the results are (default: %(default)s)")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="(default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="write the table there instead of printing it")
    return run_command(parser, run, arguments)


def run(options: Namespace) -> int:
    """Print or write the table; returns the exit status 0."""
    from .run.collecting import FORMATS, collect, find_results, tabulate

    table = FORMATS[options.format](tabulate(collect(find_results(options.folder))))
    if options.out is None:
        print(table)
    else:
        path = Path(options.out)
        with writing(path, "give --out the name of a file"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(os.path.realpath(path), table + "\n")  # where a link leads, such as /dev/stdout
        print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
