"""A process of its own: Printrun's printcore streams a file, with its line numbers and checksums, to a port.

python printcore_client.py PORT FILE SECONDS
"""

from __future__ import annotations

import sys
import time

from printrun import gcoder
from printrun.printcore import printcore


def main(port: str, path: str, seconds: float) -> int:
    limit = time.monotonic() + seconds

    def wait_while(busy) -> None:
        while busy():
            if time.monotonic() > limit:
                sys.exit("printcore did not get through in time")
            time.sleep(0.02)

    with open(path) as file:
        lines = [line.rstrip("\n") for line in file]
    core = printcore()
    core.loud = False
    core.connect(port, 115200)
    wait_while(lambda: not core.online)
    core.startprint(gcoder.LightGCode(lines))
    wait_while(lambda: core.printing)
    core.disconnect()
    print(len(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
