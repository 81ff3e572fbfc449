"""The printer's end of the existing plugin's protocol, on that plugin's own transport and encoding.

The two packages are the ones that the plugin ships with. What is said with them is written from the specification.
Usage: plugin_client.py URL MODULUS [VERSION]. Says what happens in lines of JSON.
With a file in PLUGIN_DICTIONARY it compresses with zstd and that dictionary, else with zlib.
"""

import json
import os
import secrets
import string
import sys
import threading
import zlib

import octoflatbuffers
import octowebsocket
import zstandard
from octoflatbuffers import number_types as numbers

EXPONENT = 65537
KEY_BYTES = 512
ALPHANUMERIC = string.ascii_letters + string.digits
PRINTER_ID = os.environ.get("PLUGIN_PRINTER_ID") or "".join(
    secrets.choice(string.ascii_uppercase + string.digits) for _ in range(60)
)
PRIVATE_KEY = os.environ.get("PLUGIN_PRIVATE_KEY") or "".join(secrets.choice(ALPHANUMERIC) for _ in range(80))

SYN, ACK, STREAM, NOTIFICATION = 1, 2, 3, 4
TEXT, BINARY = 1, 2
ZLIB, ZSTD = 2, 3
STATUS = "/octoeverywhere-command-api/status"

DICTIONARY = None
if os.environ.get("PLUGIN_DICTIONARY"):
    with open(os.environ["PLUGIN_DICTIONARY"], "rb") as file:
        DICTIONARY = zstandard.ZstdCompressionDict(file.read())
BEST = ZSTD if DICTIONARY else ZLIB


class Deflater:
    """Compresses one direction of one stream: for zstd one frame spans all of its messages and never ends."""

    def __init__(self):
        self.frame = None

    def compress(self, data: bytes) -> bytes:
        if DICTIONARY is None:
            return zlib.compress(data, 3)
        if self.frame is None:
            self.frame = zstandard.ZstdCompressor(level=3, dict_data=DICTIONARY).compressobj()
        return self.frame.compress(data) + self.frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def say(**what):
    print(json.dumps(what), flush=True)


def encrypt(text: str, modulus: int) -> bytes:
    """PKCS#1 v1.5."""
    message = text.encode()
    padding = bytes(secrets.randbelow(255) + 1 for _ in range(KEY_BYTES - 3 - len(message)))
    block = b"\0\2" + padding + b"\0" + message
    return pow(int.from_bytes(block, "big"), EXPONENT, modulus).to_bytes(KEY_BYTES, "big")


class Table:
    """Reads a table by slots."""

    def __init__(self, buffer, position):
        self.table = octoflatbuffers.table.Table(buffer, position)

    @classmethod
    def root(cls, message: bytes) -> "Table":
        size = int.from_bytes(message[:4], "little")
        assert size == len(message) - 4, f"the prefix says {size}"
        return cls(message, 4 + int.from_bytes(message[4:8], "little"))

    def field(self, slot):
        return self.table.Offset(4 + 2 * slot)

    def number(self, slot, flags, default=0):
        offset = self.field(slot)
        return self.table.Get(flags, self.table.Pos + offset) if offset else default

    def flag(self, slot, default=False):
        return bool(self.number(slot, numbers.BoolFlags, default))

    def text(self, slot):
        offset = self.field(slot)
        return self.table.String(self.table.Pos + offset).decode() if offset else None

    def bytes(self, slot):
        offset = self.field(slot)
        if not offset:
            return b""
        start = self.table.Vector(offset)
        return bytes(self.table.Bytes[start : start + self.table.VectorLen(offset)])

    def child(self, slot):
        offset = self.field(slot)
        return Table(self.table.Bytes, self.table.Indirect(self.table.Pos + offset)) if offset else None

    def children(self, slot):
        offset = self.field(slot)
        if not offset:
            return []
        start = self.table.Vector(offset)
        return [
            Table(self.table.Bytes, self.table.Indirect(start + 4 * index))
            for index in range(self.table.VectorLen(offset))
        ]

    def count(self, slot):
        offset = self.field(slot)
        return self.table.VectorLen(offset) if offset else 0


def written(kind: int, n_fields: int, fill) -> bytes:
    builder = octoflatbuffers.Builder(256)
    write = fill(builder)
    builder.StartObject(n_fields)
    write()
    member = builder.EndObject()
    builder.StartObject(2)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, member, 0)
    builder.FinishSizePrefixed(builder.EndObject())
    return bytes(builder.Output())


def introduction(challenge: bytes, version: str) -> bytes:
    def fill(builder):
        printer, key = builder.CreateString(PRINTER_ID), builder.CreateString(PRIVATE_KEY)
        said_version, address = builder.CreateString(version), builder.CreateString("192.0.2.17")
        encrypted = builder.CreateByteVector(challenge)

        def write():
            builder.PrependUOffsetTRelativeSlot(0, printer, 0)
            builder.PrependBoolSlot(1, True, False)
            builder.PrependUOffsetTRelativeSlot(2, said_version, 0)
            builder.PrependUOffsetTRelativeSlot(3, address, 0)
            builder.PrependUint32Slot(4, 80, 0)
            builder.PrependUOffsetTRelativeSlot(6, encrypted, 0)
            builder.PrependInt8Slot(7, 1, 0)
            builder.PrependUOffsetTRelativeSlot(11, key, 0)
            builder.PrependInt8Slot(12, 1, 1)
            builder.PrependInt8Slot(13, 1, 0)
            builder.PrependInt8Slot(16, BEST, ZLIB)

        return write

    return written(SYN, 20, fill)


def part(
    stream, *, data=b"", status=0, headers=None, size=-1, done=False, closed=False, flags_only=False, kind=126, by=None
):
    """A part of a stream. What is long is compressed, as the plugin does."""
    payload = (by or Deflater()).compress(data) if len(data) >= 200 else data
    is_compressed = payload is not data

    def fill(builder):
        context = None
        if headers is not None:
            pairs = []
            for name, value in headers:
                key, text = builder.CreateString(name), builder.CreateString(value)
                builder.StartObject(2)
                builder.PrependUOffsetTRelativeSlot(0, key, 0)
                builder.PrependUOffsetTRelativeSlot(1, text, 0)
                pairs.append(builder.EndObject())
            builder.StartVector(4, len(pairs), 4)
            for pair in reversed(pairs):
                builder.PrependUOffsetTRelative(pair)
            vector = builder.EndVector()
            builder.StartObject(7)
            builder.PrependUOffsetTRelativeSlot(4, vector, 0)
            context = builder.EndObject()
        vector = builder.CreateByteVector(payload) if payload else None

        def write():
            builder.PrependUint32Slot(0, stream, 0)
            builder.PrependBoolSlot(2, closed, False)
            builder.PrependBoolSlot(3, done, False)
            builder.PrependBoolSlot(4, flags_only, True)
            builder.PrependInt64Slot(5, size, -1)
            if vector is not None:
                builder.PrependUOffsetTRelativeSlot(6, vector, 0)
            builder.PrependInt8Slot(7, BEST if is_compressed else 0, 0)
            builder.PrependUint64Slot(8, len(data) if is_compressed else 0, 0)
            if context is not None:
                builder.PrependUOffsetTRelativeSlot(9, context, 0)
            builder.PrependUint16Slot(11, status, 0)
            builder.PrependInt8Slot(12, kind, 126)

        return write

    return written(STREAM, 18, fill)


class Plugin:
    def __init__(self, url, modulus, version):
        self.expected = "".join(secrets.choice(ALPHANUMERIC) for _ in range(64))
        self.challenge, self.version = encrypt(self.expected, modulus), version
        self.requests, self.sockets, self.lock = {}, {}, threading.Lock()
        self.app = octowebsocket.WebSocketApp(
            url, on_open=self.opened, on_message=self.received, on_error=self.failed, on_close=self.ended
        )

    def send(self, message: bytes):
        with self.lock:
            self.app.send(message, octowebsocket.ABNF.OPCODE_BINARY, use_frame_mask=False)

    def opened(self, _):
        self.send(introduction(self.challenge, self.version))

    def failed(self, _, error):
        say(event="error", error=str(error))

    def ended(self, *_):
        say(event="closed")

    def received(self, _, message):
        root = Table.root(message)
        kind, context = root.number(0, numbers.Uint8Flags), root.child(1)
        if kind == ACK:
            answer = context.text(6)
            say(
                event="ack",
                accepted=context.flag(0),
                accounts=context.count(1),
                error=context.text(2),
                update=context.flag(4),
                octokey=bool(context.text(5)),
                proven=answer == self.expected,
            )
        elif kind == NOTIFICATION:
            say(event="notification", text=context.text(1), link=context.text(5))
        elif kind == STREAM:
            self.stream(context)

    def stream(self, message: Table):
        stream = message.number(0, numbers.Uint32Flags)
        if message.flag(2):
            self.requests.pop(stream, None)
            self.sockets.pop(stream, None)
            return
        if message.flag(1):
            context = message.child(9)
            headers = {header.text(0): header.text(1) for header in context.children(4)}
            if message.flag(10):
                self.open_socket(stream, context.text(0))
            else:
                self.requests[stream] = [context.text(2), context.text(0), headers, b""]
        if message.flag(4, True):
            return
        if stream in self.sockets:
            kind, data = message.number(12, numbers.Int8Flags, 126), message.bytes(6)
            if kind == 8:
                del self.sockets[stream]
                self.send(part(stream, closed=True, flags_only=True))
            else:
                self.send(part(stream, data=data, kind=kind, by=self.sockets[stream]))
        elif stream in self.requests:
            self.requests[stream][3] += message.bytes(6)
            if message.flag(3):
                self.answer(stream, *self.requests.pop(stream))

    def open_socket(self, stream, path):
        if path == "/refused":
            self.send(part(stream, closed=True, flags_only=True))
        else:
            self.sockets[stream] = Deflater()

    def answer(self, stream, method, path, headers, body):
        """An echo; below `/large` something long, and below `/short` less than announced."""
        head = {"headers": [("Content-Type", "application/json"), ("Set-Cookie", "a=1; Path=/, b=2")], "status": 200}
        if path == STATUS:
            text = json.dumps({"Status": 200, "Result": {"JobStatus": {"State": "paused"}}}).encode()
            self.send(part(stream, data=text, size=len(text), done=True, closed=True, **head))
        elif path.startswith("/large"):
            deflater = Deflater()
            pieces = [bytes([65 + index]) * 500_000 for index in range(8)]
            size = sum(map(len, pieces))
            for index, piece in enumerate(pieces):
                last = index == len(pieces) - 1
                first = dict(head, size=size) if index == 0 else {}
                self.send(part(stream, data=piece, done=last, closed=last, by=deflater, **first))
        elif path.startswith("/short"):
            self.send(part(stream, data=b"short", size=10, **head))
            self.send(part(stream, done=True, closed=True))
        else:
            echo = {"method": method, "path": path, "headers": headers, "body": body.decode("latin-1")}
            text = json.dumps(echo).encode()
            self.send(part(stream, data=text, size=len(text), done=True, closed=True, **head))


def main():
    url, modulus = sys.argv[1], int(sys.argv[2], 16)
    plugin = Plugin(url, modulus, sys.argv[3] if len(sys.argv) > 3 else "5.3.1")
    say(event="identity", printer=PRINTER_ID)
    plugin.app.run_forever(ping_interval=30, ping_timeout=20)


main()
