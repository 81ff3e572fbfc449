"""Reverse proxies in front of the service, configured as `docs/operating.md` tells operators to."""

import re
from pathlib import Path

from . import paths
from .process import Process, accepts_connections, free_port, wait_for
from .tls import Tls, make_tls

DOMAIN = "spoolway.localhost"
NAMES = {"nginx": "nginx", "caddy": "Caddy", "haproxy": "HAProxy"}
# What the documentation leaves to the operator's own installation: processes, temporary files, ports.
SURROUNDINGS = {
    "nginx": """daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
access_log off;
client_body_temp_path {directory}/body;
proxy_temp_path {directory}/proxy;
fastcgi_temp_path {directory}/fastcgi;
uwsgi_temp_path {directory}/uwsgi;
scgi_temp_path {directory}/scgi;
{documented}
}}
""",
    "caddy": "{{\nadmin off\nauto_https off\n}}\n{documented}",
    "haproxy": "{documented}",
}
COMMANDS = {
    "nginx": ["nginx", "-e", "stderr", "-c"],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config"],
    "haproxy": ["haproxy", "-db", "-f"],
}


def documented(kind: str) -> str:
    """The block of the documentation under the proxy's name."""
    text = (paths.REPOSITORY / "docs" / "operating.md").read_text()
    block = re.search(rf"^### {NAMES[kind]}\n\n```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, f"docs/operating.md says nothing of {kind}"
    return block[1]


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"`{old}` is no longer what the documentation says"
    return text.replace(old, new)


class Front:
    """One proxy; a `Target` takes it for the service."""

    def __init__(self, directory: Path, kind: str, backend: int):
        self.directory, self.kind = directory, kind
        self.port = free_port()
        self.tls: Tls = make_tls(directory / "tls", [DOMAIN, f"*.{DOMAIN}"])
        self.origin = f"https://{DOMAIN}:{self.port}"
        self.agents_origin = self.origin
        self.process: Process | None = None
        text = replaced(documented(kind), "127.0.0.1:8080", f"127.0.0.1:{backend}")
        if kind == "nginx":
            text = replaced(text, "listen 443", f"listen 127.0.0.1:{self.port}")
            text = replaced(text, "/etc/ssl/example.org.pem", str(self.tls.certificate))
            text = replaced(text, "/etc/ssl/example.org.key", str(self.tls.key))
            text = text.replace("example.org", DOMAIN)
        elif kind == "caddy":
            text = replaced(text, "/etc/ssl/example.org.pem", str(self.tls.certificate))
            text = replaced(text, "/etc/ssl/example.org.key", str(self.tls.key))
            text = replaced(text, "example.org, *.example.org", f"{self.origin}, https://*.{DOMAIN}:{self.port}")
        else:
            together = directory / "together.pem"
            together.write_bytes(self.tls.certificate.read_bytes() + self.tls.key.read_bytes())
            text = replaced(text, "/etc/ssl/example.org.pem", str(together))
            text = replaced(text, "bind :443", f"bind 127.0.0.1:{self.port}")
        self.configuration = SURROUNDINGS[kind].format(directory=directory, documented=text)

    def start(self) -> "Front":
        file = self.directory / f"{self.kind}.conf"
        file.write_text(self.configuration)
        # Caddy keeps things in the home directory otherwise.
        environment = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin", "HOME": str(self.directory)}
        command = [*COMMANDS[self.kind], file]
        self.process = Process(command, self.directory / "front.log", cwd=self.directory, environment=environment)
        try:
            wait_for(lambda: accepts_connections(self.port), 20, f"{self.kind} in front")
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.process.tail()}") from None
        return self

    def close(self):
        if self.process:
            self.process.close()
