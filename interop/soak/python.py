"""Sessions of python-engineio that check their echoes, until the input ends: `python.py URL SESSIONS`."""

import asyncio
import json
import sys

import engineio

PERIOD = 1
PATIENCE = 60
BURST = 4
MODES = [["polling"], ["websocket"], ["polling", "websocket"]]
SIZES = [1, 2, 60, 125, 126, 1000, 4096, 20_000]


class Totals:
    sessions = echoes = faults = 0
    stops = False


def report(**event):
    print(json.dumps(event), flush=True)


def sample(number):
    """The message with this number: text and binary alternate."""
    size = SIZES[number % len(SIZES)]
    if number % 2:
        return bytes([number % 256]) * size
    return (f"{number} " + "ä漢" * size)[: max(size, 4)]


async def live(url, number, life, totals):
    """One session, from its handshake to its end."""

    def fault(what):
        totals.faults += 1
        report(event="fault", session=number, what=what)

    client = engineio.AsyncClient(handle_sigint=False)
    received = asyncio.Queue()
    client.on("message", received.put_nowait)
    client.on("disconnect", lambda reason: received.put_nowait(("ended", reason)))
    try:
        await client.connect(url, transports=MODES[number % len(MODES)])
    except engineio.exceptions.ConnectionError as error:
        fault(f"not opened: {error}")
        return await asyncio.sleep(PERIOD)
    totals.sessions += 1
    for exchange in range(10 + (number * 7 + life * 13) % 50):
        numbers = [number + exchange * BURST + index for index in range(BURST)]
        for index in numbers:
            await client.send(sample(index))
        for index in numbers:
            try:
                echo = await asyncio.wait_for(received.get(), PATIENCE)
            except asyncio.TimeoutError:
                echo = "nothing"
            if echo != sample(index):
                return fault(f"message {index} came back as {str(echo)[:40]}")
            totals.echoes += 1
        if totals.stops:
            break
        await asyncio.sleep(PERIOD)
    if not received.empty():
        fault(f"one message too many: {str(received.get_nowait())[:40]}")
    await client.disconnect()


async def run(url, number, totals):
    await asyncio.sleep(number % 64 * PERIOD / 64)
    life = 0
    while not totals.stops:
        await live(url, number, life, totals)
        life += 1


async def main(url, sessions):
    totals = Totals()

    async def end():
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        totals.stops = True

    await asyncio.gather(end(), *(run(url, number, totals) for number in range(int(sessions))))
    report(event="soaked", sessions=totals.sessions, echoes=totals.echoes, faults=totals.faults)
    return 1 if totals.faults else 0


sys.exit(asyncio.run(main(*sys.argv[1:])))
