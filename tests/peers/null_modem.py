"""Two pseudo terminals with a cable between them, for two programs that both want to open a port.

    python null_modem.py

Prints the two paths as a JSON list and carries bytes until its standard input ends.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tty


def main() -> None:
    masters, slaves = zip(os.openpty(), os.openpty())  # the slaves stay open, so that the masters never hang up
    for fd in (*masters, *slaves):
        tty.setraw(fd)
    print(json.dumps([os.ttyname(fd) for fd in slaves]), flush=True)
    other = {masters[0]: masters[1], masters[1]: masters[0]}
    while True:
        ready, _, _ = select.select([*masters, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        for fd in ready:
            os.write(other[fd], os.read(fd, 4096))


if __name__ == "__main__":
    main()
