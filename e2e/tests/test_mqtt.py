"""A printer that is an MQTT broker, played by mosquitto: followed, told, and shared with the apps' own MQTT clients."""

import base64
import json
import queue
import subprocess

import paho.mqtt.client as paho
import pytest
import websockets.exceptions
from websockets.sync.client import connect

from conftest import OWNER, started
from harness import paths
from harness.agent import Agent
from harness.centauri import Centauri
from harness.process import Process, wait_for
from test_command_api import PREFIX, Commands, ready

PATH = PREFIX + "proxy/mqtt"


@pytest.fixture
def centauri(tmp_path):
    yield from started(Centauri(tmp_path / "centauri"))


@pytest.fixture
def agent(service, centauri, tmp_path):
    agent = Agent(tmp_path / "agent", service.add_printer(OWNER, "Centauri"), centauri.url)
    agent.environment["SPOOLWAY_AGENT_PRINTER_SERIAL"] = centauri.serial
    yield from started(agent)


class LoopbackPaho(paho.Client):
    """Finds the service's hosts, whose names not every resolver knows."""

    target = None

    def _create_socket_connection(self):
        return self.target.socket()


class PahoApp:
    """An app with paho-mqtt, through the service."""

    def __init__(self, target, name: str):
        self.heard: queue.Queue = queue.Queue()
        self.granted: queue.Queue = queue.Queue()
        self.acknowledged: queue.Queue = queue.Queue()
        self.ended: queue.Queue = queue.Queue()
        version = paho.CallbackAPIVersion.VERSION2
        self.client = LoopbackPaho(version, client_id=name, transport="websockets", reconnect_on_failure=False)
        self.client.target = target
        self.client.ws_set_options(PATH, target.authorization())
        self.connected: queue.Queue = queue.Queue()
        self.client.on_connect = lambda _client, _data, _flags, code, _properties: self.connected.put(code)
        self.client.on_message = lambda _client, _data, message: self.heard.put(message)
        self.client.on_subscribe = lambda _client, _data, _id, codes, _properties: self.granted.put(codes)
        self.client.on_publish = lambda _client, _data, id, *_: self.acknowledged.put(id)
        self.client.on_disconnect = lambda *_: self.ended.put(True)

    def start(self) -> "PahoApp":
        host, port = self.client.target.host.split(":")
        self.client.connect(host, int(port), keepalive=20)
        self.client.loop_start()
        return self

    def subscribe(self, topic: str, qos: int = 0):
        self.client.subscribe(topic, qos)
        (code,) = self.granted.get(timeout=20)
        assert code.value == qos

    def next(self):
        return self.heard.get(timeout=20)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_a_printer_without_a_web_interface_is_followed_and_told(agent, centauri):
    commands = ready(agent)
    assert commands.state() == "printing"
    status = commands.result("status", {})
    assert (status["Features"], status["PlatformVersion"]) == (23, "Centauri Carbon 2-1.0.3")
    assert status["JobStatus"]["CurrentPrint"]["CurrentLayer"] == 3
    centauri.push({"print_status": {"current_layer": 4}})
    wait_for(lambda: commands.result("status", {})["JobStatus"]["CurrentPrint"]["CurrentLayer"] == 4, 20, "the push")
    for command, arguments, call in (
        ("pause", {}, (1021, {})),
        ("set-light", {"Name": "chamber", "On": False}, (1029, {"brightness": 0, "power": 0})),
        ("set-temp", {"BedC": 60}, (1028, {"heater_bed": 60})),
    ):
        assert commands.code(command, arguments) == 200
        assert centauri.calls[-1] == call
    assert commands.code("set-temp", {"ChamberC": 40}) == 788
    assert commands.code("resume", {}) == 786
    centauri.push({"machine_status": {"sub_status": 2501}})
    commands.wait_state("paused")
    assert commands.code("resume", {}) == 200
    assert commands.send("proxy/mqtt", method="GET")["Status"] == 400
    assert centauri.n_agents() == 1


def test_apps_with_paho_share_the_agents_connection(agent, centauri):
    target = agent.printer.app()
    ready(agent)
    apps = [PahoApp(target, f"paho-{number}").start() for number in range(3)]
    topic = f"elegoo/{centauri.serial}/app"
    try:
        for qos, app in enumerate(apps):
            assert app.connected.get(timeout=20) == 0
            app.subscribe(topic, qos)
        for qos in range(3):
            apps[0].client.publish(topic, f"with {qos}", qos)
            heard = [app.next() for app in apps]
            assert {message.payload for message in heard} == {f"with {qos}".encode()}
            assert [message.qos for message in heard] == [min(qos, own) for own in range(3)]
            apps[0].acknowledged.get(timeout=20)
        large = b"x" * (900 * 1024)
        apps[1].client.publish(topic, large, 1)
        assert all(app.next().payload == large for app in apps)
        apps[2].client.publish(topic, "kept", 1, retain=True)
        assert all(app.next().payload == b"kept" for app in apps)
        apps[2].acknowledged.get(timeout=20)
        late = PahoApp(target, "late").start()
        apps.append(late)
        assert late.connected.get(timeout=20) == 0
        late.subscribe(topic)
        message = late.next()
        assert (message.payload, message.retain) == (b"kept", True)
        assert centauri.n_agents() == 1
        centauri.broker.restart()
        for app in apps:
            app.ended.get(timeout=30)
    finally:
        for app in apps:
            app.close()
    wait_for(lambda: Commands(target).code("status", {}) == 200, 60, "the printer to be back", 0.5)


def test_a_client_of_mqtt_js(agent, centauri, tmp_path):
    target = agent.printer.app()
    ready(agent)
    topic = f"elegoo/{centauri.serial}/js"
    centauri.client.publish(topic, "kept", 1, retain=True).wait_for_publish(20)
    headers = json.dumps({"Host": target.host, **target.authorization()})
    command = ["node", paths.E2E / "servers/mqtt_client.mjs", f"ws://127.0.0.1:{target.port}{PATH}", headers, topic, 2]
    client = Process(command, tmp_path / "mqtt-js.log", stdin=subprocess.PIPE)
    try:
        client.wait_line(r'"subscribed":\[\{"topic":"[^"]+","qos":2')
        client.wait_line(r'"payload":"kept","qos":1,"retain":true')
        client.popen.stdin.write(b"hello\n")
        client.popen.stdin.flush()
        client.wait_line(r'"published":"hello"')
        client.wait_line(r'"payload":"hello","qos":2,"retain":false')
        # Who subscribes later gets what is kept too, though the printer is not asked again.
        late = PahoApp(target, "late").start()
        assert late.connected.get(timeout=20) == 0
        late.subscribe(topic)
        message = late.next()
        assert (message.payload, message.retain) == (b"hello", True)
        late.close()
    finally:
        client.close()


def test_older_apps_speak_json(agent, centauri):
    target = agent.printer.app()
    ready(agent)
    url = f"ws://{target.host}{PATH}"
    with target.socket() as raw, connect(url, sock=raw, additional_headers=target.authorization()) as socket:
        topic = f"elegoo/{centauri.serial}/json"
        socket.send(json.dumps({"Type": "subscribe", "Topic": topic, "Id": 1}))
        assert json.loads(socket.recv(20)) | {"MqttMessageId": 0} == {
            "Type": "subscribe_ack", "AckResult": 0, "Id": 1, "MqttMessageId": 0,
        }
        assert json.loads(socket.recv(20))["Type"] == "on_subscribe"
        payload = base64.b64encode(b"hello").decode()
        socket.send(json.dumps({"Type": "publish", "Topic": topic, "Payload": payload, "Id": 2, "NoAck": True}))
        message = json.loads(socket.recv(20))
        assert (message["Type"], message["Topic"], message["Payload"]) == ("on_message", topic, payload)
        centauri.broker.close()
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            while True:
                socket.recv(20)
        assert closed.value.rcvd.code == 4602 and closed.value.rcvd.reason.startswith("printer_timeout: ")


def test_those_who_may_not_get_no_mqtt(agent, centauri):
    ready(agent)
    shared = agent.printer.shared()
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = base64.b64encode(bytes(16)).decode()
    answer = shared.request("GET", PATH, headers)
    assert answer.status == 403 and answer.json()["Status"] == 403
    assert centauri.n_agents() == 1


def test_a_wrong_code_and_too_many_clients_are_told(service, centauri, tmp_path):
    printer = service.add_printer(OWNER, "Centauri with a wrong code")
    wrong = Agent(tmp_path / "wrong", printer, centauri.url)
    wrong.environment |= {
        "SPOOLWAY_AGENT_PRINTER_SERIAL": centauri.serial, "SPOOLWAY_AGENT_PRINTER_ACCESS_CODE": "canary-654321",
    }
    for agent in started(wrong):
        commands = Commands(agent.printer.app())
        wait_for(lambda: commands.code("status", {}) == 789, 30, "789", 0.3)
        assert "canary-654321" not in agent.log.read_text()
    centauri.registration = "too many clients"
    full = Agent(tmp_path / "full", service.add_printer(OWNER, "Full Centauri"), centauri.url)
    full.environment["SPOOLWAY_AGENT_PRINTER_SERIAL"] = centauri.serial
    for agent in started(full):
        commands = Commands(agent.printer.app())
        wait_for(lambda: commands.code("status", {}) == 787, 30, "787", 0.3)
