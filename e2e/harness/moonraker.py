"""Real Moonraker, with a stand-in for Klipper below it and nginx in front of it."""

import http.client
import itertools
import json
import tempfile
import time
import urllib.request
from pathlib import Path

from . import paths
from .camera import Camera
from .nginx import Nginx
from .process import Process, accepts_connections, free_port, wait_for

BINARY = paths.CACHE / "moonraker" / "bin" / "moonraker"

# Only the address that the agent connects from is trusted, so that a visitor from elsewhere in the loopback range is a
# stranger to Moonraker as soon as it is told the visitor's address.
CONFIGURATION = """
[server]
host: 127.0.0.1
port: {port}
klippy_uds_address: {socket}

[machine]
provider: none
validate_service: False
validate_config: False

[authorization]
trusted_clients:
    127.0.0.1

[announcements]
dev_mode: True

[octoprint_compat]
"""

# After the files that Mainsail and Fluidd ship for their own host.
FRONT = """
    root %(pages)s;
    index frontend.html;
    client_max_body_size 0;
    proxy_request_buffering off;
    location / { try_files $uri $uri/ /frontend.html; }
    location /websocket {
        proxy_pass http://127.0.0.1:%(software)d/websocket;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_read_timeout 86400;
    }
    location ~ ^/(printer|api|access|machine|server)/ {
        proxy_pass http://127.0.0.1:%(software)d$request_uri;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Scheme $scheme;
        proxy_read_timeout 600;
    }
    location /webcam/ {
        postpone_output 0;
        proxy_buffering off;
        proxy_ignore_headers X-Accel-Buffering;
        proxy_pass http://127.0.0.1:%(camera)d/;
    }
"""


class Moonraker:
    """Moonraker at `direct_url`, its front at `url`."""

    software = "moonraker"
    headers: dict[str, str] = {}

    def __init__(self, directory: Path, seconds_per_print: float = 3):
        self.directory = directory
        self.data = directory / "printer_data"
        self.port = free_port()
        self.seconds_per_print = seconds_per_print
        self.camera = Camera(directory)
        settings = {"software": self.port, "camera": self.camera.port, "pages": paths.PAGES}
        self.front = Nginx(directory / "front", FRONT % settings)
        # A path of a Unix socket has at most 107 bytes.
        self._sockets = tempfile.TemporaryDirectory(prefix="klippy")
        self.socket = Path(self._sockets.name) / "klippy.sock"
        self.process: Process | None = None
        self.klippy: Process | None = None

    @property
    def url(self) -> str:
        return self.front.url

    @property
    def direct_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def gcodes(self) -> Path:
        return self.data / "gcodes"

    def prepare(self) -> "Moonraker":
        for name in ("config", "gcodes", "logs", "database"):
            (self.data / name).mkdir(parents=True)
        (self.data / "config" / "moonraker.conf").write_text(CONFIGURATION.format(port=self.port, socket=self.socket))
        return self

    def start(self) -> "Moonraker":
        klippy = [paths.PYTHON, paths.SERVERS / "klippy.py", self.socket, self.gcodes, self.seconds_per_print]
        self.klippy = Process(klippy, self.directory / "klippy.log")
        self.camera.start()
        self.front.start()
        return self.start_software()

    def start_software(self) -> "Moonraker":
        command = [BINARY, "-d", self.data, "-n", "-u", Path(self._sockets.name) / "moonraker.sock"]
        # Moonraker names an upload's temporary file after the second, so two of them must not share a folder for those.
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        self.process = Process(command, self.directory / "moonraker.log", environment={"TMPDIR": str(temporary)})
        wait_for(
            lambda: self.api("server/info").get("klippy_state") == "ready", 60, "Moonraker to find Klipper ready", 0.2
        )
        return self

    def api(self, path: str) -> dict:
        """What Moonraker itself answers, past any relay; empty while it does not."""
        try:
            with urllib.request.urlopen(f"{self.direct_url}/{path}", timeout=10) as response:
                return json.load(response)["result"]
        except (OSError, http.client.HTTPException, ValueError):
            return {}

    def offer(self, name: str, content: bytes) -> str:
        """Puts a file where Moonraker offers it, and gives its path. Not among the G-codes, which it would analyse."""
        (self.data / "config" / name).write_bytes(content)
        return f"/server/files/config/{name}"

    def kill(self):
        """Ends front and software without a word."""
        self.front.kill()
        self.process.kill()

    def restart(self) -> "Moonraker":
        self.process.close()
        wait_for(lambda: not accepts_connections(self.port), 10, "Moonraker's port to be free")
        self.front.start()
        return self.start_software()

    def close(self):
        self.front.close()
        self.camera.close()
        for process in (self.process, self.klippy):
            if process:
                process.close()
        self._sockets.cleanup()


class JsonRpc:
    """Moonraker's JSON-RPC over its WebSocket."""

    def __init__(self, target, headers=None):
        self.websocket = target.websocket("/websocket", headers)
        self.ids = itertools.count(1)
        self.notifications: list[dict] = []

    def call(self, method: str, timeout: float = 30, **parameters):
        number = next(self.ids)
        self.websocket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": number}))
        answer = self._read(lambda message: message.get("id") == number, timeout)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def follow(self, condition, timeout: float = 60) -> dict:
        """Reads notifications until one meets the condition."""
        for message in self.notifications:
            if condition(message):
                return message
        return self._read(lambda message: "id" not in message and condition(message), timeout)

    def _read(self, condition, timeout: float) -> dict:
        deadline = time.monotonic() + timeout
        while True:
            message = json.loads(self.websocket.recv(timeout=max(0.1, deadline - time.monotonic())))
            if "id" not in message:
                self.notifications.append(message)
            if condition(message):
                return message

    def close(self):
        self.websocket.close()
