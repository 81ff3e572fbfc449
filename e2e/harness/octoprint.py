"""Real OctoPrint with its bundled virtual printer, behind nginx with a camera, as OctoPi sets it up with HAProxy."""

import http.client
import json
import subprocess
import time
import urllib.request
from pathlib import Path

from . import paths
from .camera import Camera
from .nginx import Nginx
from .process import Process, accepts_connections, clean_environment, free_port, wait_for

BINARY = paths.CACHE / "octoprint" / "bin" / "octoprint"
USER, PASSWORD = "owner", "Zr8mHq2vLpXw"
API_KEY = "C0FFEE00C0FFEE00C0FFEE00C0FFEE00"

# Everything that asks the network, or a newcomer, is off; YAML is a superset of JSON.
CONFIGURATION = {
    "accessControl": {"salt": "endtoendendtoendendtoendendtoend", "autologinLocal": False},
    "api": {"key": API_KEY},
    "server": {
        "firstRun": False,
        "secretKey": "endtoend",
        "onlineCheck": {"enabled": False},
        "pluginBlacklist": {"enabled": False},
        "seenWizards": {"corewizard": 4, "classicwebcam": 1, "backup": None, "tracking": None},
    },
    "plugins": {
        "_disabled": [
            "softwareupdate",
            "announcements",
            "tracking",
            "errortracking",
            "discovery",
            "pluginmanager",
            "health_check",
            "pi_support",
            "firmware_check",
            "file_check",
        ],
        "classicwebcam": {
            "_config_version": 1,
            "stream": "/webcam/?action=stream",
            "snapshot": "/webcam/?action=snapshot",
        },
        "virtual_printer": {"_config_version": 1, "enabled": True},
    },
    "serial": {"autoconnect": True, "port": "VIRTUAL", "baudrate": 0},
}

FRONT = """
    location / {
        proxy_pass http://127.0.0.1:%(software)d;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_request_buffering off;
        proxy_buffering off;
        client_max_body_size 0;
    }
    location /webcam/ {
        proxy_pass http://127.0.0.1:%(camera)d/;
        proxy_buffering off;
        postpone_output 0;
    }
"""


class OctoPrint:
    """The software, its front and its camera; `url` is where an agent finds them."""

    software = "octoprint"
    # What a program sends to be let in by OctoPrint itself.
    headers = {"X-Api-Key": API_KEY}

    def __init__(self, directory: Path):
        self.directory = directory
        self.base = directory / "octoprint"
        self.port = free_port()
        self.camera = Camera(directory)
        self.process: Process | None = None
        self.front = Nginx(directory / "front", FRONT % {"software": self.port, "camera": self.camera.port})

    @property
    def url(self) -> str:
        return self.front.url

    @property
    def uploads(self) -> Path:
        return self.base / "uploads"

    def prepare(self) -> "OctoPrint":
        self.uploads.mkdir(parents=True)
        (self.base / "config.yaml").write_text(json.dumps(CONFIGURATION))
        command = [BINARY, "--basedir", self.base, "user", "add", USER, "--password", PASSWORD, "--admin"]
        subprocess.run(command, check=True, capture_output=True, timeout=60, env=clean_environment())
        return self

    def start(self) -> "OctoPrint":
        self.camera.start()
        self.front.start()
        return self.start_software()

    def start_software(self) -> "OctoPrint":
        command = [
            BINARY,
            "--basedir",
            self.base,
            "serve",
            "--iknowwhatimdoing",
            "--host",
            "127.0.0.1",
            "--port",
            self.port,
        ]
        self.process = Process(command, self.directory / "octoprint.log")
        wait_for(
            lambda: self.api("printer").get("state", {}).get("text") == "Operational",
            90,
            "OctoPrint's virtual printer",
            0.3,
        )
        return self

    def api(self, path: str) -> dict:
        """What OctoPrint itself answers, past any relay; empty while it does not."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{path}", headers={"X-Api-Key": API_KEY})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except (OSError, http.client.HTTPException, ValueError):
            return {}

    def command(self, path: str, command: dict):
        """Tells OctoPrint itself something, past any relay."""
        headers = {"X-Api-Key": API_KEY, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        request = urllib.request.Request(url, json.dumps(command).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status in (200, 204)

    def offer(self, name: str, content: bytes) -> str:
        """Puts a file where OctoPrint offers it, and gives its path."""
        (self.uploads / name).write_bytes(content)
        return f"/downloads/files/local/{name}"

    def kill(self):
        """Ends front and software without a word: to the agent, the machine's printer software is gone."""
        self.front.kill()
        self.process.kill()

    def restart(self) -> "OctoPrint":
        self.process.close()
        wait_for(lambda: not accepts_connections(self.port), 10, "OctoPrint's port to be free")
        self.front.start()
        return self.start_software()

    def close(self):
        self.front.close()
        self.camera.close()
        if self.process:
            self.process.close()


class OctoPrintSession:
    """A login as OctoPrint's own page does it, through any HTTP client with `request`."""

    def __init__(self, target):
        self.target = target
        self.cookies: dict[str, str] = {}
        self.keep_cookies(target.get("/login/"))
        answer = self.post("/api/login", {"user": USER, "pass": PASSWORD, "remember": True}).expect(200)
        self.user = answer.json()
        assert self.user["name"] == USER

    def keep_cookies(self, response):
        for cookie in response.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def headers(self) -> dict[str, str]:
        token = next((value for name, value in self.cookies.items() if name.startswith("csrf_token")), "")
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), "X-CSRF-Token": token}

    def get(self, path: str, headers=None):
        return self.keep_cookies(self.target.get(path, {**self.headers(), **(headers or {})}))

    def post(self, path: str, value):
        return self.keep_cookies(self.target.post_json(path, value, self.headers()))

    def sockjs(self) -> "SockJs":
        return SockJs(self.target, f"{self.user['name']}:{self.user['session']}")


class SockJs:
    """OctoPrint's push messages over the WebSocket transport of SockJS."""

    def __init__(self, target, auth: str):
        self.websocket = target.websocket("/sockjs/123/endtoend/websocket")
        assert self.websocket.recv(timeout=30) == "o"
        self.websocket.send(json.dumps([json.dumps({"auth": auth})]))
        self.messages: list[dict] = []

    def follow(self, condition, timeout: float = 60) -> dict:
        """Reads messages until one meets the condition."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self.websocket.recv(timeout=max(0.1, deadline - time.monotonic()))
            if frame.startswith("a"):
                for message in json.loads(frame[1:]):
                    message = json.loads(message) if isinstance(message, str) else message
                    self.messages.append(message)
                    if condition(message):
                        return message

    def event(self, name: str, timeout: float = 60) -> dict:
        return self.follow(lambda message: message.get("event", {}).get("type") == name, timeout)

    def close(self):
        self.websocket.close()
