"""`python train.py [experiment=…] [model=…] [data=…]`: the same as `nanolit train`, without installing the command."""

import sys
from pathlib import Path

try:
    from nanolit.cli.train import main
except ModuleNotFoundError as error:  # a clone that was never installed still runs
    if error.name != "nanolit":
        raise
    sys.path.insert(0, str(Path(__file__).parent / "src"))
    from nanolit.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
