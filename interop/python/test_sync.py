"""The synchronous client of python-engineio against the echo server: exchanges, and how sessions end."""

import queue
import time

import engineio
import pytest
import requests
from echo import HEARTBEAT, MODES, SHORT, Echo, burst, check_equal, waves


class Client(engineio.Client):
    """Collects what happens. The messages' handler runs where messages are read: by default each of its calls has a thread
    of its own, and the order is lost."""

    def __init__(self):
        super().__init__(handle_sigint=False)
        self.got = queue.Queue()
        self.ended = queue.Queue()
        self.on("message", self.got.put)
        self.on("disconnect", self.ended.put)

    def _trigger_event(self, event, *args, **kwargs):
        return super()._trigger_event(event, *args, **{**kwargs, "run_async": False})

    def receive(self, want):
        check_equal(self.got.get(timeout=20), want)

    def end(self):
        """The reason of the client's end."""
        return self.ended.get(timeout=20)


@pytest.fixture
def client():
    client = Client()
    yield client
    client.disconnect()


modes = pytest.mark.parametrize("mode", MODES)


@modes
def test_exchange(client, mode):
    with Echo(*HEARTBEAT) as server:
        # what is sent now is queued until the upgrade is over
        early = [f"early {i}" for i in range(20)]
        client.on("connect", lambda: [client.send(data) for data in early])
        client.connect(server.url, transports=MODES[mode])
        sid, sent = client.sid, [*early]
        for want in early:
            client.receive(want)
        for sends, wants in waves():
            sent += sends
            for data in sends:
                client.send(data)
            for want in wants:
                client.receive(want)
        while len(server.find(event="heartbeat", sid=sid)) < 3:
            sent.append("waiting")
            client.send("waiting")
            client.receive("waiting")
            time.sleep(0.02)
        assert client.transport() == ("polling" if mode == "polling" else "websocket")
        client.disconnect()
        server.check(sid, sent, "websocket" if mode == "websocket" else "polling", mode == "upgrade")


def test_first_message_comes_with_the_handshake(client):
    with Echo("--initial-packet", "welcome") as server:
        client.connect(server.url)
        client.receive("welcome")


# The client knows of an orderly end from a close packet only, and that exists on polling alone.
ORDERLY = {"polling": "server disconnect", "websocket": "transport error", "upgrade": "transport error"}


def opened(client, server, mode):
    client.connect(server.url, transports=MODES[mode])
    client.send("hello")
    client.receive("hello")
    # let the next poll reach the server
    time.sleep(0.05)
    return client.sid


@modes
def test_client_closes(client, mode):
    with Echo() as server:
        sid = opened(client, server, mode)
        client.disconnect()
        assert client.end() == "client disconnect"
        assert server.closed(sid) == "transport close"


@modes
@pytest.mark.parametrize("command", ["cmd:close", "cmd:close-discard", "cmd:close-after:50"])
def test_server_closes(client, mode, command):
    with Echo() as server:
        sid = opened(client, server, mode)
        client.send(command)
        assert client.end() == ORDERLY[mode]
        assert server.closed(sid) == "forced close"


@modes
def test_server_closes_behind_a_burst(client, mode):
    with Echo() as server:
        sid = opened(client, server, mode)
        client.send("cmd:burst-close:500:2000")
        assert client.end() == ORDERLY[mode]
        assert server.closed(sid) == "forced close"
        for want in burst(500, 2000):
            client.receive(want)


@modes
def test_invalid_packet(client, mode):
    with Echo() as server:
        sid = opened(client, server, mode)
        if mode == "polling":
            requests.post(client.base_url, data="abc", timeout=10)
        else:
            client.ws.send("abc")
        assert client.end() == ORDERLY[mode]
        assert server.closed(sid) == "parse error"


@modes
def test_silent_client(client, mode):
    with Echo(*SHORT) as server:
        sid = opened(client, server, mode)
        client._send_packet = lambda packet: None
        assert client.end() == ORDERLY[mode]
        assert server.closed(sid) == "ping timeout"


@modes
def test_message_too_large(client, mode):
    with Echo(*SHORT) as server:
        sid = opened(client, server, mode)
        client.send("x" * 1_000_000)
        # on polling, the close packet on the poll that is held and the 413 may arrive in any order
        assert client.end() in ("transport error", *([ORDERLY[mode]] if mode == "polling" else []))
        assert server.closed(sid) == "transport error"
