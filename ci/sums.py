"""Write sizes and SHA-256 of the kept learners into ifsl/data/kept.py; `--check` only says whether they are right.

Exit status: 0 they are right now; 1 they are wrong (with --check); 2 a learner cannot be read.
"""

import argparse
import re
import sys
from pathlib import Path

from ifsl.run.checkpoints import hash_file

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "data" / "checkpoints" / "tiny"
TABLE = ROOT / "ifsl" / "data" / "kept.py"


def rows() -> str:
    """The lines of the table KEPT."""
    lines = []
    for path in sorted(KEPT.glob("*.safetensors")):
        lines.append(f'    "tiny/{path.stem}": ({path.stat().st_size:_}, "{hash_file(path)}"),\n')
    return "".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, only say whether they are right")
    check = parser.parse_args(arguments).check
    try:
        table = rows()
    except OSError as error:
        print(f"{error.filename} cannot be read ({error.strerror}); make it again or delete it.", file=sys.stderr)
        return 2
    text = TABLE.read_text(encoding="utf-8")
    new = re.sub(r"(\nKEPT: [^\n]+\{\n).*?(\n?\}\n)", lambda match: f"{match[1]}{table}}}\n", text, count=1, flags=re.S)
    if check:
        return int(new != text)
    TABLE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
