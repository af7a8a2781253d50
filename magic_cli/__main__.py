"""``python -m magic_cli`` is ``magic``."""

import sys

from magic_cli.cli.main import main

sys.exit(main())
