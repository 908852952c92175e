"""`python -m fleetctl`."""

from __future__ import annotations

import sys

from fleetctl.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
