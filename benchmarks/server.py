"""What 64 requests in flight bring over one at a time, at a server that answers after 200 ms.

    python -m benchmarks.server
    python -m benchmarks.server --requests 5120 --in_flight 128

The server runs in a process of its own and does nothing but wait; 64 in flight can bring 64 times
as many answers a second at most, and what is missing is the client's own work. Responses are asked
for with 16 captions of 500 characters, clip captions with the four frames of two clips, 840 x 476
pixels, two of which are new each time and are compressed. Exit code 1 where either brings less than
40 times the answers. Wants an idle machine: look at the load.
"""

import asyncio
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import cv2
import numpy as np
import orjson

from inference.captioner import Answer, Model, Request, Sampling
from inference.engines.server import ServerCaptioner
from tools.cli import positive, script_parser
from tools.text.prompts import clip_messages, response_messages

BOUND = 40.0
ONE_BY_ONE = 10  # requests; each takes what the server waits and little more
CLIPS = 16  # of a video
CAPTION = "A woman in a red coat walks along the pier while gulls circle above the boats. "
HEIGHT, WIDTH = 476, 840
SAMPLING = Sampling()


class Waiting(asyncio.Protocol):
    """A connection to the server: reads a request to its end, waits, answers.

    Args:
        delay: seconds.
    """

    def __init__(self, delay: float, listed: bytes, answer: bytes) -> None:
        self.delay, self.listed, self.answer = delay, listed, answer
        self.head = b""
        self.left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what the answers go to."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a request; most of a body is looked at no closer."""
        if not self.left:
            self.head += data
            head, end, body = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.head = b""
            if head.startswith(b"GET"):
                self.transport.write(self.listed)
                return
            size = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            self.left, data = int(size), body
        self.left -= len(data)
        if not self.left:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, self.answer)


def serve(pipe: Connection, delay: float, text: str = CAPTION * 20) -> None:
    """Be the server, which answers every request with one text; tells its port through the pipe."""

    def reply(content: object) -> bytes:
        body = orjson.dumps(content)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return f"{head}\r\n\r\n".encode() + body

    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    listed, answer = reply({"data": [{"id": "toy"}]}), reply({"choices": [choice]})

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Waiting(delay, listed, answer), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def response_requests(count: int) -> Iterator[Request]:
    """Requests of stage 3: text alone."""
    caption = (CAPTION * 7)[:500]
    for number in range(count):
        captions = [f"{clip + number} {caption}" for clip in range(CLIPS)]
        yield Request(response_messages(captions), number)


def clip_requests(count: int) -> Iterator[Request]:
    """Requests of stage 2, video by video: every clip is shown with the clip before it."""
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 12, (HEIGHT, WIDTH, 3), np.uint8)
    clips = [
        [
            cv2.add(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), grain)
            for coarse in rng.integers(0, 256, (2, 12, 20, 3), np.uint8)
        ]
        for _ in range(CLIPS)
    ]
    return (Request(clip_messages(clips, number % CLIPS), number) for number in range(count))


def seconds(captioner: ServerCaptioner, requests: Iterator[Request]) -> float:
    """How long all the answers take."""
    start = time.perf_counter()
    for _, answer in captioner.generate(requests, SAMPLING):
        assert isinstance(answer, Answer), answer
    return time.perf_counter() - start


def main() -> None:
    """Start the server, ask it both ways, compare."""
    parser = script_parser(__doc__)
    parser.add_argument("--in_flight", type=positive, default=64, help="default: 64")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds (default: 0.2)")
    parser.add_argument("--requests", type=positive, default=1920, help="default: 1920")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, args.delay), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    model = Model("toy", "server", max_pixels=WIDTH * HEIGHT)
    worst = np.inf
    print(f"{args.requests} requests, {args.in_flight} in flight, {args.delay * 1000:.0f} ms each")
    print("requests   one by one/s  in flight/s  ratio  client CPU ms  load")
    for name, requests in (("responses", response_requests), ("clips", clip_requests)):
        rates = []
        for in_flight, count in ((1, ONE_BY_ONE), (args.in_flight, args.requests)):
            captioner = ServerCaptioner(model, url, in_flight)
            captioner.load("cpu", 1)
            cpu = time.process_time()
            rates.append(count / seconds(captioner, requests(count)))
            cpu = (time.process_time() - cpu) / count
        ratio = rates[1] / rates[0]
        worst = min(worst, ratio)
        print(
            f"{name:10} {rates[0]:12.2f} {rates[1]:12.1f} {ratio:6.1f} {cpu * 1000:14.2f}"
            f" {os.getloadavg()[0]:5.1f}"
        )
    server.kill()
    sys.exit(0 if worst >= BOUND else 1)


if __name__ == "__main__":
    main()
