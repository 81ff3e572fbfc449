"""An MJPEG camera: 20 pictures a second of about 20 kB, each with the time at which it was written.

Speaks as mjpg-streamer does: HTTP/1.0 answers without a length, `?action=stream` and `?action=snapshot`.
"""

import asyncio
import base64
import sys
import time

# A JPEG of 16 by 16 grey pixels.
PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9"
    "//j/wAALCAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AIgP/9k="
)
BOUNDARY = "boundarydonotcross"
INTERVAL_SECONDS = 0.05


def picture(number: int) -> bytes:
    """A valid picture of its own: a comment segment after the start marker holds a number and ballast."""
    comment = f"frame {number} ".encode().ljust(20_000, b".")
    return PICTURE[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + PICTURE[2:]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"action=snapshot" in head.split(b"\r\n", 1)[0]:
            body = picture(0)
            writer.write(
                f"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            await writer.drain()
            return
        writer.write(
            b"HTTP/1.0 200 OK\r\nConnection: close\r\nServer: camera\r\nCache-Control: no-store\r\n"
            + f"Content-Type: multipart/x-mixed-replace;boundary={BOUNDARY}\r\n\r\n--{BOUNDARY}\r\n".encode()
        )
        number = 0
        while not reader.at_eof():
            body = picture(number)
            part = f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\nX-Frame: {number}\r\n"
            part += f"X-Timestamp: {time.monotonic_ns()}\r\n\r\n"
            writer.write(part.encode() + body + f"\r\n--{BOUNDARY}\r\n".encode())
            await writer.drain()
            number += 1
            await asyncio.sleep(INTERVAL_SECONDS)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
