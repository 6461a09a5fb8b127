"""What --model may name, and what it gets that names nothing."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub.utils import reset_sessions

from inference.engines.dryrun import DryrunCaptioner
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.engines.server import ServerCaptioner
from inference.models import families, models, open_captioner
from tools.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A folder with the config.json of a Qwen2.5-VL; nothing is loaded from it."""
    path = tmp_path / "checkpoint-100-merged"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    return path


def test_a_known_model_runs_its_checkpoint():
    captioner = open_captioner("qwen25vl7b", batch=4)
    assert isinstance(captioner, HuggingFaceCaptioner)
    assert captioner.checkpoint == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert (captioner.name, captioner.batch, captioner.reasoning) == ("qwen25vl7b", 4, False)
    assert captioner.model.video == {"size": {"shortest_edge": 3136, "longest_edge": 28 * 28 * 512}}


def test_every_model_has_a_family_and_its_own_fields_win():
    for name, model in models().items():
        assert name == "dryrun" or model.family in families()
    mimo = models()["mimovl"]
    assert (mimo.family, mimo.max_new_tokens, mimo.reasoning) == ("qwen2.5-vl", 8192, True)
    assert mimo.video == models()["qwen25vl7b"].video


def test_a_folder_is_named_after_itself_and_its_family_is_found(folder):
    captioner = open_captioner(str(folder))
    assert isinstance(captioner, HuggingFaceCaptioner)
    assert captioner.name == "checkpoint-100-merged"
    assert captioner.model.family == "qwen2.5-vl"
    named = open_captioner(str(folder), name="mine", family="qwen2-vl")
    assert (named.name, named.model.family) == ("mine", "qwen2-vl")


def test_an_id_of_the_hub_with_a_family_is_not_fetched_yet():
    captioner = open_captioner("somebody/Some-VL-3B", family="qwen3-vl")
    assert (captioner.name, captioner.checkpoint) == ("Some-VL-3B", "somebody/Some-VL-3B")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What a hub on loopback is asked for; every repository has the config.json of a Qwen3-VL."""
    requests = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            config = b'{"model_type": "qwen3_vl"}'
            requests.append((self.command, self.path))
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(config)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(config)

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        reset_sessions()  # One that was opened offline stays offline.
        yield requests
        server.shutdown()


def test_an_id_of_the_hub_without_a_family_has_its_config_fetched_alone(hub):
    assert open_captioner("somebody/Some-VL-3B").model.family == "qwen3-vl"
    config = "/somebody/Some-VL-3B/resolve/main/config.json"
    assert hub == [("HEAD", config), ("GET", config)]
    open_captioner("somebody/Some-VL-3B")
    assert len(hub) == 2  # What is here needs no network.


def test_a_server_is_asked_for_a_known_or_an_unknown_model():
    known = open_captioner("qwen25vl7b@http://localhost:8000/v1", concurrency=7)
    assert isinstance(known, ServerCaptioner)
    assert (known.name, known.concurrency) == ("qwen25vl7b", 7)
    assert known.model.checkpoint == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert open_captioner("my-model@http://localhost:8000/v1").name == "my-model"
    of_an_organisation = open_captioner("org/theirs@http://localhost:8000/v1")
    assert of_an_organisation.name == "theirs"
    assert of_an_organisation.model.checkpoint == "org/theirs"


def test_the_longest_clip_answer_may_be_given():
    captioner = open_captioner("qwen25vl7b@http://localhost:8000/v1", max_new_tokens=99)
    assert captioner.decoding.max_new_tokens == 99


def test_dryrun_is_dryrun():
    assert isinstance(open_captioner("dryrun"), DryrunCaptioner)


@pytest.mark.parametrize(
    ("model", "flags", "line"),
    [
        ("gpt", {}, "unknown model 'gpt'; the models are: dryrun, qwen2vl7b, "),
        ("/no/such/folder", {}, "checkpoint /no/such/folder: no such folder"),
        ("dryrun", {"engine": "vllm"}, "--model dryrun goes without --engine and --model_name"),
        ("qwen2vl7b", {"family": "qwen3-vl"}, "--family qwen3-vl: qwen2vl7b has its family in"),
        ("a b@http://localhost/v1", {}, "not a model name: 'a b'"),
        ("x@localhost:9/v1", {}, "a server's address begins with http:// or https://"),
        ("x@http://", {}, "is not a server's address"),
        ("x@http://h/v1", {"engine": "vllm"}, "--engine vllm does not go with a server"),
    ],
)
def test_what_is_no_model_is_one_line(model, flags, line):
    with pytest.raises(UserError) as error:
        open_captioner(model, **flags)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--model", "/no/such"), "error: checkpoint /no/such: no such folder"),
        (("--model", "x@http://127.0.0.1:9/v1"), "error: no server answers at http://127.0.0.1:9"),
    ],
)
def test_a_script_says_so_before_any_work(run_script, stage_one, words, line):
    data = ("--dataset", "mine", "--data_root", stage_one)
    done = run_script("generate_meta_data.py", 1, *data, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
