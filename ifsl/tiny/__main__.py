"""`python -m ifsl.tiny`"""

import sys

from .scenes import main

sys.exit(main())
