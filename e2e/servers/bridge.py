"""Stands between a WebSocket client that can neither set headers nor speak HTTP/2, and the service.

`http1` rewrites `Host` and adds `Authorization` in the handshake; `http2` turns the handshake into an extended CONNECT
(RFC 8441) on a connection of its own. After the handshake both pass bytes on.
usage: bridge.py http1|http2 LISTEN_PORT SERVICE_PORT HOST AUTHORIZATION [CERTIFICATE_AUTHORITY]
"""

import asyncio
import base64
import hashlib
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

MODE, LISTEN, SERVICE, HOST, AUTHORIZATION = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
CONTEXT = None
if len(sys.argv) > 6:
    CONTEXT = ssl.create_default_context(cafile=sys.argv[6])
    CONTEXT.check_hostname = False
    CONTEXT.set_alpn_protocols(["h2" if MODE == "http2" else "http/1.1"])
# Large enough that a 16 MiB message does not wait for many round trips.
WINDOW = 4 * 1024 * 1024


async def connect():
    return await asyncio.open_connection(
        "127.0.0.1", SERVICE, ssl=CONTEXT, server_hostname=HOST.split(":")[0] if CONTEXT else None
    )


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()
    except (ConnectionError, OSError):
        writer.transport.abort()


async def http1(head: list[bytes], reader, writer):
    service_reader, service_writer = await connect()
    kept = [line for line in head[1:] if not line.lower().startswith(b"host:")]
    ours = [b"Host: " + HOST.encode()]
    if AUTHORIZATION:
        ours.append(b"Authorization: " + AUTHORIZATION.encode())
    lines = [head[0], *ours, *kept]
    service_writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    try:
        await asyncio.gather(copy(reader, service_writer), copy(service_reader, writer))
    finally:
        service_writer.close()


async def http2(head: list[bytes], reader, writer):
    service_reader, service_writer = await connect()
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.local_settings = h2.settings.Settings(
        client=True,
        initial_values={
            h2.settings.SettingCodes.ENABLE_PUSH: 0,
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
        },
    )
    connection.initiate_connection()
    connection.increment_flow_control_window(WINDOW)
    service_writer.write(connection.data_to_send())
    fields = dict(line.decode().split(": ", 1) for line in head[1:] if b": " in line)
    fields = {name.lower(): value for name, value in fields.items()}
    room = asyncio.Event()
    stream = None

    def ask():
        number = connection.get_next_available_stream_id()
        pseudo = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https" if CONTEXT else "http"),
            (":path", head[0].split(b" ")[1].decode()),
            (":authority", HOST),
        ]
        kept = [
            (name, fields[name])
            for name in ("sec-websocket-version", "sec-websocket-protocol", "origin")
            if name in fields
        ]
        connection.send_headers(number, [*pseudo, ("authorization", AUTHORIZATION), *kept])
        return number

    async def upstream():
        while data := await reader.read(65536):
            while data:
                size = min(len(data), connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
                if size == 0:
                    room.clear()
                    await room.wait()
                    continue
                connection.send_data(stream, data[:size])
                data = data[size:]
                service_writer.write(connection.data_to_send())
                await service_writer.drain()
        connection.end_stream(stream)
        service_writer.write(connection.data_to_send())

    sender = None
    try:
        while data := await service_reader.read(65536):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.RemoteSettingsChanged() if stream is None:
                        if h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL not in event.changed_settings:
                            raise ConnectionError("the service does not offer extended CONNECT")
                        stream = ask()
                    case h2.events.ResponseReceived():
                        status = dict(event.headers)[":status"]
                        if status != "200":
                            writer.write(f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\n\r\n".encode())
                            return
                        accept = hashlib.sha1(
                            (fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()
                        )
                        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        answer += f"Sec-WebSocket-Accept: {base64.b64encode(accept.digest()).decode()}\r\n\r\n"
                        writer.write(answer.encode())
                        sender = asyncio.create_task(upstream())
                    case h2.events.DataReceived():
                        writer.write(event.data)
                        await writer.drain()
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.WindowUpdated():
                        room.set()
                    case h2.events.StreamReset():
                        writer.transport.abort()
                        return
                    case h2.events.StreamEnded() | h2.events.ConnectionTerminated():
                        return
            service_writer.write(connection.data_to_send())
    finally:
        if sender:
            sender.cancel()
        service_writer.close()


async def serve(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).rstrip(b"\r\n").split(b"\r\n")
        await (http2 if MODE == "http2" else http1)(head, reader, writer)
    except (ConnectionError, asyncio.IncompleteReadError, OSError) as error:
        print(f"bridge: {error!r}", file=sys.stderr)
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", LISTEN)
    async with server:
        await server.serve_forever()


asyncio.run(main())
