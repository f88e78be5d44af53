"""The command line of `python -m ifsl.tiny`."""

from __future__ import annotations

import argparse

from .make import EASY_ROOT, ROOT, make_tiny


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m ifsl.tiny`."""
    parser.add_argument("--root", help=f"folder to make it in (default: {ROOT}; with --easy {EASY_ROOT})")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other pictures (default: %(default)s)")
    parser.add_argument("--easy", action="store_true", help="one look for each class, and no decoys")
    parser.add_argument("--sheet", metavar="FILE.png", help="only make a page that shows classes and pictures")


def run(options: argparse.Namespace) -> int:
    """Make the benchmark, or the page that shows it; returns the exit status."""
    if options.sheet is None:
        root = options.root or (EASY_ROOT if options.easy else ROOT)
        kind = "easy version of the tiny benchmark" if options.easy else "tiny benchmark"
        print(f"The {kind} is in {make_tiny(root, options.seed, easy=options.easy)}.")
    else:
        from .contact_sheet import write_sheet

        print(f"The contact sheet is {write_sheet(options.sheet, options.seed)}.")
    return 0
