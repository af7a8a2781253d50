"""``python -m magic_cli`` is ``magic``."""

import sys

from magic_cli.cli import main

sys.exit(main())
