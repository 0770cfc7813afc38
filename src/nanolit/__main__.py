"""`python -m nanolit` is the `nanolit` command."""

import sys

from nanolit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
