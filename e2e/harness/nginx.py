"""nginx as the front of a printer's software, as the ready-made printer images have it."""

import shutil
from pathlib import Path

from .process import Process, accepts_connections, free_port, wait_for

BINARY = shutil.which("nginx") or "/usr/sbin/nginx"

CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    types {{ text/html html; application/javascript js; text/css css; }}
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
{locations}
    }}
}}
"""


class Nginx:
    def __init__(self, directory: Path, locations: str):
        self.directory = directory
        self.locations = locations
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Nginx":
        if self.process:
            self.process.close()
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(directory=self.directory, port=self.port, locations=self.locations)
        )
        command = [BINARY, "-c", configuration, "-p", self.directory, "-e", "stderr"]
        self.process = Process(command, self.directory / "nginx.log")
        wait_for(lambda: accepts_connections(self.port), 20, f"nginx\n{self.process.tail()}")
        return self

    def kill(self):
        self.process.kill()

    def close(self):
        if self.process:
            self.process.close()
