"""Write sizes and SHA-256 of the kept learners into ifsl/data/kept.py; `--check` only says whether they are right.

Exit status: 0 they are right now; 1 they are wrong (with --check).
"""

import re
import sys
from pathlib import Path

from ifsl.run.checkpoints import hash_file

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "ifsl" / "data" / "kept.py"


def rows(folder: Path = ROOT / "data" / "checkpoints" / "tiny") -> str:
    """The lines of the table KEPT."""
    lines = []
    for path in sorted(folder.glob("*.safetensors")):
        lines.append(f'    "tiny/{path.stem}": ({path.stat().st_size:_}, "{hash_file(path)}"),\n')
    return "".join(lines)


def main(arguments: list[str]) -> int:
    text = TABLE.read_text(encoding="utf-8")
    new = re.sub(
        r"(\nKEPT: [^\n]+\{\n).*?(\n?\}\n)", lambda match: f"{match[1]}{rows()}}}\n", text, count=1, flags=re.S
    )
    if "--check" in arguments:
        return int(new != text)
    TABLE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
