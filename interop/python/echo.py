"""Starts the echo server under test and reads the events it reports; says what is exchanged with it."""

import json
import os
import subprocess
import threading
from pathlib import Path

from engineio.payload import Payload

ECHO_BIN = os.environ.get("ECHO_BIN") or Path(__file__).parents[2] / "target/release/examples/echo"

# The client takes a payload of more than 16 packets for an attack and disconnects. A server has no way to know; this is the
# documented way to raise the limit.
Payload.max_decode_packets = 100_000

MODES = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}

# Short enough for several heartbeats in a second, and patient with a busy machine.
HEARTBEAT = ["--ping-interval", "200", "--ping-timeout", "5000"]
SHORT = ["--ping-interval", "300", "--ping-timeout", "300"]


class Echo:
    """The echo server, as a context manager."""

    def __init__(self, *args):
        self.args = args
        self.events = []
        self.changed = threading.Condition()

    def __enter__(self):
        self.process = subprocess.Popen([ECHO_BIN, *self.args], stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.url = f"http://127.0.0.1:{self.wait(event='listening')['port']}"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                with self.changed:
                    self.events.append(json.loads(line))
                    self.changed.notify_all()

    def find(self, **wanted):
        """All events so far that have these values."""
        with self.changed:
            return [event for event in self.events if wanted.items() <= event.items()]

    def wait(self, timeout=15, **wanted):
        """The first event that has these values, past or future."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.find(**wanted), timeout), f"no {wanted}"
            return self.find(**wanted)[0]

    def closed(self, sid):
        """The reason of a session's end."""
        return self.wait(event="close", sid=sid)["reason"]

    def check(self, sid, sent, transport, upgraded):
        """Checks the server's account of an exchange, once the session is closed."""
        self.closed(sid)
        assert self.find(event="connection", sid=sid)[0]["transport"] == transport
        assert [(event["kind"], event["size"]) for event in self.find(event="message", sid=sid)] == [
            ("text", len(data.encode())) if isinstance(data, str) else ("binary", len(data)) for data in sent
        ]
        assert len(self.find(event="heartbeat", sid=sid)) >= 3
        assert len(self.find(event="upgrading", sid=sid)) == upgraded
        assert len(self.find(event="upgrade", sid=sid)) == upgraded


def check_equal(got, want):
    """An equality whose failure does not print half a megabyte."""
    if type(got) is not type(want) or got != want:
        raise AssertionError(f"got {got!r:.60}, expected {want!r:.60}")


# ---- what is exchanged ----

SIZES = [0, 1, 2, 125, 126, 127, 1000, 1023, 1024, 4096, 16383, 65535, 65536]
BIG = 500_000
COUNT = 320

# No text here is valid JSON: the client would hand it over decoded.
TRICKY = ["4", "b", "bAQID", "2probe", "6", "\n", "\r\n\n", "\\n", "\0", "\u2028", "é", "漢字", "😀👩‍👩‍👧", "a+b%20c&d=e", "cmd:unknown"]

# The client puts everything it queued into one request, whatever limit the server announces, so what is on its way at any
# time is kept below the limit.
WAVE_BYTES = 900_000
WAVE_COUNT = 8


def text(size, seed, unicode):
    """A text of exactly `size` bytes in UTF-8: plain letters, or all lengths of UTF-8 sequences."""
    head = f"#{seed} "[:size]
    rest = size - len(head)
    return head + ("aé漢😀" * (rest // 10) + "z" * (rest % 10) if unicode else "x" * rest)


def binary(size, seed):
    return bytes((seed + i * 7 + (i >> 8)) & 255 for i in range(size))


def corpus():
    for i in range(COUNT):
        size = BIG if i % 80 in (11, 52) else SIZES[i // 2 % len(SIZES)]
        yield text(size, i, i % 4 == 1) if i % 2 else binary(size, i)
        if i % 10 == 0:
            yield TRICKY[i // 10 % len(TRICKY)]


def burst(count, size):
    return [f"{i}:".ljust(size, "x")[:size] for i in range(count)]


def encoded_size(data):
    return len(data) * 4 // 3 + 8 if isinstance(data, bytes) else len(data.encode()) + 2


def waves():
    """What is sent in one go, with all that must come back: echoes in order, then bursts."""
    batches = [[]]
    for data in corpus():
        if len(batches[-1]) == WAVE_COUNT or sum(map(encoded_size, [*batches[-1], data])) > WAVE_BYTES:
            batches.append([])
        batches[-1].append(data)
    for batch in batches:
        yield (
            [*batch, "cmd:burst:20:100", "cmd:burst-binary:5:1500"],
            [*batch, *burst(20, 100), *(message.encode() for message in burst(5, 1500))],
        )
