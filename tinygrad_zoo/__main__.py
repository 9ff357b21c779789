"""`python -m tinygrad_zoo` is `tinygrad-zoo`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
