"""`python -m ifsl.download`"""

import sys

from .data.download import main

if __name__ == "__main__":
    sys.exit(main())
