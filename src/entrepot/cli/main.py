"""The start of the `entrepot` command. It loads nothing before Ctrl-C, the encoding of names and the standard streams
are looked after; what the command does is in root.py."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

_INTERRUPTED = 130  # as exits.INTERRUPTED, which is not loaded yet


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Without `argv` it is a process of its own."""
    if argv is not None:
        from entrepot.cli import root

        return root.main(argv)
    _hold_standard_streams()
    _use_utf8()
    by_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as after nohup
    try:
        if by_default:
            signal.signal(signal.SIGINT, _quit)  # a KeyboardInterrupt while a module is loaded would be a traceback
        from entrepot.cli import root

        if by_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return root.main(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first is told of
        return _INTERRUPTED
    finally:
        if by_default:
            signal.signal(signal.SIGINT, _quit)


def _quit(*_: object) -> None:
    try:
        os.write(2, b"entrepot: interrupted\n")
    finally:
        os._exit(_INTERRUPTED)


def _hold_standard_streams() -> None:
    """Where a standard stream is closed, let no file or connection get its number: what is meant for people would be
    written into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free


def _use_utf8() -> None:
    """Names are UTF-8, on the volume and nearly always here. Where the locale is plain ASCII, and Python was told to
    keep to it, begin again in UTF-8, with all output in ASCII: what it has no letter for is shown as an escape."""
    if sys.flags.utf8_mode or sys.getfilesystemencoding() != "ascii" or not sys.executable:
        return
    os.environ.setdefault("PYTHONIOENCODING", "ascii:backslashreplace")
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
