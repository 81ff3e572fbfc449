"""Which TCP sockets a process holds, from `/proc`."""

import os
from pathlib import Path

ESTABLISHED, LISTEN = "01", "0A"


def local_ports(pid: int, remote_port: int) -> set[int]:
    """The local ports of a process's established connections to a port."""
    return {local for state, local, remote in sockets(pid) if state == ESTABLISHED and remote == remote_port}


def listens(pid: int, port: int) -> bool:
    """Whether a process still accepts connections on a port."""
    return any(state == LISTEN and local == port for state, local, _ in sockets(pid))


def sockets(pid: int) -> list[tuple[str, int, int]]:
    """State, local port and remote port of each; none of a process that has ended."""
    inodes = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                link = os.readlink(descriptor)
            except FileNotFoundError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
        lines = [
            line for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        ]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [(row[3], hexadecimal_port(row[1]), hexadecimal_port(row[2])) for row in rows if row[9] in inodes]


def hexadecimal_port(address: str) -> int:
    return int(address.rsplit(":", 1)[1], 16)
