"""Try both ends of what pyproject.toml allows: the oldest and the newest versions, on Python 3.11 and 3.13.

    python ci/ends.py                                   all three: old versions on the first Python only
    python ci/ends.py --python 3.13 --end newest        just that; a path names an interpreter, too
    python ci/ends.py --keep                            leave the environments under build/ends

The old versions were never built for a new Python, so they are tried on the first one only. Each end gets an
environment of its own, in which the quick tests run; then it is deleted. Each takes 7 GB of disk and some minutes. For
the newest versions, pip-audit looks for known vulnerabilities; packages that it cannot ask about are reported, and are
no failure.

Exit status: 0 everything passed; 1 something failed, or vulnerabilities are known; 2 there is no such Python here.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "ends"
SLOW = ("browser", "course", "full_training", "killed", "notebooks", "real_photos")
"""Tests that are left out: the others use the same packages and take less time."""


def oldest() -> str:
    """Constraints, a line each: every dependency at its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = [re.match(r"([\w.-]+)>=([\w.]+)", line) for lines in listed for line in lines]
    return "\n".join(f"{bound[1]}=={bound[2]}" for bound in bounds if bound)


def interpreter(asked: str) -> str | None:
    """The path of a Python that runs: of version `asked`, or at that path."""
    if not asked:
        return None
    path = shutil.which(asked if os.sep in asked else f"python{asked}")
    works = path and subprocess.run([path, "-c", "import venv"], capture_output=True).returncode == 0
    return path if works else None


def install(python: str, end: str, home: Path) -> Path:
    """A fresh environment with the package and its tests; returns its Python."""
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([python, "-m", "venv", home], check=True)
    inner = home / "bin" / "python"
    (home / "constraints.txt").write_text(oldest() if end == "oldest" else "", encoding="utf-8")
    pip = [inner, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-cache-dir", "-c", home / "constraints.txt", ".[test]"], cwd=ROOT, check=True)
    subprocess.run([*pip, "check"], check=True)
    return inner


def quick_tests(python: Path) -> None:
    tests = [path for path in sorted((ROOT / "ci" / "tests").glob("test_*.py")) if path.stem[5:] not in SLOW]
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-q", "-n", "auto", "-W", "ignore", "-p", "no:cacheprovider", *tests]
    subprocess.run(command, cwd=ROOT, env=variables, check=True)


def audit(python: Path) -> None:
    """Look for known vulnerabilities; packages that pip-audit cannot ask about are no failure."""
    tool = HOME / "audit"
    subprocess.run([sys.executable, "-m", "venv", tool], check=True)
    subprocess.run([tool / "bin" / "python", "-m", "pip", "--quiet", "install", "pip-audit"], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "freeze", "--exclude", "ifsl"], capture_output=True, check=True
    ).stdout
    (HOME / "freeze.txt").write_bytes(listed)
    asked = [tool / "bin" / "pip-audit", "--requirement", HOME / "freeze.txt", "--no-deps", "--disable-pip"]
    done = subprocess.run([*asked, "--progress-spinner", "off"], capture_output=True, text=True)
    missed = (done.stdout + done.stderr).count("could not be audited")
    print(
        done.stdout if done.returncode else "",
        f"pip-audit could not ask about {missed} of {len(listed.split())} packages.",
    )
    if done.returncode and "vulnerabilit" in done.stderr:
        raise subprocess.CalledProcessError(done.returncode, asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=["3.11", "3.13"])
    parser.add_argument("--end", nargs="+", default=["oldest", "newest"], choices=["oldest", "newest"])
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    options = parser.parse_args()
    pythons = {asked: interpreter(asked) for asked in options.python}
    for asked, path in pythons.items():
        if path is None:
            print(
                f"There is no Python {asked or repr(asked)} here; install it, or give --python the path of one.",
                file=sys.stderr,
            )
            return 2
    failed = []
    first = options.python[0]
    for end, asked in [(end, asked) for asked in pythons for end in options.end if end == "newest" or asked == first]:
        home = HOME / f"{end}-{Path(asked).name}"
        try:
            inner = install(pythons[asked], end, home)
            quick_tests(inner)
            if end == "newest":
                audit(inner)
        except subprocess.CalledProcessError as error:
            failed.append(f"{end} on Python {asked}: {error}")
        if not options.keep:
            shutil.rmtree(home, ignore_errors=True)
    print("\n".join(failed) or "Everything passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
