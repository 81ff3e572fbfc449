"""A TCP proxy that keeps every byte, to see what really reaches a printer's software and what it really answers."""

import asyncio
import threading
from dataclasses import dataclass, field

from .process import wait_for


@dataclass
class Captured:
    """One connection: what was sent to the software and what came back, each part with its place among all parts."""

    sent: list[tuple[int, bytes]] = field(default_factory=list)
    received: list[tuple[int, bytes]] = field(default_factory=list)
    is_open: bool = True

    @property
    def request_bytes(self) -> bytes:
        return b"".join(part for _, part in self.sent)

    @property
    def response_bytes(self) -> bytes:
        return b"".join(part for _, part in self.received)

    def place_of(self, offset: int) -> int:
        """When the byte at an offset of `request_bytes` came, in the order of all parts of all connections."""
        end = 0
        for place, part in self.sent:
            end += len(part)
            if offset < end:
                return place
        raise IndexError(offset)


class Capture:
    """Listens on a port of its own, passes everything on to `port`, and keeps it."""

    def __init__(self, port: int):
        self.target = port
        self.port = 0
        self.connections: list[Captured] = []
        self._parts = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Capture":
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = listening.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        captured = Captured()
        self.connections.append(captured)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            captured.is_open = False
            return
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, captured.sent), self._pump(far_reader, writer, captured.received)
            )
        finally:
            far_writer.close()
            writer.close()
            captured.is_open = False

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: list):
        try:
            while part := await reader.read(65536):
                self._parts += 1
                kept.append((self._parts, part))
                writer.write(part)
                await writer.drain()
            writer.write_eof()
        except OSError:
            # Whoever is at the other end learns of it in the same way.
            writer.transport.abort()

    def take(self) -> list[Captured]:
        """Everything so far, once all connections have ended; what comes later is kept anew."""
        wait_for(lambda: not any(one.is_open for one in self.connections), 60, "the captured connections to end")
        taken, self.connections = self.connections, []
        return taken

    def close(self):
        async def end():
            if self._server:
                self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
