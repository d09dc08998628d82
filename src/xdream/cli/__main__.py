"""`python -m xdream.cli`: the same as the command `xdream`."""

import sys

from xdream.cli.main import main

sys.exit(main())
