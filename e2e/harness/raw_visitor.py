"""A visitor who writes bytes, not requests, and keeps what comes back."""

import socket
from dataclasses import dataclass

from .strict_http import Parsed, parse_requests, parse_responses

# Longer than any limit by which the service ends a connection on which nothing happens.
PATIENCE = 60
# How long a visitor who sent nonsense waits to see whether it is taken for sense after all.
CURIOSITY = 2


@dataclass
class Visit:
    sent: Parsed
    received: bytes
    # Whether the service closed the connection, and not the visitor.
    was_closed: bool


def visit(port: int, data: bytes) -> Visit:
    """Sends bytes on a connection of their own, and reads until nothing can be expected any more."""
    sent = parse_requests(data)
    methods = [message.first[0] for message in sent.messages]
    answers = len([message for message in sent.messages if message.complete])
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sendall(data)
        except OSError:
            # It was refused before it was read. What the service said about it may still be there.
            pass
        while True:
            have = len(parse_responses(received, methods + [b"GET"] * 9).messages) if received else 0
            # Bytes that end in the middle keep the service waiting; nothing but the end can follow.
            if sent.ending == "incomplete" and have >= answers:
                connection.settimeout(0.05)
            elif sent.ending == "malformed" and have >= answers:
                connection.settimeout(CURIOSITY)
            else:
                connection.settimeout(PATIENCE)
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                return Visit(sent, received, True)
            except TimeoutError:
                return Visit(sent, received, False)
            if not part:
                return Visit(sent, received, True)
            received += part
