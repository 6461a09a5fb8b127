"""Ctrl-C ends a script of this repository in one line, also while its imports still run.

It imports only what Python has loaded by itself: until this module is there, Python answers.
"""

import os
import signal
import sys

EXIT_INTERRUPTED = 130
REPOSITORY = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def end_interrupted() -> None:
    """End the program in one line, with exit code 130."""
    for number in (signal.SIGINT, signal.SIGTERM):  # A second one has nothing to add.
        signal.signal(number, signal.SIG_IGN)
    again = "the same command (without --redo)" if "--redo" in sys.argv else "the same command"
    print(f"\ninterrupted: all that was finished is kept; {again} goes on", file=sys.stderr)
    # Nothing is left to flush or join, and the interpreter's own end could take long.
    os._exit(EXIT_INTERRUPTED)


def report_interrupts() -> None:
    """Let `end_interrupted` answer a Ctrl-C that nothing catches, or that strikes where Python
    would print and forget it, if the program is a script of the repository; swift, a notebook or a
    user's own program keep their traceback."""
    script = sys.argv[0]  # "-m" until Python has imported the package of the module that it runs
    is_ours = script.endswith(".py") and os.path.realpath(script).startswith(f"{REPOSITORY}/")
    if not (script == "-m" or is_ours):
        return
    report, report_ignored = sys.excepthook, sys.unraisablehook

    def hook(kind, error, trace):  # type: ignore[no-untyped-def]
        if issubclass(kind, KeyboardInterrupt):
            end_interrupted()
        report(kind, error, trace)

    def hook_of_ignored(ignored):  # type: ignore[no-untyped-def]
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            end_interrupted()
        report_ignored(ignored)

    sys.excepthook, sys.unraisablehook = hook, hook_of_ignored
