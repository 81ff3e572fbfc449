"""An Elegoo Centauri Carbon 2: mosquitto as its broker, and what its firmware says over it."""

import json
from pathlib import Path

import paho.mqtt.client as paho

from .mosquitto import Mosquitto
from .process import wait_for

USER, CODE = "elegoo", "123456"


def printing() -> dict:
    return {
        "machine_status": {"status": 2, "sub_status": 0, "exception_status": [], "progress": 40, "unheard_of": {}},
        "print_status": {
            "filename": "cube.gcode", "uuid": "u", "current_layer": 3, "total_layer": 100, "print_duration": 60,
            "total_duration": 90, "remaining_time_sec": 120, "progress": 41,
        },
        "extruder": {"temperature": 210, "target": 210},
        "heater_bed": {"temperature": 60, "target": 60},
        "ztemperature_sensor": {"temperature": 33},
        "led": {"status": 1},
    }


class Centauri:
    def __init__(self, directory: Path, serial: str = "CC2TEST"):
        self.serial = serial
        self.broker = Mosquitto(directory, {USER: CODE, "firmware": "inside"})
        self.status = printing()
        self.registration = "ok"
        # Methods and parameters that it was told.
        self.calls: list[tuple[int, dict]] = []
        self.client: paho.Client | None = None

    @property
    def url(self) -> str:
        return f"elegoo-cc2://127.0.0.1:{self.broker.port}"

    def start(self) -> "Centauri":
        self.broker.start()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="firmware")
        self.client.username_pw_set("firmware", "inside")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(f"elegoo/{self.serial}/#")
        self.client.on_message = lambda _client, _data, message: self.handle(message.topic, message.payload)
        self.client.connect("127.0.0.1", self.broker.port)
        self.client.loop_start()
        wait_for(self.client.is_connected, 20, "the firmware")
        return self

    def handle(self, topic: str, payload: bytes):
        own = f"elegoo/{self.serial}/"
        if topic == own + "api_register":
            asked = json.loads(payload)
            answer = {"client_id": asked["client_id"], "error": self.registration}
            self.say(f"{asked['request_id']}/register_response", answer)
        elif topic.endswith("/api_request"):
            client = topic.removeprefix(own).removesuffix("/api_request")
            asked = json.loads(payload)
            if asked.get("type") == "PING":
                self.say(f"{client}/api_response", {"type": "PONG"})
                return
            method = asked["method"]
            result = {"error_code": 0}
            if method == 1001:
                result |= {"machine_model": "Centauri Carbon 2", "firmware_version": "1.0.3"}
            elif method == 1002:
                result |= self.status
            else:
                self.calls.append((method, asked["params"]))
            self.say(f"{client}/api_response", {"id": asked["id"], "method": method, "result": result})

    def push(self, changes: dict):
        self.say("api_status", {"id": 0, "method": 6000, "result": changes})

    def say(self, topic: str, value: dict):
        self.client.publish(f"elegoo/{self.serial}/{topic}", json.dumps(value))

    def n_agents(self) -> int:
        """How often somebody but the firmware has connected."""
        return self.broker.log().count(f"u'{USER}'")

    def close(self):
        if self.client:
            self.client.loop_stop()
            self.client.disconnect()
        self.broker.close()
