"""`python -m auditor` and the command `auditor`."""

import sys

from auditor.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
