"""A small server that speaks OpenAI's chat API, for test_openai_server.py.

    python tests/inference/toy_server.py LOG [--port N] [--models ID ...] [--key KEY] [--strict]
                               [--delay S] [--first DEED] [--model NAME]
                               [--script FILE.json] [--say TEXT] [--likes TEXT [--top N]]

Prints its port once it listens. Appends each request for a chat to LOG, as a line of JSON with the
time of its arrival and how many were open then. A prompt that begins with "do" is a list of deeds,
one for each time that this prompt comes: `do 429 drop` is refused, then cut off, then answered.
--first is the deed for the first time of every other prompt. --model is what an answer calls its
model. A script is {text: [deed, ...]}: a conversation that contains the text gets these in turn,
the last one for ever; what is no deed is said as it stands. --say is said to all others. With
--likes a request for logprobs gets them: -0.1 for the letter whose option holds the text, -1 less
for each other letter in turn, the N likeliest of them.
"""

import argparse
import json
import re
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIELDS = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stream"}
LOG_P = {"logprobs", "top_logprobs"}  # of OpenAI too, and of few other servers


GREETING = "Hello"  # the prompt with which the captioner tries a server


class Server(ThreadingHTTPServer):
    """What all connections share."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", arguments.port), Handler)
        self.arguments = arguments
        self.log = open(arguments.log, "a", buffering=1)  # noqa: SIM115
        self.lock = threading.Lock()
        self.open = 0
        self.came: Counter[str] = Counter()
        script = arguments.script and open(arguments.script).read()  # noqa: SIM115
        self.script: dict[str, list[str]] = json.loads(script) if script else {}


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self.say(404, "<html>Not found</html>", "text/html")
        elif not self.refused():
            listed = [{"id": name, "object": "model"} for name in self.server.arguments.models]
            self.say(200, {"object": "list", "data": listed})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = prompt_of(body)
        scripted = next(filter(whole_text(body).__contains__, server.script), None)
        with server.lock:
            server.open += 1
            server.came[scripted or prompt] += 1
            time_of_prompt = server.came[scripted or prompt]
            entry = {"at": time.monotonic(), "open": server.open, "body": body}
            server.log.write(json.dumps(entry) + "\n")
        time.sleep(server.arguments.delay)
        if self.path == "/v1/chat/completions" and not self.refused():
            pictures = json.dumps(body["messages"]).count('"image_url"') // 2
            fields = FIELDS | (LOG_P if server.arguments.likes is not None else set())
            unknown = sorted(body.keys() - fields) if server.arguments.strict else []
            self.log_p = None
            if server.arguments.likes is not None and body.get("logprobs"):
                self.log_p = log_p_of(prompt, server.arguments.likes, server.arguments.top)
            if unknown:
                error = f"Unrecognized request argument supplied: {unknown[0]}"
                self.say(400, {"error": {"message": error}})
            elif pictures > server.arguments.pictures:
                self.say(400, {"error": {"message": f"{pictures} pictures are too many"}})
            elif scripted:
                deeds = server.script[scripted]
                self.act(deeds[min(time_of_prompt, len(deeds)) - 1], prompt)
            else:
                deeds = server.arguments.first if prompt != GREETING else []
                deeds = prompt.split()[1:] if prompt.startswith("do ") else deeds
                self.act((deeds + ["answer"] * time_of_prompt)[time_of_prompt - 1], prompt)
        with server.lock:
            server.open -= 1

    def refused(self) -> bool:
        """Whether the key is wrong; says so."""
        key = self.server.arguments.key
        if not key or self.headers["Authorization"] == f"Bearer {key}":
            return False
        self.say(401, {"error": {"message": "Incorrect API key provided"}})
        return True

    def act(self, deed: str, prompt: str) -> None:
        if deed == "drop":
            self.close_connection = True
        elif deed == "hang":
            time.sleep(30)
        elif deed.startswith("late "):
            time.sleep(0.5)
            self.act(deed.removeprefix("late "), prompt)
        elif deed == "html":
            self.say(200, "<html>Please log in</html>", "text/html")
        elif deed == "error":
            self.say(200, {"error": {"message": "out of memory"}})
        elif deed == "nothing":
            self.say(200, {"choices": []})
        elif deed == "length":
            self.answer(f"answer to {prompt}", "length")
        elif deed == "chunks":
            deltas: list[dict[str, str]] = [{"role": "assistant"}, {"content": "one "}]
            chunks = [{"choices": [{"delta": delta}]} for delta in [*deltas, {"content": "two"}]]
            chunks.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
            self.say(200, "".join([*lines, "data: [DONE]\n\n"]), "text/event-stream")
        elif deed == "answer":
            self.answer(self.server.arguments.say or f"answer to {prompt}", "stop")
        elif not deed.isdecimal():
            self.answer(deed, "stop")
        else:
            wait = {"Retry-After": "1"} if deed == "429" else {}
            self.say(int(deed), {"error": {"message": f"told to say {deed}"}}, headers=wait)

    def answer(self, text: str, finish_reason: str) -> None:
        model = self.server.arguments.model
        named = {"model": model} if model else {}
        document = completion(text, finish_reason)
        if self.log_p:
            document["choices"][0]["logprobs"] = {"content": [{"top_logprobs": self.log_p}]}
        self.say(200, {**document, **named})

    def say(
        self,
        status: int,
        what: object,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        text = (what if isinstance(what, str) else json.dumps(what)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def prompt_of(body: dict) -> str:
    """The last text of a request."""
    parts = body["messages"][-1]["content"]
    return [part["text"] for part in parts if part["type"] == "text"][-1]


def whole_text(body: dict) -> str:
    """All texts of a conversation."""
    texts = []
    for message in body["messages"]:
        if isinstance(message["content"], str):
            texts.append(message["content"])
        else:
            texts += [part["text"] for part in message["content"] if part["type"] == "text"]
    return "\n".join(texts)


def log_p_of(prompt: str, likes: str, top: int) -> list[dict]:
    """What could have been the first token, the likeliest ones."""
    values = {"The": -9.0}
    for place, (letter, option) in enumerate(re.findall(r"^([A-Z])\. (.*)$", prompt, re.MULTILINE)):
        values[f" {letter}"] = -0.1 if likes and likes in option else -1.0 - place
    ranked = sorted(values.items(), key=lambda item: -item[1])[:top]
    return [{"token": token, "logprob": value} for token, value in ranked]


def completion(text: str, finish_reason: str) -> dict:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", nargs="*", default=["toy"])
    parser.add_argument("--key")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--first", nargs=1, default=[])
    parser.add_argument("--model")
    parser.add_argument("--script")
    parser.add_argument("--say")
    parser.add_argument("--likes")
    parser.add_argument("--top", type=int, default=20)
    server = Server(parser.parse_args())
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
