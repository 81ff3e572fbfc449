"""HTTP/1.1 messages read from bytes as RFC 9112 has them and in no other way: no leniency that a server may show."""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) (HTTP/1\.[01])")
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([0-9]{3}) ([\t\x20-\x7e\x80-\xff]*)")
FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff]|[ \t]+(?=[\x21-\x7e\x80-\xff]))*)[ \t]*"
)
# Extensions never travel on, so they may hold anything but line ends here.
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[^\r\n]*)?")


class Malformed(Exception):
    """The bytes are no message."""


class Incomplete(Exception):
    """The bytes may be the beginning of a message."""


@dataclass
class Message:
    """A request (`first` is method, target, version) or a response (version, status, reason)."""

    first: tuple[bytes, bytes, bytes]
    # Names in lower case.
    headers: list[tuple[bytes, bytes]]
    offset: int
    # How the body's end is found: "none", "length", "chunked", "close".
    framing: str = "none"
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    # False if the bytes ended, or went wrong, within the body or its trailers.
    complete: bool = True
    # Whether the last chunk was there, although what follows it is no trailer section.
    has_wrong_trailers: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for header, value in self.headers if header == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """The members of a list header, in lower case."""
        members = (member.strip(b" \t").lower() for value in self.values(name) for member in value.split(b","))
        return [member for member in members if member]

    @property
    def status(self) -> int:
        return int(self.first[1])


@dataclass
class Parsed:
    messages: list[Message]
    # "end": the bytes are exactly the messages. "incomplete", "malformed": what follows them, or the last body, is.
    ending: str
    why: str = ""


def parse_requests(data: bytes) -> Parsed:
    return _parse(data, lambda at: _request(data, at))


def parse_responses(data: bytes, methods: list[bytes]) -> Parsed:
    """The answers to requests with these methods; interim ones (1xx) are read and left out."""
    left = iter(methods)

    def one(at: int):
        while True:
            message, at = _response_head(data, at)
            if message.status == 101 or message.status >= 200:
                return _response_body(data, message, at, next(left, b"GET"))

    return _parse(data, one)


def _parse(data: bytes, one) -> Parsed:
    messages: list[Message] = []
    at = 0
    while at < len(data):
        try:
            message, at = one(at)
        except _InBody as problem:
            messages.append(problem.message)
            return Parsed(messages, "malformed" if problem.malformed else "incomplete", str(problem))
        except Malformed as problem:
            return Parsed(messages, "malformed", str(problem))
        except Incomplete as problem:
            return Parsed(messages, "incomplete", str(problem))
        messages.append(message)
    return Parsed(messages, "end")


class _InBody(Exception):
    def __init__(self, message: Message, malformed: bool, why: str):
        super().__init__(why)
        message.complete = False
        self.message, self.malformed = message, malformed


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\n", at)
    if end < 0:
        # What has come so far may already be wrong, but no more is claimed than that it is no line yet.
        raise Incomplete("a line without an end")
    line = data[at : end + 1]
    if not line.endswith(b"\r\n"):
        raise Malformed("a bare LF")
    if b"\r" in line[:-2]:
        raise Malformed("a bare CR")
    return line[:-2], end + 1


def _fields(data: bytes, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    fields = []
    while True:
        line, at = _line(data, at)
        if not line:
            return fields, at
        match = FIELD.fullmatch(line)
        if not match:
            raise Malformed(f"no header: {line!r}")
        fields.append((match[1].lower(), match[2]))


def _length(values: list[bytes]) -> int:
    if len(values) != 1 or not re.fullmatch(rb"[0-9]{1,18}", values[0]):
        raise Malformed(f"Content-Length {values!r}")
    return int(values[0])


def _request(data: bytes, at: int) -> tuple[Message, int]:
    # Empty lines before a request are to be ignored, and may end in LF alone (RFC 9112 §2.2).
    while data.startswith((b"\r\n", b"\n"), at):
        at += 2 if data.startswith(b"\r", at) else 1
    if at == len(data):
        raise Incomplete("empty lines alone")
    offset = at
    line, at = _line(data, at)
    match = REQUEST_LINE.fullmatch(line)
    if not match:
        raise Malformed(f"no request line: {line!r}")
    headers, at = _fields(data, at)
    message = Message((match[1], match[2], match[3]), headers, offset)
    lengths, codings = message.values(b"content-length"), message.values(b"transfer-encoding")
    if message.first[2] == b"HTTP/1.1" and len(message.values(b"host")) != 1:
        raise Malformed(f"{len(message.values(b'host'))} Host headers")
    if lengths and codings:
        raise Malformed("two ways of telling the length")
    if codings:
        if len(codings) != 1 or codings[0].lower() != b"chunked" or message.first[2] == b"HTTP/1.0":
            raise Malformed(f"Transfer-Encoding {codings!r}")
        message.framing = "chunked"
        return message, _chunks(data, message, at)
    if lengths:
        message.framing = "length"
        return message, _counted(data, message, at, _length(lengths))
    return message, at


def _response_head(data: bytes, at: int) -> tuple[Message, int]:
    offset = at
    line, at = _line(data, at)
    match = STATUS_LINE.fullmatch(line)
    if not match:
        raise Malformed(f"no status line: {line!r}")
    headers, at = _fields(data, at)
    return Message((match[1], match[2], match[3]), headers, offset), at


def _response_body(data: bytes, message: Message, at: int, method: bytes) -> tuple[Message, int]:
    if method == b"HEAD" or message.status in (101, 204, 304):
        return message, at
    lengths, codings = message.values(b"content-length"), message.values(b"transfer-encoding")
    if lengths and codings:
        raise Malformed("two ways of telling the length")
    if codings:
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise Malformed(f"Transfer-Encoding {codings!r}")
        message.framing = "chunked"
        return message, _chunks(data, message, at)
    if lengths:
        message.framing = "length"
        return message, _counted(data, message, at, _length(lengths))
    message.framing = "close"
    message.body = data[at:]
    return message, len(data)


def _counted(data: bytes, message: Message, at: int, length: int) -> int:
    message.body = data[at : at + length]
    if len(message.body) < length:
        raise _InBody(message, False, f"{len(message.body)} of {length} bytes")
    return at + length


def _chunks(data: bytes, message: Message, at: int) -> int:
    try:
        while True:
            line, at = _line(data, at)
            match = CHUNK_SIZE.fullmatch(line)
            if not match or len(match[1].lstrip(b"0")) > 15:
                raise Malformed(f"no chunk size: {line!r}")
            size = int(match[1], 16)
            if size == 0:
                message.has_wrong_trailers = True
                message.trailers, at = _fields(data, at)
                message.has_wrong_trailers = False
                return at
            message.body += data[at : at + size]
            at += size
            if at >= len(data):
                raise Incomplete("a chunk without an end")
            end, at = data[at : at + 2], at + 2
            if len(end) < 2 and b"\r\n".startswith(end):
                raise Incomplete("a chunk without an end")
            if end != b"\r\n":
                raise Malformed(f"after a chunk: {end!r}")
    except Malformed as problem:
        raise _InBody(message, True, str(problem)) from None
    except Incomplete as problem:
        message.has_wrong_trailers = False
        raise _InBody(message, False, str(problem)) from None
