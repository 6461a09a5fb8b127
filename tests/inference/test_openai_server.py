"""The server captioner, against toy_server.py in a process of its own and `transformers serve`."""

import base64
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.captioner import Answer, Model, Request, Sampling
from inference.engines import server as openai_server
from inference.engines import server_format as chat_format
from inference.engines.server import ServerCaptioner
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.text.prompts import clip_messages, response_messages

GREEDY = Sampling(0.0, 1.0, 1, 1.0, 50)
TOY = Model("toy", "server", max_pixels=401408)


class Toy:
    """toy_server.py: started, killed, started again on the same port."""

    def __init__(self, log, *flags):
        self.log = log
        self.flags = [str(flag) for flag in flags]
        self.port = 0
        self.start()

    def start(self):
        script = REPOSITORY / "tests" / "inference" / "toy_server.py"
        words = [sys.executable, script, self.log, "--port", self.port, *self.flags]
        self.process = subprocess.Popen(
            [str(word) for word in words], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def requests(self):
        """What the server was asked, but for the greeting; with its times and how many were
        open."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [one for one in entries if texts_of(one["body"]) != ["Hello"]]


@pytest.fixture
def toy(tmp_path):
    """Start a toy server: `toy("--delay", 0.1)`."""
    started = []

    def start(*flags):
        started.append(Toy(tmp_path / f"log{len(started)}.jsonl", *flags))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def texts_of(body):
    parts = [part for message in body["messages"] for part in message["content"]]
    return [part["text"] for part in parts if part["type"] == "text"]


def request(text, seed=0):
    return Request([{"role": "user", "content": [{"type": "text", "text": text}]}], seed)


def loaded(server, concurrency=4, model=TOY):
    captioner = ServerCaptioner(model, server.url, concurrency)
    captioner.load("cpu", 1)
    return captioner


def answers(captioner, *texts, sampling=GREEDY):
    """The answers to prompts, in the prompts' order."""
    given = dict(captioner.generate((request(text) for text in texts), sampling))
    return [given[position] for position in range(len(texts))]


def decoded(url):
    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.array(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"))


def plain(colour, height=56, width=84):
    return np.full((height, width, 3), colour, np.uint8)


# What is sent


def test_a_clip_prompt_travels_as_text_and_pictures_in_order(toy):
    server = toy()
    red, dark, blue, green = (
        plain(c) for c in ((200, 20, 20), (60, 0, 0), (0, 0, 180), (0, 90, 0))
    )
    messages = clip_messages([[red, dark], [blue, green]], 1)
    asked = [Request(messages, 7)]

    assert list(loaded(server).generate(asked, GREEDY)) == [
        (0, Answer("answer to " + messages[0]["content"][-1]["text"], "stop"))
    ]

    (entry,) = server.requests()
    (message,) = entry["body"]["messages"]
    assert message["role"] == "user"
    assert [part.get("text") or "picture" for part in message["content"]] == [
        "Video clip 1:",
        "picture",
        "picture",
        "Video clip 2:",
        "picture",
        "picture",
        messages[0]["content"][-1]["text"],
    ]
    pictures = [
        decoded(part["image_url"]["url"])
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    for sent, frame in zip(pictures, (red, dark, blue, green), strict=True):
        assert sent.shape == (56, 84, 3)
        assert np.abs(sent.astype(int) - frame).max() <= 4


def test_a_response_prompt_travels_as_text(toy):
    server = toy()
    messages = response_messages(["A dog runs.", "It rests."])
    list(loaded(server).generate([Request(messages, 1)], GREEDY))
    assert server.requests()[0]["body"]["messages"] == messages


@pytest.mark.parametrize(
    ("height", "width"), [(720, 1280), (1080, 608), (634, 633), (2000, 300), (5000, 30)]
)
def test_a_large_frame_is_scaled_as_qwen2_vls_own_processor_scales_it(height, width):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    sent = decoded(chat_format.picture(np.zeros((height, width, 3), np.uint8), 401408))
    expected = smart_resize(height, width, factor=28, min_pixels=3136, max_pixels=401408)
    assert sent.shape[:2] == (expected if height * width > 401408 else (height, width))


def test_a_small_frame_and_one_without_a_limit_keep_their_size():
    assert decoded(chat_format.picture(plain(9, 50, 101), 401408)).shape == (50, 101, 3)
    assert decoded(chat_format.picture(plain(9, 1000, 1000), None)).shape == (1000, 1000, 3)


def test_a_real_frame_loses_little(picture):
    frame = picture("forest", (640, 360), 3)
    sent = decoded(chat_format.picture(frame, 401408)).astype(float)
    assert 10 * np.log10(255**2 / ((sent - frame) ** 2).mean()) > 40  # dB


ALL = {"top_k", "repetition_penalty", "repeat_penalty"}


@pytest.mark.parametrize(
    ("sampling", "fields"),
    [
        pytest.param(
            Sampling(0.0, 0.9, 50, 1.0, 10),
            {
                "temperature": 0,
                "max_tokens": 10,
                "top_k": 1,
                "repetition_penalty": 1.0,
                "repeat_penalty": 1.0,
            },
            id="temperature 0 is greedy",
        ),
        pytest.param(
            Sampling(0.7, 0.001, 1, 1.05, 8192),
            {
                "temperature": 0,
                "max_tokens": 8192,
                "top_k": 1,
                "repetition_penalty": 1.05,
                "repeat_penalty": 1.05,
            },
            id="top_k 1 is greedy, also on a server that ignores it",
        ),
        pytest.param(
            Sampling(0.7, 0.9, 20, 1.0, 10),
            {
                "temperature": 0.7,
                "top_p": 0.9,
                "seed": 4294967295,
                "max_tokens": 10,
                "top_k": 20,
                "repetition_penalty": 1.0,
                "repeat_penalty": 1.0,
            },
            id="drawn",
        ),
        pytest.param(
            Sampling(1.0, 1.0, 0, 1.0, 10),
            {
                "temperature": 1.0,
                "top_p": 1.0,
                "seed": 4294967295,
                "max_tokens": 10,
                "top_k": -1,
                "repetition_penalty": 1.0,
                "repeat_penalty": 1.0,
            },
            id="top_k 0, all tokens, is -1 to servers",
        ),
    ],
)
def test_no_sampling_value_is_left_to_the_server(toy, sampling, fields):
    server = toy()
    list(loaded(server).generate([request("Go on.", seed=4294967295)], sampling))
    body = server.requests()[0]["body"]
    assert body == {"model": "toy", "messages": body["messages"], "stream": False, **fields}


def test_a_server_that_takes_openais_fields_alone_is_sent_no_others(toy):
    server = toy("--strict")
    captioner = loaded(server)
    assert answers(captioner, "Go on.") == [Answer("answer to Go on.", "stop")]
    list(captioner.generate([request("And on.", seed=5)], Sampling(0.5, 0.9, 0, 1.0, 20)))
    greedy, drawn = [one["body"] for one in server.requests()]
    assert not (ALL & greedy.keys()) and greedy["temperature"] == 0
    assert not (ALL & drawn.keys()) and drawn["seed"] == 5 and drawn["top_p"] == 0.9


@pytest.mark.parametrize(
    ("sampling", "complaint"),
    [
        (
            Sampling(0.7, 0.001, 1, 1.05, 20),
            "does not accept a repetition penalty; pass --repetition_penalty 1",
        ),
        (Sampling(0.7, 0.9, 20, 1.0, 20), "does not accept top_k; pass --top_k 0"),
        (
            Sampling(0.7, 0.9, 20, 1.1, 20),
            "does not accept a repetition penalty or top_k; pass --repetition_penalty 1 --top_k 0",
        ),
    ],
)
def test_such_a_server_cannot_be_asked_for_a_penalty_or_top_k(toy, sampling, complaint):
    server = toy("--strict")
    with pytest.raises(UserError, match=complaint):
        ServerCaptioner(TOY, server.url).check("auto", sampling, 0)
    assert server.requests() == []


def test_a_server_that_takes_fewer_pictures_than_two_clips_have_is_found_out_before(toy):
    server = toy("--pictures", "1")
    captioner = ServerCaptioner(TOY, server.url)
    captioner.check("auto", GREEDY, 0)
    with pytest.raises(UserError, match=r"takes no request with 4 pictures .*4 pictures are too"):
        captioner.check("auto", GREEDY, 4)


def test_the_key_is_that_of_the_environment(toy, monkeypatch):
    server = toy("--key", "sesame")
    monkeypatch.setenv("OPENAI_API_KEY", "sesame\n")
    assert answers(loaded(server), "Open.") == [Answer("answer to Open.", "stop")]


def test_without_a_key_a_server_of_ones_own_is_asked_all_the_same(toy, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert answers(loaded(toy()), "Open.") == [Answer("answer to Open.", "stop")]


def test_fields_are_offered_one_by_one_and_those_refused_are_left_out(toy):
    server = toy("--strict", "--model", "toy-2026")
    captioner = loaded(server)
    assert captioner.reported == "toy-2026"
    wanted = {"response_format": {"type": "json_object"}, "seed": 3}
    assert captioner.offer(wanted) == ["seed"]
    assert answers(captioner, "Go on.") == [Answer("answer to Go on.", "stop", "toy-2026")]
    body = server.requests()[-1]["body"]
    assert body["seed"] == 3 and "response_format" not in body


# What comes back


def test_the_finish_reason_is_the_servers(toy):
    assert answers(loaded(toy()), "do length") == [Answer("answer to do length", "length")]


def test_an_answer_in_chunks_is_put_together(toy):
    assert answers(loaded(toy()), "do chunks") == [Answer("one two", "length")]


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        ("html", "it answers '<html>Please log in</html>'"),
        ("error", "it answers {'error': {'message': 'out of memory'}}"),
        ("nothing", "it answers with no choice"),
        ("400", """HTTP 400: {"error": {"message": "told to say 400"}}"""),
    ],
)
def test_a_bad_answer_fails_its_request_alone_and_at_once(toy, deed, error):
    server = toy()
    before, failed, after = answers(loaded(server), "First.", f"do {deed}", "Last.")
    assert (before.text, after.text) == ("answer to First.", "answer to Last.")
    assert isinstance(failed, Exception) and error in str(failed)
    assert len(server.requests()) == 3


def test_a_request_that_cannot_be_sent_fails_alone(toy):
    broken = Request([{"role": "user", "content": [{"type": "video", "video": [None]}]}], 0)
    given = dict(loaded(toy()).generate([request("First."), broken, request("Last.")], GREEDY))
    assert isinstance(given.pop(1), AttributeError)
    assert given == {0: Answer("answer to First.", "stop"), 2: Answer("answer to Last.", "stop")}


# How many at once


def test_so_many_requests_are_in_flight_and_no_more(toy):
    server = toy("--delay", 0.2)
    answers(loaded(server, concurrency=5), *(f"Say {number}." for number in range(23)))
    assert max(one["open"] for one in server.requests()) == 5


def test_requests_are_taken_as_they_are_needed(toy):
    captioner = loaded(toy("--delay", 0.1), concurrency=2)
    taken = 0

    def stream():
        nonlocal taken
        for number in range(1000):
            taken = number + 1
            yield request(f"Say {number}.")

    given = captioner.generate(stream(), GREEDY)
    first = [next(given)[0] for _ in range(2)]
    assert sorted(first) == [0, 1]
    # Two in flight, one that waits to be, and those that are prepared: never the whole stream.
    assert taken <= 2 + 2 + 1 + openai_server.AHEAD + 2
    given.close()


def test_answers_come_in_the_order_in_which_they_are_known(toy):
    slow, quick = "do 500", "Say it."
    given = loaded(toy()).generate([request(slow), request(quick)], GREEDY)
    assert [position for position, _ in given] == [1, 0]


@pytest.mark.parametrize("end", [lambda given: given.close(), None], ids=["closed", "Ctrl-C"])
def test_an_end_in_the_middle_is_an_end_at_once(toy, end):
    captioner = loaded(toy())
    texts = ["Say it.", "do hang", "do hang hang"]
    given = captioner.generate((request(text) for text in texts), GREEDY)
    assert next(given) == (0, Answer("answer to Say it.", "stop"))
    start = time.monotonic()
    if end:
        end(given)
    else:
        with pytest.raises(KeyboardInterrupt):
            given.throw(KeyboardInterrupt())
    assert time.monotonic() - start < 10  # a hang is 30 s
    assert answers(captioner, "Again.") == [Answer("answer to Again.", "stop")]


# What goes wrong for a while


def times(server, prompt):
    return [one["at"] for one in server.requests() if texts_of(one["body"]) == [prompt]]


def test_too_many_requests_is_waited_for_as_long_as_the_server_says(toy):
    server = toy()
    assert answers(loaded(server), "do 429 429")[0].text == "answer to do 429 429"
    first, second, third = times(server, "do 429 429")
    # Of itself the client would wait half a second first.
    assert second - first >= 1.0 and third - second >= 1.0


@pytest.mark.parametrize("trouble", ["500", "503", "drop"])
def test_a_passing_trouble_is_tried_again(toy, trouble):
    server = toy()
    asked = f"do {trouble} {trouble}"
    assert answers(loaded(server), asked) == [Answer(f"answer to {asked}", "stop")]
    first, second, third = times(server, asked)
    assert second - first > 0.3 and third - second > 0.7  # waits double


def test_an_answer_that_does_not_come_is_asked_for_again(toy, monkeypatch):
    monkeypatch.setattr(openai_server, "ANSWER_TIMEOUT", 0.5)
    assert answers(loaded(toy()), "do hang")[0].text == "answer to do hang"


def test_a_request_that_never_ends_is_given_up_and_no_other(toy, monkeypatch):
    monkeypatch.setattr(openai_server, "ANSWER_TIMEOUT", 0.5)
    monkeypatch.setattr(openai_server, "GIVE_UP", 2)
    server = toy()
    given_up, fine = answers(loaded(server), "do hang hang hang hang hang", "Say it.")
    assert isinstance(given_up, TimeoutError) and str(given_up) == "no answer within 2 s"
    assert fine.text == "answer to Say it."


def test_a_server_that_dies_and_comes_back_loses_no_request(toy):
    server = toy("--delay", 0.2)
    captioner = loaded(server, concurrency=8)
    texts = [f"Say {number}." for number in range(40)]
    given = captioner.generate((request(text) for text in texts), GREEDY)
    known = dict([next(given), next(given)])
    server.kill()
    time.sleep(1.5)
    server.start()
    known |= dict(given)
    assert [known[position].text for position in range(40)] == [f"answer to {t}" for t in texts]


def test_a_server_that_stays_away_fails_every_request_and_not_the_run(toy, monkeypatch):
    server = toy()
    captioner = loaded(server)
    server.kill()
    monkeypatch.setattr(openai_server, "RETRIES", 2)
    given = answers(captioner, *(f"Say {number}." for number in range(6)))
    assert [type(one).__name__ for one in given] == ["APIConnectionError"] * 6


def test_retries_outlast_the_patience():
    from openai import AsyncOpenAI
    from openai._constants import INITIAL_RETRY_DELAY, MAX_RETRY_DELAY

    # What RETRIES is computed from.
    assert (INITIAL_RETRY_DELAY, MAX_RETRY_DELAY) == (0.5, 8.0)
    retries = openai_server.RETRIES
    client = AsyncOpenAI(api_key="none", base_url="http://localhost:1", max_retries=retries)
    from openai._models import FinalRequestOptions

    options = FinalRequestOptions.construct(method="post", url="/")
    waits = [client._calculate_retry_timeout(left, options) for left in range(retries, 0, -1)]
    assert sum(waits) >= openai_server.PATIENCE >= 120
    assert sum(waits) < 1.5 * openai_server.PATIENCE


# Before any work


def test_the_only_model_of_a_server_is_meant_whatever_its_name(toy):
    server = toy("--models", "/weights/qwen")
    captioner = loaded(server)
    answers(captioner, "Say it.")
    assert server.requests()[0]["body"]["model"] == "/weights/qwen"


@pytest.mark.parametrize(
    ("name", "checkpoint", "served"),
    [
        ("qwen25vl7b", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("mine", "Qwen/Qwen2.5-VL-7B-Instruct", "mine"),
        ("mine", None, "mine"),
    ],
)
def test_of_several_models_that_of_the_name_or_the_checkpoint_is_meant(
    toy, name, checkpoint, served
):
    server = toy("--models", "other", "Qwen/Qwen2.5-VL-7B-Instruct", "mine")
    captioner = loaded(server, model=Model(name, "server", checkpoint))
    assert captioner.served == served


def complaint(url, **settings):
    captioner = ServerCaptioner(Model("toy", "server", "org/toy"), url)
    with pytest.raises(UserError) as caught:
        captioner.check("auto", GREEDY, 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_that_the_server_has_not(toy):
    server = toy("--models", "a", "b")
    assert complaint(server.url) == f"{server.url} has no model 'org/toy'; it has: a, b"


def test_a_server_without_models(toy):
    server = toy("--models")
    assert complaint(server.url) == f"{server.url} has no model 'org/toy'; it has: none"


def test_a_server_that_is_not_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        said = complaint(url)
    assert said.startswith(f"no server answers at {url} (")
    assert said.endswith("): start it, or correct the address")


def test_a_host_that_is_not_there():
    said = complaint("http://no-such-host.invalid:8000/v1")
    assert said.startswith("no server answers at http://no-such-host.invalid:8000/v1 (")


def test_an_address_without_v1(toy):
    server = toy()
    assert complaint(server.url.removesuffix("/v1")) == (
        f"http://127.0.0.1:{server.port}/models answers HTTP 404; addresses usually end in /v1:"
        " <html>Not found</html>"
    )


def answer_everything(text, kind, folder):
    """A web server that answers every request with a page."""
    code = (
        "from http.server import *\n"
        "class H(BaseHTTPRequestHandler):\n"
        " def do_GET(self):\n"
        f"  self.send_response(200); self.send_header('Content-Type', {kind!r})\n"
        f"  self.end_headers(); self.wfile.write({text.encode()!r})\n"
        " do_POST = do_GET\n"
        " def log_message(self, *_): pass\n"
        "s = HTTPServer(('127.0.0.1', 0), H); print(s.server_port, flush=True); s.serve_forever()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder
    )
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


@pytest.mark.parametrize(
    ("page", "kind", "what"),
    [
        ("<html>Router login</html>", "text/html", "it answers '<html>Router login</html>'"),
        ('{"hello": 1}', "application/json", "it lists no models"),
        ('["a"]', "application/json", "it lists no models"),
        ('{"data": [{"id": "toy"}]}', "application/json", "it answers {'data': [{'id': 'toy'}]}"),
    ],
)
def test_something_that_speaks_something_else(tmp_path, page, kind, what):
    process, url = answer_everything(page, kind, tmp_path)
    try:
        said = complaint(url)
    finally:
        process.kill()
        process.communicate()
    assert said == (
        f"{url} does not speak OpenAI's protocol ({what}): correct the address, which usually ends"
        " in /v1"
    )


def test_a_wrong_key(toy, monkeypatch):
    server = toy("--key", "sesame")
    monkeypatch.setenv("OPENAI_API_KEY", "barley")
    assert complaint(server.url) == (
        f"{server.url} refuses the key (HTTP 401): set OPENAI_API_KEY to the right one"
    )


def test_a_server_that_accepts_and_never_answers(monkeypatch):
    monkeypatch.setattr(openai_server, "LIST_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        assert complaint(url) == f"the server at {url} accepts a request but does not answer it"


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://localhost/v1", "http://", "http://host:port/v1"]
)
def test_what_is_no_address(url):
    with pytest.raises(UserError) as caught:
        ServerCaptioner(TOY, url)
    assert str(caught.value) == (
        f"{url!r} is not a server's address such as http://localhost:8000/v1"
    )


def test_check_and_load_leave_it_fit_to_be_sent_to_workers(toy):
    server = toy()
    captioner = ServerCaptioner(TOY, server.url)
    captioner.check("auto", GREEDY, 0)
    there = pickle.loads(pickle.dumps(captioner))
    there.load("cpu", 1)
    assert answers(there, "Say it.") == [Answer("answer to Say it.", "stop")]


def test_the_fingerprint_is_known_without_a_server_and_not_of_its_address():
    here = ServerCaptioner(Model("m", "server", "org/m"), "http://localhost:1/v1", 4)
    there = ServerCaptioner(Model("m", "server", "org/m"), "http://elsewhere:2/v1", 64)
    other = ServerCaptioner(Model("m", "server", "org/n"), "http://localhost:1/v1", 4)
    assert here.fingerprint() == there.fingerprint() != other.fingerprint()


def test_clip_captions_are_greedy_and_so_are_responses_by_default():
    from inference.models import response_sampling

    captioner = ServerCaptioner(Model("m", "server", max_new_tokens=777), "http://localhost:1/v1")
    assert captioner.decoding == Sampling(0.0, 1.0, 1, 1.0, 777)
    assert response_sampling(captioner) == Sampling(0.7, 1.0, 1, 1.05, 8192)


# The scripts


def test_what_a_server_refuses_is_failed_and_done_by_a_later_run(toy, stage_one, run_script):
    server = toy("--first", "400")
    model = ["--model", f"toy@{server.url}", "--data_root", stage_one]

    def lines(*words):
        run = run_script(*words, *model)
        assert run.returncode == 0, run.stderr
        return [line for line in run.stdout.splitlines() if " done" in line]

    captions = ("generate_meta_data.py", 1, "--dataset", "mine", "--concurrency", 3)
    first = lines(*captions)[0]
    assert re.fullmatch(r"raw_captions: [12] done, [12] failed \(Refused: HTTP 400\)", first)
    assert lines(*captions, "--retry_failed") == ["raw_captions: 3 done", "captions: 3 done"]
    responses = ("generate_dpo_data.py", "mine", 2)
    first = lines(*responses)[0]
    assert re.fullmatch(r"responses: \d+ done, \d+ failed \(Refused: HTTP 400\)", first)
    assert lines(*responses, "--retry_failed") == ["responses: 39 done"]


def test_a_server_that_is_not_there_is_one_line_before_any_work(stage_one, run_script):
    run = run_script(
        *("generate_meta_data.py", 1, "--dataset", "mine", "--data_root", stage_one),
        *("--model", "absent@http://127.0.0.1:9/v1"),
    )
    assert (run.returncode, run.stderr) == (
        2,
        "error: no server answers at http://127.0.0.1:9/v1 ([Errno 111] Connection refused): start"
        " it, or correct the address\n",
    )
    assert not (stage_one / "mine" / "anno" / "raw_clip_captions_absent.jsonl").exists()


# A server that runs weights


@pytest.fixture(scope="module")
def transformers_server(tiny, tmp_path_factory):
    """The address of `transformers serve` with a tiny Qwen2-VL."""
    pytest.importorskip("fastapi")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shutil.which("transformers", path=Path(sys.executable).parent)
    assert command
    words = [command, "serve", "--host", "127.0.0.1", "--port", port]
    words += ["--force_model", tiny("qwen2vl")]
    log = tmp_path_factory.mktemp("serve") / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [str(word) for word in [*words, "--device", "cpu", "--dtype", "float32"]],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def test_transformers_serve_answers_a_clip_prompt_as_the_model_itself_does(
    transformers_server, loaded_tiny, picture
):
    import torch

    # Its list of models is fixed; --force_model answers for all of them.
    model = Model("qwen25vl7b", "server", "Qwen/Qwen2.5-VL-7B-Instruct", max_pixels=401408)
    # It lets two requests overwrite each other's positions.
    captioner = ServerCaptioner(model, transformers_server, concurrency=1)
    captioner.check("cpu", GREEDY, 4)
    captioner.load("cpu", 1)
    assert captioner.strict
    places = ["beach", "night", "fire", "snow"]
    clips = [[picture(place, (112, 84), moment) for moment in (0, 9)] for place in places]
    asked = [clip_messages(clips, k) for k in range(4)]
    asked += [clip_messages(clips[::-1], k) for k in range(4)]
    sampling = Sampling(0.0, 1.0, 1, 1.0, 12)
    given = dict(captioner.generate([Request(one, 0) for one in asked], sampling))

    processor, network = loaded_tiny("qwen2vl")
    for position, messages in enumerate(asked):
        parts = []
        for part in messages[0]["content"]:
            if part["type"] == "text":
                parts.append(part)
                continue
            frames = [decoded(chat_format.picture(frame, 401408)) for frame in part["video"]]
            parts += [{"type": "image", "image": frame} for frame in frames]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": parts}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            tokens = network.generate(**inputs, max_new_tokens=12, do_sample=False)
        text = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert given[position].text.split() == text.split()
    # The texts do hang on the pictures.
    assert len({answer.text for answer in given.values()}) >= 4
