"""The four kinds of traffic that a fault may hit in the middle, each with what its client saw in the end."""

import hashlib
import http.client

from .camera import Frames
from .client import Download, Target, Upload, close_code
from .moonraker import JsonRpc

# More than all buffers between printer and visitor can hold, so that a transfer that is read slowly is still going on.
DOWNLOAD_BYTES = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024


class DownloadUnderway:
    def __init__(self, target: Target, software, content: bytes):
        self.sha256 = hashlib.sha256(content).hexdigest()
        path = software.offer("large.cfg" if software.software == "moonraker" else "large.gcode", content)
        self.download = Download(target, path, software.headers)
        assert self.download.status == 200
        assert self.download.read(READ_BYTES)

    def outcome(self):
        """Nothing if the file came whole after all, else how it broke; a wrong file that looks whole is a failure."""
        self.download.finish()
        if self.download.whole:
            assert self.download.sha256 == self.sha256, f"silently cut after {self.download.received} bytes"
            return None
        return "reset"


class UploadUnderway:
    def __init__(self, target: Target, software, content: bytes):
        path, fields = "/api/files/local", {}
        if software.software == "moonraker":
            path, fields = "/server/files/upload", {"root": "gcodes"}
        self.upload = Upload(target, path, "file", "cut.gcode", content, software.headers, fields)
        self.upload.send(len(content) // 2)

    def outcome(self):
        answer = self.upload.outcome()
        return "reset" if answer is None else answer.error or answer.status


class WebSocketUnderway:
    def __init__(self, target: Target, software, _content: bytes):
        if software.software == "octoprint":
            self.websocket = target.websocket("/sockjs/111/underway/websocket")
            assert self.websocket.recv(timeout=30) == "o"
        else:
            self.websocket = JsonRpc(target).websocket

    def outcome(self):
        return close_code(self.websocket)[0]


class CameraUnderway:
    def __init__(self, target: Target, _software, _content: bytes):
        self.frames = Frames(target)
        self.frames.next()
        self.frames.next()

    def outcome(self):
        try:
            while True:
                self.frames.next()
        except EOFError:
            return "ended in order"
        except (OSError, http.client.HTTPException):
            return "reset"
        finally:
            self.frames.close()


UNDERWAY = {
    "download": DownloadUnderway,
    "upload": UploadUnderway,
    "websocket": WebSocketUnderway,
    "camera": CameraUnderway,
}
