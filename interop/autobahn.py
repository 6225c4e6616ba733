"""Runs Autobahn's cases against the WebSocket codec, as a server and as a client. AUTOBAHN_BIN is the program that echoes."""

import asyncio
import os
import sys
from collections import Counter

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver

PROGRAM = os.environ["AUTOBAHN_BIN"]
# 8 is empty; 12 and 13 are those of permessage-deflate.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
# Autobahn lets an implementation detect text that is not UTF-8 late. This codec detects it at once.
STRICT = {"OK", "INFORMATIONAL"}
TIMEOUT = 300


async def server():
    process = await asyncio.create_subprocess_exec(PROGRAM, "server", stdout=asyncio.subprocess.PIPE)
    try:
        port = int(await process.stdout.readline())
        return await run_fuzzingclient(f"ws://127.0.0.1:{port}", CASES, concurrency=2)
    finally:
        process.kill()
        await process.wait()


async def client():
    async with run_fuzzingserver(CASES, host="127.0.0.1", port=0) as cases:
        process = await asyncio.create_subprocess_exec(PROGRAM, "client", f"{cases.address}:{cases.port}")
        try:
            results = asyncio.ensure_future(cases.get_result())
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait({results, ended}, return_when=asyncio.FIRST_COMPLETED)
            # A client that has ended by itself has asked for the results.
            return await asyncio.wait_for(results, 10)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run(role):
    """Prints the verdicts. Returns whether all are as they should be."""
    try:
        results = await asyncio.wait_for(role(), TIMEOUT)
    except FailureError as failure:
        results = failure.results
    bad = [result for result in results if result.behavior.value not in STRICT or result.behavior_close.value not in STRICT]
    for result in bad:
        print(f"{result.case_id}: {result.behavior.value}, close: {result.behavior_close.value}")
        print(f"  {result.result}\n  {result.result_close}")
    verdicts = Counter(result.behavior.value for result in results)
    print(f"{role.__name__}: {len(results)} cases, {dict(verdicts)}")
    return len(results) > 250 and not bad


async def main():
    verdicts = [await run(role) for role in (server, client)]
    sys.exit(0 if all(verdicts) else 1)


asyncio.run(main())
