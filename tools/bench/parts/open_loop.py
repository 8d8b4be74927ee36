"""Load generator: uploads at given moments, whatever becomes of those before, or in a circle.

A process of low priority of its own, so that it takes no processor time from what it measures:
``python -m tools.bench.parts.open_loop PORT PHOTOS RATE SECONDS`` with ``RATE`` uploads a second
(Poisson), or ``cN`` for N clients that ask again as soon as they are answered. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tools.bench.harness.servers import multipart

NICE = 10
_K = 10
_TIMEOUT_S = 60.0
_GOOD = 200


@dataclass
class LoadGenerator:
    """Asks ``port`` for products like ``photos``; no two uploads have the same bytes."""

    port: int
    photos: list[bytes]
    # (seconds from its moment to its answer, status; 0: no answer), of each upload
    answers: list[tuple[float, int]] = field(default_factory=list)
    _free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def poisson(self, rate: float, seconds: float) -> None:
        """Uploads at random moments, none of which waits for another."""
        started = time.perf_counter()
        rng = np.random.default_rng(0)
        at = 0.0
        tasks: list[asyncio.Task[None]] = []
        while (at := at + rng.exponential(1 / rate)) < seconds:
            wait = started + at - time.perf_counter()
            await asyncio.sleep(max(0.0, wait))
            tasks.append(asyncio.create_task(self._ask(len(tasks), started + at)))
        await asyncio.gather(*tasks)

    async def circle(self, clients: int, seconds: float) -> None:
        """``clients`` that ask one upload after the other."""
        until = time.perf_counter() + seconds

        async def client(number: int) -> None:
            while time.perf_counter() < until:
                await self._ask(number, time.perf_counter())
                number += clients
                if self.answers[-1][1] != _GOOD:
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(client(number) for number in range(clients)))

    async def _ask(self, number: int, moment: float) -> None:
        try:
            status = await asyncio.wait_for(self._upload(number), _TIMEOUT_S)
        except (OSError, EOFError, ValueError, TimeoutError):
            status = 0
        self.answers.append((time.perf_counter() - moment, status))

    async def _upload(self, number: int) -> int:
        body, kind = multipart(self.photos[number % len(self.photos)] + os.urandom(8), _K)
        head = (
            f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        if self._free:
            reader, writer = self._free.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head.encode() + body)
        # Read from the start: a refusal comes before the body has gone out.
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").lower().split("\r\n")
        length = next(
            int(line.split(":")[1]) for line in lines if line.startswith("content-length:")
        )
        await reader.readexactly(length)
        if "connection: close" in lines:
            writer.close()
        else:
            self._free.append((reader, writer))
        return int(lines[0].split()[1])


def main(arguments: list[str]) -> None:
    """Run as the module says."""
    port, folder, rate, seconds = arguments
    os.nice(NICE)
    photos = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    load = LoadGenerator(int(port), photos)
    started = time.perf_counter()
    if rate.startswith("c"):
        asyncio.run(load.circle(int(rate[1:]), float(seconds)))
    else:
        asyncio.run(load.poisson(float(rate), float(seconds)))
    took = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    answers = [(round(1000 * seconds, 2), status) for seconds, status in load.answers]
    cpu_s = used.ru_utime + used.ru_stime
    print(json.dumps({"seconds": took, "cpu_s": cpu_s, "answers": answers}))


if __name__ == "__main__":
    main(sys.argv[1:])
