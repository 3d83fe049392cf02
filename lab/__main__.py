"""`python -m lab`: what `bin/lab` runs."""

import sys

from lab.cli import main

sys.exit(main(sys.argv[1:]))
