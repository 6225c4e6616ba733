"""The asynchronous client of python-engineio against the echo server: exchanges, and how sessions end."""

import asyncio

import engineio
import pytest
from echo import HEARTBEAT, MODES, SHORT, Echo, burst, check_equal, waves


class Client(engineio.AsyncClient):
    """Collects what happens."""

    def __init__(self):
        super().__init__(handle_sigint=False)
        self.got = asyncio.Queue()
        self.ended = asyncio.Queue()
        self.on("message", self.got.put_nowait)
        self.on("disconnect", self.ended.put_nowait)

    async def receive(self, want):
        check_equal(await asyncio.wait_for(self.got.get(), 20), want)

    async def end(self):
        """The reason of the client's end."""
        return await asyncio.wait_for(self.ended.get(), 20)


def with_client(*args):
    """Runs a test with an echo server and a client, in each mode."""

    def decorate(body):
        @pytest.mark.parametrize("mode", MODES)
        def test(mode):
            async def run():
                client = Client()
                try:
                    await body(server, client, mode)
                finally:
                    await client.disconnect()

            with Echo(*args) as server:
                asyncio.run(run())

        return test

    return decorate


@with_client(*HEARTBEAT)
async def test_exchange(server, client, mode):
    # what is sent now is queued until the upgrade is over
    early = [f"early {i}" for i in range(20)]

    async def connected():
        for data in early:
            await client.send(data)

    client.on("connect", connected)
    await client.connect(server.url, transports=MODES[mode])
    sid, sent = client.sid, [*early]
    for want in early:
        await client.receive(want)
    for sends, wants in waves():
        sent += sends
        for data in sends:
            await client.send(data)
        for want in wants:
            await client.receive(want)
    while len(server.find(event="heartbeat", sid=sid)) < 3:
        sent.append("waiting")
        await client.send("waiting")
        await client.receive("waiting")
        await asyncio.sleep(0.02)
    assert client.transport() == ("polling" if mode == "polling" else "websocket")
    await client.disconnect()
    server.check(sid, sent, "websocket" if mode == "websocket" else "polling", mode == "upgrade")


# The client knows of an orderly end from a close packet only, and that exists on polling alone.
ORDERLY = {"polling": "server disconnect", "websocket": "transport error", "upgrade": "transport error"}


async def opened(client, server, mode):
    await client.connect(server.url, transports=MODES[mode])
    await client.send("hello")
    await client.receive("hello")
    # let the next poll reach the server
    await asyncio.sleep(0.05)
    return client.sid


@with_client()
async def test_client_closes(server, client, mode):
    sid = await opened(client, server, mode)
    await client.disconnect()
    assert await client.end() == "client disconnect"
    assert server.closed(sid) == "transport close"


@with_client()
async def test_server_closes(server, client, mode):
    sid = await opened(client, server, mode)
    await client.send("cmd:close")
    assert await client.end() == ORDERLY[mode]
    assert server.closed(sid) == "forced close"


@with_client()
async def test_server_closes_behind_a_burst(server, client, mode):
    sid = await opened(client, server, mode)
    await client.send("cmd:burst-close:500:2000")
    assert await client.end() == ORDERLY[mode]
    assert server.closed(sid) == "forced close"
    for want in burst(500, 2000):
        await client.receive(want)


@with_client(*SHORT)
async def test_silent_client(server, client, mode):
    sid = await opened(client, server, mode)

    async def drop(packet):
        pass

    client._send_packet = drop
    assert await client.end() == ORDERLY[mode]
    assert server.closed(sid) == "ping timeout"


@with_client(*SHORT)
async def test_message_too_large(server, client, mode):
    sid = await opened(client, server, mode)
    await client.send("x" * 1_000_000)
    # on polling, the close packet on the poll that is held and the 413 may arrive in any order
    assert await client.end() in ("transport error", *([ORDERLY[mode]] if mode == "polling" else []))
    assert server.closed(sid) == "transport error"


def test_twenty_clients_at_once():
    async def one(server, n):
        client = Client()
        await client.connect(server.url)
        sid = client.sid
        for i in range(20):
            await client.send(f"client {n} text {i}")
            await client.send(bytes([n]) * i * 100)
        for i in range(20):
            await client.receive(f"client {n} text {i}")
            await client.receive(bytes([n]) * i * 100)
        await client.disconnect()
        return sid

    async def run(server):
        return await asyncio.gather(*(one(server, n) for n in range(20)))

    with Echo() as server:
        for sid in asyncio.run(run(server)):
            assert server.closed(sid) == "transport close"
