"""The MJPEG camera of a printer."""

from pathlib import Path

from . import paths
from .process import Process, accepts_connections, free_port, wait_for


class Camera:
    def __init__(self, directory: Path):
        self.directory = directory
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Camera":
        self.process = Process([paths.PYTHON, paths.SERVERS / "camera.py", self.port], self.directory / "camera.log")
        wait_for(lambda: accepts_connections(self.port), 20, "the camera")
        return self

    def close(self):
        if self.process:
            self.process.close()


class Frames:
    """Reads an MJPEG stream part by part."""

    def __init__(self, target, path: str = "/webcam/?action=stream"):
        self.connection, self.response = target.send("GET", path)
        self.status = self.response.status
        self.buffer = b""
        self.content_type = self.response.headers.get("Content-Type", "")
        self.boundary = self.content_type.partition("boundary=")[2].strip('"').encode()

    def next(self) -> tuple[dict[str, str], bytes]:
        """The headers and picture of the next part.

        Raises at the end of the stream: `EOFError` if it ended in order.
        """
        line = self._line()
        while line.strip() != b"--" + self.boundary:
            line = self._line()
        headers = {}
        while (line := self._line().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers["content-length"])
        while len(self.buffer) < length:
            self._fill()
        picture, self.buffer = self.buffer[:length], self.buffer[length:]
        return headers, picture

    def _line(self) -> bytes:
        while b"\n" not in self.buffer:
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _fill(self):
        # `readline` of Python's client takes a cut chunked body for one that ended, `read1` does not.
        part = self.response.read1(65536)
        if not part:
            raise EOFError("the stream ended in order")
        self.buffer += part

    def close(self):
        self.connection.close()
