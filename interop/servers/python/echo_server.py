"""An echo server on python-engineio, the counterpart of the client under test. Takes options of the project's own echo server
and obeys the same messages, as far as the library has what they need; besides, it reports every request.

A POST of more packets than the library allows, 16, it answers as if all were well, and throws it away; so it does with one
whose body comes in pieces, of which it reads the first. `--max-packets N` raises the limit and has bodies read to their end;
without it, the library is left as it comes."""

import argparse
import asyncio
import json
import signal
from types import SimpleNamespace

import engineio
from aiohttp import web
from engineio.payload import Payload


def switch(text):
    return {"on": True, "off": False}[text]


def arguments():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path", default="/engine.io")
    parser.add_argument("--transports", default="polling,websocket")
    parser.add_argument("--no-upgrades", action="store_true")
    parser.add_argument("--ping-interval", type=int, default=25_000)
    parser.add_argument("--ping-timeout", type=int, default=20_000)
    parser.add_argument("--max-payload", type=int, default=1_000_000)
    parser.add_argument("--max-packets", type=int)
    parser.add_argument("--http-compression", type=switch, default=True)
    parser.add_argument("--cookie")
    parser.add_argument("--deny", action="store_true")
    return parser.parse_args()


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def not_json(*_):
    raise ValueError


args = arguments()
server = engineio.AsyncServer(
    async_mode="aiohttp",
    ping_interval=args.ping_interval / 1000,
    ping_timeout=args.ping_timeout / 1000,
    max_http_buffer_size=args.max_payload,
    allow_upgrades=not args.no_upgrades,
    http_compression=args.http_compression,
    cookie=args.cookie,
    transports=args.transports.split(","),
    # a text that is JSON would be handed over decoded, and its echo would not be the same text
    json=SimpleNamespace(loads=not_json, dumps=json.dumps),
    # otherwise each message has a task of its own, and their order is not promised
    async_handlers=False,
)
# a task that nobody holds may be collected
tasks = set()


class Body:
    """The body of a request, all of it, to be read once."""

    def __init__(self, request):
        self.request = request

    async def read(self, _):
        return await self.request.read()


def translate_request(request):
    return {**driver["translate_request"](request), "wsgi.input": Body(request)}


driver = server._async
if args.max_packets is not None:
    Payload.max_decode_packets = args.max_packets
    server._async = {**driver, "translate_request": translate_request}


@server.on("connect")
async def connect(sid, environ):
    if args.deny:
        return False
    transport = environ["aiohttp.request"].query["transport"]
    report("connection", sid=sid, transport=transport, protocol=4)


@server.on("message")
async def message(sid, data):
    text = isinstance(data, str)
    report("message", sid=sid, kind="text" if text else "binary", size=len(data.encode() if text else data))
    if not (text and obey(sid, data)):
        await server.send(sid, data)


@server.on("disconnect")
async def disconnect(sid, reason):
    report("close", sid=sid, reason=reason)


def obey(sid, text):
    """Does what a message asks for; false if it is not a command."""
    match text.split(":"):
        case ["cmd", "close"]:
            work = server.disconnect(sid)
        case ["cmd", "close-after", delay]:
            work = close_after(sid, int(delay) / 1000)
        case ["cmd", "burst", count, size]:
            work = burst(sid, int(count), int(size), str)
        case ["cmd", "burst-binary", count, size]:
            work = burst(sid, int(count), int(size), str.encode)
        case ["cmd", "burst-close", count, size]:
            work = burst_close(sid, int(count), int(size))
        case ["cmd", "info"]:
            work = info(sid)
        case _:
            return False
    # not awaited: a close waits until a poll has fetched what is queued, and we may be in the POST before it
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return True


async def close_after(sid, delay):
    await asyncio.sleep(delay)
    await server.disconnect(sid)


async def burst(sid, count, size, encode):
    for i in range(count):
        await server.send(sid, encode(f"{i}:".ljust(size, "x")[:size]))


async def burst_close(sid, count, size):
    await burst(sid, count, size, str)
    await server.disconnect(sid)


async def info(sid):
    transport = server.transport(sid)
    await server.send(sid, json.dumps({"transport": transport, "readyState": "open", "protocol": 4}))


@web.middleware
async def log(request, handler):
    upgrade = request.headers.get("upgrade", "").lower() == "websocket"
    headers = {name.lower(): value for name, value in request.headers.items()}
    report("request", method=request.method, url=request.path_qs, headers=headers, **({"upgrade": True} if upgrade else {}))
    response = await handler(request)
    if not upgrade:
        report("response", method=request.method, url=request.path_qs, status=response.status)
    return response


async def main():
    app = web.Application(middlewares=[log], client_max_size=1 << 30)
    server.attach(app, args.path)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", args.port).start()
    report("listening", port=runner.addresses[0][1])

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await runner.cleanup()


asyncio.run(main())
