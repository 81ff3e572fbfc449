"""Stands in for Klipper's host process, which needs a printer's board: the socket API, as far as Moonraker uses it.

Messages are JSON, each ended by byte 0x03. A "print" reads the file that Moonraker stored and moves its progress along
over the given seconds. usage: klippy.py SOCKET GCODES_DIRECTORY SECONDS_PER_PRINT
"""

import asyncio
import json
import os
import re
import sys
import time
from pathlib import Path

SOCKET, GCODES, SECONDS = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
ENDPOINTS = [
    "info",
    "emergency_stop",
    "register_remote_method",
    "list_endpoints",
    "gcode/help",
    "gcode/script",
    "gcode/restart",
    "gcode/firmware_restart",
    "gcode/subscribe_output",
    "objects/list",
    "objects/query",
    "objects/subscribe",
    "pause_resume/pause",
    "pause_resume/resume",
    "pause_resume/cancel",
    "query_endstops/status",
]


class Printer:
    def __init__(self):
        self.subscriptions = []  # (connection, template, object names and their fields)
        self.job = None
        self.objects = {
            "webhooks": {"state": "ready", "state_message": "Printer is ready"},
            "gcode": {"commands": {}},
            "configfile": {"config": {}, "settings": {"virtual_sdcard": {"path": str(GCODES)}}, "warnings": []},
            "toolhead": {
                "homed_axes": "xyz",
                "position": [0.0, 0.0, 0.0, 0.0],
                "print_time": 0.0,
                "extruder": "extruder",
            },
            "extruder": {"temperature": 21.5, "target": 0.0, "power": 0.0},
            "heater_bed": {"temperature": 21.0, "target": 0.0, "power": 0.0},
            "heaters": {"available_heaters": ["extruder", "heater_bed"], "available_sensors": []},
            "pause_resume": {"is_paused": False},
            "output_pin caselight": {"value": 0.0},
            # No Klipper has this: every line that it was told to run, for tests to read.
            "lines_run": {"lines": []},
            "idle_timeout": {"state": "Idle", "printing_time": 0.0},
            "display_status": {"progress": 0.0, "message": None},
            "virtual_sdcard": {
                "file_path": None,
                "progress": 0.0,
                "is_active": False,
                "file_position": 0,
                "file_size": 0,
            },
            "print_stats": {
                "filename": "",
                "total_duration": 0.0,
                "print_duration": 0.0,
                "filament_used": 0.0,
                "state": "standby",
                "message": "",
                "info": {"total_layer": None, "current_layer": None},
            },
            "gcode_move": {"speed_factor": 1.0, "extrude_factor": 1.0, "gcode_position": [0.0, 0.0, 0.0, 0.0]},
        }

    def status(self, wanted: dict) -> dict:
        return {
            name: {key: value for key, value in self.objects[name].items() if fields is None or key in fields}
            for name, fields in wanted.items()
            if name in self.objects
        }

    def update(self, **changes):
        """Changes objects and tells those who asked to know."""
        for name, fields in changes.items():
            self.objects[name].update(fields)
        for send, template, wanted in list(self.subscriptions):
            news = {}
            for name, fields in changes.items():
                if name in wanted:
                    news[name] = {
                        key: value for key, value in fields.items() if wanted[name] is None or key in wanted[name]
                    }
            if news:
                send({**template, "params": {"eventtime": time.monotonic(), "status": news}})

    def script(self, text: str):
        self.objects["lines_run"]["lines"] += text.splitlines()
        if match := re.search(r"SET_PIN PIN=caselight VALUE=(\d)", text):
            self.update(**{"output_pin caselight": {"value": float(match[1])}})
        for heater, command in (("heater_bed", "M140"), ("extruder", "M104")):
            if match := re.search(command + r" (?:T\d+ )?S([\d.]+)", text):
                self.update(**{heater: {"target": float(match[1])}})
        if match := re.match(r'SDCARD_PRINT_FILE\s+FILENAME="(.*)"', text):
            self.start(match[1])
        elif text.startswith("CANCEL_PRINT"):
            self.cancel()

    def start(self, name: str):
        path = GCODES / name
        if not path.is_file():
            raise ValueError(f"Unable to open file: {name}")
        self.cancel()
        self.job = asyncio.get_running_loop().create_task(self.run(name, path))

    def pause(self, paused: bool):
        self.paused = paused
        self.update(print_stats={"state": "paused" if paused else "printing"}, pause_resume={"is_paused": paused})

    def cancel(self):
        if self.job and not self.job.done():
            self.job.cancel()
            self.update(print_stats={"state": "cancelled"}, virtual_sdcard={"is_active": False})

    async def run(self, name: str, path: Path):
        size = path.stat().st_size
        begun = time.monotonic()
        self.paused = False
        self.update(
            print_stats={
                "filename": name,
                "state": "printing",
                "total_duration": 0.0,
                "print_duration": 0.0,
                "message": "",
            },
            virtual_sdcard={
                "file_path": str(path),
                "is_active": True,
                "progress": 0.0,
                "file_position": 0,
                "file_size": size,
            },
            idle_timeout={"state": "Printing"},
        )
        while (passed := time.monotonic() - begun) < SECONDS:
            await asyncio.sleep(0.1)
            if self.paused:
                begun += 0.1
                continue
            progress = min(passed / SECONDS, 1.0)
            self.update(
                virtual_sdcard={"progress": progress, "file_position": int(size * progress)},
                display_status={"progress": progress},
                print_stats={"total_duration": passed, "print_duration": passed, "filament_used": passed * 2},
            )
        self.update(
            virtual_sdcard={"progress": 1.0, "file_position": size, "is_active": False},
            display_status={"progress": 1.0},
            print_stats={"state": "complete", "total_duration": SECONDS, "print_duration": SECONDS},
            idle_timeout={"state": "Ready"},
        )

    def answer(self, method: str, parameters: dict, send) -> dict:
        template = parameters.get("response_template", {})
        match method:
            case "info":
                return {
                    "state": "ready",
                    "state_message": "Printer is ready",
                    "hostname": "endtoend",
                    "process_id": os.getpid(),
                    "user_id": os.getuid(),
                    "group_id": os.getgid(),
                    "klipper_path": "/nowhere/klipper",
                    "python_path": sys.executable,
                    "log_file": "",
                    "config_file": "",
                    "software_version": "v0.12.0",
                    "cpu_info": "2 core",
                }
            case "list_endpoints":
                return {"endpoints": ENDPOINTS}
            case "objects/list":
                return {"objects": list(self.objects)}
            case "objects/query":
                return {"eventtime": time.monotonic(), "status": self.status(parameters["objects"])}
            case "objects/subscribe":
                # A connection has one subscription per template; a new one replaces it.
                self.subscriptions = [s for s in self.subscriptions if not (s[0] is send and s[1] == template)]
                self.subscriptions.append((send, template, parameters["objects"]))
                return {"eventtime": time.monotonic(), "status": self.status(parameters["objects"])}
            case "gcode/script":
                self.script(parameters["script"])
            case "pause_resume/cancel":
                self.cancel()
            case "pause_resume/pause":
                self.pause(True)
            case "pause_resume/resume":
                self.pause(False)
            case "gcode/help":
                return {}
        return {}


async def serve(reader, writer, printer):
    def send(message):
        writer.write(json.dumps(message).encode() + b"\x03")

    try:
        while True:
            request = json.loads((await reader.readuntil(b"\x03"))[:-1])
            try:
                reply = {"result": printer.answer(request["method"], request.get("params", {}), send)}
            except Exception as error:
                reply = {"error": {"error": "CommandError", "message": str(error)}}
            if "id" in request:
                send({"id": request["id"], **reply})
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        printer.subscriptions = [s for s in printer.subscriptions if s[0] is not send]
        writer.close()


async def main():
    printer = Printer()
    Path(SOCKET).unlink(missing_ok=True)
    server = await asyncio.start_unix_server(lambda r, w: serve(r, w, printer), SOCKET, limit=1 << 24)
    async with server:
        await server.serve_forever()


asyncio.run(main())
