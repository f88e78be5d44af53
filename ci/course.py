"""Run the chapters of the course, side by side, and build the site under build/site.

    python ci/course.py            every chapter
    python ci/course.py 02 08      just those
    python ci/course.py --keep     and write the outputs of this clean run back into notebooks/
    python ci/course.py --no-site  and build no site

Exit status: 0 all ran; 1 a chapter failed, its outputs may not be kept, or there is no site; 2 the command line names
no such chapter.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import book
import keep
import nbformat
from tqdm import tqdm

from ifsl.data.workers import cores
from ifsl.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
OPENING = Path("data/first-prediction.jpg")  # the picture that README opens with: chapter 00's cell `answer`
CELL_LIMIT_S = 600  # a cell that takes longer hangs
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Outcome:
    """How one chapter ended: its name, wall seconds, and what went wrong (None when nothing did)."""

    name: str
    seconds: float
    error: str | None


def chapters(folder: Path) -> list[Path]:
    """The chapters in reading order: notebooks whose name starts with two digits."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def select(names: list[str], folder: Path) -> list[Path]:
    """The chapters called by number (``02``), by name or by path; all of them when none is called.

    Raises InputError for a name that is no chapter, and where there is no chapter at all.
    """
    found = chapters(folder)
    if not found:
        raise InputError(f"no chapter in {folder}: notebooks must be called like 00_start_here.ipynb")
    numbers = [path.name[:2] for path in found]
    called = {word: path for path in found for word in (path.name[:2], path.name[:2].removeprefix("0"), path.stem)}
    chosen = set()
    for name in names:
        path = called.get(Path(name).name.removesuffix(".ipynb"))
        if path is None:
            raise InputError(f"no chapter {name!r} in {folder}: choose from {' '.join(numbers)}")
        chosen.add(path)
    return sorted(chosen) or found


def environment(threads: int) -> dict[str, str]:
    """Variables of a chapter's process: its share of the cores, and this Python's kernel with inline figures."""
    variables = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"JUPYTER_PREFER_ENV_PATH": "1"}
    variables.pop("MPLBACKEND", None)
    return variables


def run_chapter(source: Path, target: Path, threads: int) -> Outcome:
    """Execute one chapter by papermill, in a process of its own and in the folder it lies in, as JupyterLab would."""
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "papermill", str(source), str(target), "--kernel", "python3", "--cwd"]
    command += [str(source.parent), "--no-progress-bar", "--execution-timeout", str(CELL_LIMIT_S)]
    start = time.monotonic()
    ended = subprocess.run(
        command, env=environment(threads), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    error = None if ended.returncode == 0 else failure(source.stem, target, ended.stderr)
    return Outcome(source.stem, time.monotonic() - start, error)


def failure(name: str, target: Path, stderr: str) -> str:
    """Chapter, cell and error of a run that failed, with the lines round the error.

    The cell is the one that holds an error; when there is none (the kernel died, or time ran out) the last one started.
    """
    last_words = (stderr.strip() or "papermill ended without a word").splitlines()[-1]
    try:
        cells = [cell for cell in nbformat.read(target, as_version=4).cells if not keep.is_error_marker(cell)]
    except (OSError, ValueError):
        return f"{name} did not start: {last_words}"
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                place = f"{name}, cell {number} of {len(cells)} (In [{cell.execution_count}])"
                trace = keep.plain("\n".join(output.traceback)).splitlines()
                return "\n    ".join([f"{place}: {output.ename}: {output.evalue}", *trace[-12:]])
    started = [number for number, cell in enumerate(cells, 1) if cell.metadata.get("papermill", {}).get("start_time")]
    if not started:
        return f"{name} did not start: {last_words}"
    source = cells[started[-1] - 1].source.splitlines()
    return "\n    ".join([f"{name}, cell {started[-1]} of {len(cells)}: {last_words}", *source[:6]])


def cells_done(target: Path) -> int:
    """Cells finished so far, read from the file that papermill saves after each; 0 while it cannot be read."""
    try:
        cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return 0
    return sum(cell["metadata"].get("papermill", {}).get("status") in ("completed", "failed") for cell in cells)


def run_all(sources: list[Path], folder: Path) -> list[Outcome]:
    """Execute chapters side by side, as many as there are cores, showing the cells done and each chapter's time."""
    folder.mkdir(parents=True, exist_ok=True)
    workers = min(cores(), len(sources))
    cells = {path: len(nbformat.read(path, as_version=4).cells) for path in sources}
    done = dict.fromkeys(sources, 0)
    outcomes = {}
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=sum(cells.values()), desc="chapters", unit="cell", disable=None) as bar,
    ):
        running: dict[Future[Outcome], Path] = {
            pool.submit(run_chapter, path, folder / path.name, cores() // workers): path for path in sources
        }
        while running:
            ended, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for path in running.values():
                done[path] = max(done[path], min(cells_done(folder / path.name), cells[path]))
            for future in ended:
                path = running.pop(future)
                done[path] = cells[path]
                outcomes[path] = outcome = future.result()
                note = "" if outcome.error is None else "  FAILED"
                tqdm.write(f"{outcome.name:<32}{outcome.seconds:7.1f} s{note}", file=sys.stdout)
            bar.update(sum(done.values()) - bar.n)
    return [outcomes[path] for path in sources]


def keep_outputs(sources: list[Path], folder: Path) -> list[str]:
    """Write the cleaned outputs of a run back into the chapters; return why some were not, a sentence each."""
    refused = []
    for source in sources:
        executed = nbformat.read(folder / source.name, as_version=4)
        for note in keep.left_out(executed):
            print(f"{source.stem}, {note}")
        kept = keep.clean(executed)
        problems = keep.problems(kept, keep.machine_folders(ROOT))
        refused += [f"{source.stem}, {problem}" for problem in problems]
        if not problems:
            keep.write(kept, source)
            if answer := dict(keep.pictures(kept)).get("answer"):
                (source.parent.parent / OPENING).write_bytes(answer)
    return refused


def main(arguments: list[str] | None = None, notebooks: Path = ROOT / "notebooks", build: Path = ROOT / "build") -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(description="Run the chapters of the course and build its site.")
    parser.add_argument("chapters", nargs="*", metavar="NN", help="chapters to run, such as 02 08 (default: all)")
    parser.add_argument("--keep", action="store_true", help="write the outputs of this run back into notebooks/")
    parser.add_argument("--no-site", action="store_true", help="build no site afterwards")
    options = parser.parse_args(arguments)
    try:
        sources = select(options.chapters, notebooks)
    except InputError as error:
        print(f"course.py: {error}", file=sys.stderr)
        return 2

    runs = notebooks.parent / "logs"
    if options.keep and runs.exists() and any(path.name.startswith("13") for path in sources):
        print(
            f"course.py: {runs} holds runs that chapter 13 would report on; move it away to keep a new one.",
            file=sys.stderr,
        )
        return 2

    start = time.monotonic()
    outcomes = run_all(sources, build / "notebooks")
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}
    for error in failed.values():
        print(f"\n{error}", file=sys.stderr)
    refused = []
    if options.keep:
        refused = keep_outputs([path for path in sources if path.stem not in failed], build / "notebooks")
        for sentence in refused:
            print(f"not kept: {sentence}", file=sys.stderr)
    ran = f"{len(outcomes) - len(failed)} of {len(outcomes)} chapters ran in {time.monotonic() - start:.0f} s"
    print(f"\n{ran} on {cores()} cores.", flush=True)
    status = 1 if failed or refused else 0
    if options.no_site:
        return status
    index = book.build(book.newest(chapters(notebooks), build / "notebooks"), build, failed)
    if index is None:
        print(f"The site was not built; {build / 'site.log'} says why.", file=sys.stderr)
        return 1
    print(f"Open {index}")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
