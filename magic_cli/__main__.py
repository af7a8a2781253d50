"""Where ``magic`` and ``python -m magic_cli`` begin. Nothing is imported here before Ctrl-C is looked after."""

import sys


def main() -> int:
    """Run ``magic``; returns the exit status. Ctrl-C is one line from the first instant, and never a traceback at the end.

    ``cli.main`` does so only once it has been imported, which takes a tenth of a second, or seconds from a slow disk.
    """
    try:
        from magic_cli.cli.main import main as magic

        return magic()
    except KeyboardInterrupt:
        print("magic: stopped", file=sys.stderr)
        return 130  # INTERRUPTED of cli.stopping, which may not be there
    finally:
        _let_signals_end_python()


def _let_signals_end_python() -> None:
    """While Python ends, Ctrl-C and SIGTERM just end it; what was ignored from the start, as in a job behind ``&``, stays so."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):  # a function of Python's or ours; neither SIG_DFL nor SIG_IGN
            signal.signal(number, signal.SIG_DFL)
    # A Ctrl-C in code that a library runs by exec() leaves a mark behind even if it is caught: `python -m` then kills itself by
    # SIGINT at the end, whatever the exit status. The next exec() takes the mark away (unhandled_keyboard_interrupt in CPython).
    exec("")


if __name__ == "__main__":
    sys.exit(main())
