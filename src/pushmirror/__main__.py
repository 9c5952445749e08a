"""`python -m pushmirror`."""

import sys

from pushmirror.cli.main import main

sys.exit(main())
