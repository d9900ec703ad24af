"""OctoPrint as a process of its own, asked over its REST interface. It is AGPL: nothing of it is loaded here."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer_tools import OCTOPRINT, WAIT_S

KEY = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e"
# a lost `ok` costs a communication timeout: 30 s where a user leaves it as it comes
CONFIG = """\
server: {{firstRun: false, onlineCheck: {{enabled: false}}, pluginBlacklist: {{enabled: false}}}}
api: {{key: {key}}}
serial: {{additionalPorts: ["{ports}"], autoconnect: false, log: true,
         timeout: {{communication: 4, communicationBusy: 4}}}}
webcam: {{timelapseEnabled: false}}
plugins:
  _disabled: [softwareupdate, announcements, tracking, errortracking, discovery, pi_support, backup, achievements,
              health_check]
"""


class OctoPrint:
    """One server. Its serial log (what was sent and received) is at `serial_log`."""

    def __init__(self, port: int, base: Path) -> None:
        self._api = f"http://127.0.0.1:{port}/api/"
        self.serial_log = base / "logs" / "serial.log"

    def ask(self, path: str, command: dict[str, Any] | None = None) -> Any:
        """GET `path`, or POST `command` to it. An answer without a body is None."""
        data = None if command is None else json.dumps(command).encode()
        return self._send(urllib.request.Request(self._api + path, data, {"Content-Type": "application/json"}))

    def upload_and_print(self, name: str, text: str) -> None:
        boundary = uuid.UUID(int=0).hex
        disposition = f"--{boundary}\r\nContent-Disposition: form-data; name="
        body = (
            f'{disposition}"print"\r\n\r\ntrue\r\n'
            f'{disposition}"file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--{boundary}--\r\n'
        )
        content_type = f"multipart/form-data; boundary={boundary}"
        done = self._send(
            urllib.request.Request(self._api + "files/local", body.encode(), {"Content-Type": content_type})
        )
        assert done["effectivePrint"], done

    def _send(self, request: urllib.request.Request) -> Any:
        request.add_header("X-Api-Key", KEY)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
                body = reply.read()
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{request.full_url}: {refusal} {refusal.read()[:500]!r}") from None
        return json.loads(body) if body else None

    @property
    def state(self) -> str:
        return self.ask("connection")["current"]["state"]

    def connect(self, port: str) -> None:
        self.ask("connection", {"command": "connect", "port": port, "baudrate": 115200})
        wait(lambda: self.state == "Operational", 30, lambda: f"no connection, but {self.state!r}")

    def disconnect(self) -> None:
        self.ask("connection", {"command": "disconnect"})
        wait(lambda: self.state == "Closed", 30, lambda: f"no disconnection, but {self.state!r}")

    def printed(self) -> float:
        """How much of the file has been sent, percent."""
        return self.ask("job")["progress"]["completion"] or 0.0

    def wait_printed(self, seconds: float) -> None:
        """The job has ended by itself, and OctoPrint has sent all of it."""
        wait(
            lambda: self.state == "Operational" and self.printed() == 100.0,
            seconds,
            lambda: f"{self.state!r} at {self.printed()} %",
        )


def wait(is_so: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, f"after {seconds} s: {otherwise()}"
        time.sleep(0.1)


@contextmanager
def served_octoprint(base: Path, ports: str) -> Iterator[OctoPrint]:
    """OctoPrint with its settings in `base`; it may open the serial ports that the pattern `ports` names."""
    base.mkdir()
    (base / "config.yaml").write_text(CONFIG.format(key=KEY, ports=ports))
    octoprint = [str(OCTOPRINT), "--basedir", str(base)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    user = [*octoprint, "user", "add", "--password", "bench", "--admin", "bench"]
    subprocess.run(user, check=True, capture_output=True, timeout=WAIT_S, env=environment)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with open(base / "out.log", "wb") as log:
        process = subprocess.Popen(
            [*octoprint, "serve", "--iknowwhatimdoing", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log, stderr=log, env=environment, cwd=base,
        )  # fmt: skip
    try:
        server = OctoPrint(port, base)
        wait(lambda: _is_up(server, process, base), WAIT_S, lambda: "OctoPrint does not answer")
        yield server
    finally:
        process.kill()
        process.wait()


def _is_up(server: OctoPrint, process: subprocess.Popen[bytes], base: Path) -> bool:
    assert process.poll() is None, (base / "out.log").read_text()[-2000:]
    try:
        return server.ask("version")["server"].startswith("1.11.")
    except (urllib.error.URLError, ConnectionError, http.client.HTTPException, AssertionError):  # still starting
        return False
