"""Where ``magic`` and ``python -m magic_cli`` begin. Nothing is imported here before Ctrl-C is looked after."""

import sys


def main() -> int:
    """Run ``magic``; returns the exit status. Ctrl-C is one line from the first instant, and never a traceback at the end.

    ``cli.main`` does so only once it has been imported, which takes a tenth of a second, or seconds from a slow disk.
    """
    try:
        from magic_cli.cli.main import main as magic

        status = magic()
    except KeyboardInterrupt:
        print("magic: stopped", file=sys.stderr)
        status = 130  # INTERRUPTED of cli.stopping, which may not be there
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while Python ends, Ctrl-C just ends it
    return status


if __name__ == "__main__":
    sys.exit(main())
