"""Clients that take a 6xx for what it is: HTTP/1.1 and WebSockets, to the loopback address with a given `Host`."""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import websockets.sync.client
from websockets.exceptions import ConnectionClosed


@dataclass
class Response:
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def error(self) -> str | None:
        """The code by which the service, and nobody else, says that it failed."""
        return self.headers.get("X-Spoolway-Error")

    def expect(self, status: int) -> "Response":
        assert self.status == status, f"expected {status}, got {self.status} {self.reason}: {self.body[:500]!r}"
        return self


class Target:
    """One host of the service, with the credentials that a client of it would send."""

    def __init__(
        self, service, host: str, basic: tuple[str, str] | None = None, bearer: str | None = None, source: str = ""
    ):
        self.service = service
        self.host = host
        self.basic = basic
        self.bearer = bearer
        # Where the visitor comes from: any address of the loopback range.
        self.source = source
        self.connection: dict = {}

    @property
    def port(self) -> int:
        return self.service.port

    @property
    def url(self) -> str:
        return f"{'https' if self.service.tls else 'http'}://{self.host}"

    def with_credentials(self, basic=None, bearer=None, source="") -> "Target":
        other = Target(self.service, self.host, basic, bearer, source or self.source)
        other.connection = self.connection
        return other

    def as_bearer(self) -> "Target":
        return self.with_credentials(bearer=self.connection["authBearerToken"])

    def anonymous(self) -> "Target":
        return self.with_credentials()

    def from_address(self, source: str) -> "Target":
        return self.with_credentials(self.basic, self.bearer, source)

    def authorization(self) -> dict[str, str]:
        if self.basic:
            return {"Authorization": "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()}
        return {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}

    def oe_api_key(self) -> str:
        return quote(base64.b64encode(":".join(self.basic).encode()).decode()) if self.basic else self.bearer

    def socket(self, timeout: float = 60) -> socket.socket:
        """A connection to the service, over TLS if it speaks that."""
        source = (self.source, 0) if self.source else None
        connection = socket.create_connection(("127.0.0.1", self.port), timeout, source_address=source)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.service.tls:
            context = ssl.create_default_context(cafile=str(self.service.tls.authority))
            # OpenSSL refuses a wildcard right below a top-level name, as `*.localhost` is. The chain is still checked.
            context.check_hostname = False
            connection = context.wrap_socket(connection, server_hostname=self.host.split(":")[0])
        return connection

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.sock = self.socket(timeout)
        connection.auto_open = 0
        return connection

    def send(self, method: str, path: str, headers=None, body=None, timeout: float = 60):
        """Sends a request and gives the connection and the response, whose body is still to be read."""
        connection = self.connect(timeout)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent = {"Host": self.host, **self.authorization(), **(headers or {})}
        if body is not None and "Transfer-Encoding" not in sent:
            sent.setdefault("Content-Length", str(len(body)))
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        return connection, connection.getresponse()

    def request(self, method: str, path: str, headers=None, body=None, timeout: float = 60) -> Response:
        connection, response = self.send(method, path, headers, body, timeout)
        try:
            return Response(response.status, response.reason, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers=None, timeout: float = 60) -> Response:
        return self.request("GET", path, headers, timeout=timeout)

    def post_json(self, path: str, value, headers=None) -> Response:
        body = json.dumps(value).encode()
        return self.request("POST", path, {"Content-Type": "application/json", **(headers or {})}, body)

    def handshake(self, path: str, headers=None, credentials: bool = True) -> Response:
        """Asks for a WebSocket and gives the response, whatever it is."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
        }
        target = self if credentials else self.anonymous()
        connection, response = target.send("GET", path, {**upgrade, **(headers or {})})
        try:
            body = b"" if response.status == 101 else response.read()
            return Response(response.status, response.reason, response.headers, body)
        finally:
            connection.close()

    def websocket(self, path: str, headers=None, timeout: float = 30, **options):
        """An open WebSocket."""
        sent = {**self.authorization(), **(headers or {})}
        options = {
            "compression": None,
            "max_size": None,
            "ping_interval": None,
            "proxy": None,
            "legacy": True,
            **options,
        }
        connection = self.socket(timeout)
        # Always `ws`: the library then leaves the socket, which speaks TLS by itself where needed, alone.
        return websockets.sync.client.connect(
            f"ws://{self.host}{path}",
            sock=connection,
            additional_headers=sent,
            open_timeout=timeout,
            user_agent_header=None,
            **options,
        )


@dataclass
class Download:
    """A download that is read on demand."""

    target: Target
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    received: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    failure: str = ""

    def __post_init__(self):
        self.connection, self.response = self.target.send("GET", self.path, self.headers, timeout=60)
        self.status = self.response.status

    def read(self, length: int) -> bool:
        """Reads up to `length` bytes; false at the end of the body or when it broke."""
        left = length
        try:
            while left > 0:
                # `read1` gives what is there, so that a cut is seen where it happens.
                part = self.response.read1(min(left, 65536))
                if not part:
                    self._check_whole()
                    return False
                self.received += len(part)
                self.digest.update(part)
                left -= len(part)
        except (OSError, http.client.HTTPException) as error:
            self.failure = repr(error)
            return False
        return True

    def _check_whole(self):
        # `read1` does not complain about a body that is shorter than announced.
        if self.response.length:
            self.failure = f"the body ended {self.response.length} bytes early"

    def finish(self) -> "Download":
        while self.read(1 << 24):
            pass
        self.connection.close()
        return self

    @property
    def whole(self) -> bool:
        """Whether the client would take it for a complete answer."""
        return not self.failure

    @property
    def sha256(self) -> str:
        return self.digest.hexdigest()


class Upload:
    """A multipart upload that stops where it is told to."""

    def __init__(
        self, target: Target, path: str, field_name: str, file_name: str, content: bytes, headers=None, fields=None
    ):
        boundary = "----spoolway" + os.urandom(8).hex()
        parts = []
        for name, value in (fields or {}).items():
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
        disposition = f'form-data; name="{field_name}"; filename="{file_name}"'
        parts.append(
            (
                f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
            ).encode()
        )
        self.body = memoryview(b"".join(parts) + content + f"\r\n--{boundary}--\r\n".encode())
        self.sent = 0
        self.connection = target.connect(timeout=120)
        self.connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        all_headers = {
            "Host": target.host,
            **target.authorization(),
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self.body)),
            **(headers or {}),
        }
        for name, value in all_headers.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def send(self, length: int | None = None) -> "Upload":
        end = len(self.body) if length is None else min(len(self.body), self.sent + length)
        while self.sent < end:
            step = min(end, self.sent + 65536)
            self.connection.sock.sendall(self.body[self.sent : step])
            self.sent = step
        return self

    def response(self) -> Response:
        """The answer; raises if the connection was cut instead."""
        try:
            response = self.connection.getresponse()
            return Response(response.status, response.reason, response.headers, response.read())
        finally:
            self.connection.close()

    def outcome(self) -> Response | None:
        """The answer, or nothing if the connection was cut."""
        try:
            return self.response()
        except (OSError, http.client.HTTPException):
            return None


def close_code(websocket, timeout: float = 60) -> tuple[int, str]:
    """Reads a WebSocket to its end and gives the close code and reason; 1006 when it was cut without one."""
    try:
        while True:
            websocket.recv(timeout=timeout)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


def query(**arguments) -> str:
    return urlencode(arguments)
