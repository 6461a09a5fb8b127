"""tools.fetch against a hub on loopback that has LLaVA-Video-178K's layout."""

import io
import json
import random
import shutil
import socket
import tarfile
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

REPOSITORY = "lmms-lab/LLaVA-Video-178K"
FOLDER = "1_2_m_youtube_v0_1"
INSIDE = "liwei_youtube_videos/videos/youtube_video_2024"


def archive(*names, size=1000, inside=INSIDE, mode="w:gz"):
    """A tar.gz of files of random bytes, as random as a video's."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as members:
        for name in names:
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size = size
            members.addfile(member, io.BytesIO(random.Random(name).randbytes(size)))
    return packed.getvalue()


class Hub(ThreadingHTTPServer):
    """Attributes: files: path -> content; asked: how often each archive was asked for from its
    start, and from elsewhere; cut: how many bytes of the next archive arrive before the connection
    breaks; None: all."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut = files, None
        self.asked, self.resumed = Counter(), Counter()

    def handle_error(self, *_):
        pass  # a connection that this hub broke itself


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        path = self.path.partition("?")[0]
        if path == f"/api/datasets/{REPOSITORY}/tree/main/{FOLDER}":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.server.files.items()
            ]
            self.answer(json.dumps(entries).encode(), {"Content-Type": "application/json"})
        elif path == f"/api/datasets/{REPOSITORY}":
            card = {"id": REPOSITORY, "sha": "1" * 40, "cardData": {"license": "apache-2.0"}}
            self.answer(json.dumps(card).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"/datasets/{REPOSITORY}/resolve/"):
            self.file(path.split("/resolve/")[1].split("/", 1)[1], body)
        else:
            self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

    def file(self, name, body):
        content = self.server.files[name]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {"ETag": '"e"', "X-Repo-Commit": "1" * 40, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if not body:
            self.answer(content, headers, body=False)
            return
        (self.server.resumed if start else self.server.asked)[name.rsplit("/", 1)[1]] += 1
        cut, self.server.cut = self.server.cut, None
        self.answer(content[start:], headers, 206 if start else 200, cut=cut)

    def answer(self, content, headers, status=200, body=True, cut=None):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[:cut])
        if cut is not None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    """Three archives, of two, two and one video, beside what is no archive."""
    names = {2: ("ytb_a.mp4", "ytb_b.mp4"), 10: ("ytb_c.mp4", "ytb_d.mp4"), 11: ("ytb_e.mkv",)}
    files = {
        f"{FOLDER}/{FOLDER}_videos_{number}.tar.gz": archive(*own, "notes.txt")
        for number, own in names.items()
    }
    files[f"{FOLDER}/{FOLDER}_cap_processed.json"] = b"[]"
    with Hub(files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def fetch(hub, run_script, tmp_path):
    """Run tools.fetch into tmp_path/videos; the names of the videos there, and what was said."""

    def run(*flags, code=0):
        address = f"http://127.0.0.1:{hub.server_port}"
        env = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        words = ("-m", "tools.fetch", "lv178k_1_2m_ytb", "--to", tmp_path / "videos", *flags)
        done = run_script(*words, env={**env, "HF_HOME": str(tmp_path / "hf")}, fresh=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        folder = tmp_path / "videos" / INSIDE
        return sorted(path.name for path in folder.glob("*")), done

    return run


def test_the_first_videos_then_all_of_them(hub, fetch, tmp_path):
    """Archives go in the order of their numbers; a finished one is not asked for again."""
    names, done = fetch("--n", 3)
    assert names == ["ytb_a.mp4", "ytb_b.mp4", "ytb_c.mp4"]
    first, *_, last = done.stdout.splitlines()
    assert first.startswith(f"{REPOSITORY}, {FOLDER}: 3 archives, ")
    assert "licence: apache-2.0" in first
    assert last == (
        f"3 videos in {tmp_path}/videos; next: python preprocess.py lv178k_1_2m_ytb 2"
        f" --video_dir {tmp_path}/videos"
    )
    assert list(hub.asked) == [f"{FOLDER}_videos_2.tar.gz", f"{FOLDER}_videos_10.tar.gz"]

    names, _ = fetch()
    assert names == ["ytb_a.mp4", "ytb_b.mp4", "ytb_c.mp4", "ytb_d.mp4", "ytb_e.mkv"]
    assert hub.asked[f"{FOLDER}_videos_2.tar.gz"] == 1
    content = (tmp_path / "videos" / INSIDE / "ytb_e.mkv").read_bytes()
    assert content == random.Random("ytb_e.mkv").randbytes(1000)
    assert not list((tmp_path / "videos").rglob("*.tar.gz"))


def test_the_first_videos_again_need_no_download_until_there_are_to_be_more(hub, fetch):
    """The second archive has two videos, of which three videos need one and four need both."""
    name = f"{FOLDER}_videos_10.tar.gz"
    for n, names, downloads in ((3, 3, 1), (3, 3, 1), (4, 4, 2), (4, 4, 2), (2, 4, 2)):
        assert len(fetch("--n", n)[0]) == names
        assert hub.asked[name] == downloads
    assert len(fetch()[0]) == 5


def test_a_folder_without_archives_is_one_line(hub, fetch):
    hub.files = {f"{FOLDER}/{FOLDER}_cap_processed.json": b"[]"}
    _, done = fetch(code=2)
    assert done.stderr == (
        f"error: {REPOSITORY} at http://127.0.0.1:{hub.server_port}: no .tar.gz or .tar in the"
        f" folder {FOLDER}, which data/datasets.yaml names\n"
    )


def test_after_a_broken_connection_the_same_command_goes_on(hub, fetch):
    name = f"{FOLDER}_videos_2.tar.gz"
    # The hub's library writes 10 MB at a time; packing random bytes would only take time.
    large = archive("ytb_a.mp4", "ytb_b.mp4", size=11_000_000, mode="w")
    hub.files[f"{FOLDER}/{name}"] = large
    hub.cut = 15_000_000
    _, done = fetch("--n", 2, code=2)
    assert "Connection broken" in done.stderr.splitlines()[-1]
    names, _ = fetch("--n", 2)
    assert names == ["ytb_a.mp4", "ytb_b.mp4"]
    assert (hub.asked[name], hub.resumed[name]) == (1, 1)


@pytest.mark.parametrize("damage", ["cut", "outside"])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(hub, fetch, tmp_path, damage):
    name = f"{FOLDER}_videos_2.tar.gz"
    good = hub.files[f"{FOLDER}/{name}"]
    outside = archive("ytb_a.mp4", inside="../../elsewhere")
    hub.files[f"{FOLDER}/{name}"] = outside if damage == "outside" else good[: len(good) // 2]
    _, done = fetch(code=2)
    assert done.stderr.splitlines()[-1].startswith(f"error: {name} is damaged (")
    assert not list(tmp_path.rglob("elsewhere"))
    hub.files[f"{FOLDER}/{name}"] = good
    names, _ = fetch()
    assert len(names) == 5


def test_videos_that_were_deleted_are_not_announced(hub, fetch, tmp_path):
    fetch()
    shutil.rmtree(tmp_path / "videos" / INSIDE)
    _, done = fetch(code=2)
    folder = tmp_path / "videos"
    assert done.stderr.splitlines()[-1] == (
        f"error: {folder} has no video: delete {folder}/.fetch to fetch them again"
    )


def test_a_folder_where_a_video_goes_is_one_line(hub, fetch, tmp_path):
    (tmp_path / "videos" / INSIDE / "ytb_a.mp4" / "x").mkdir(parents=True)
    _, done = fetch(code=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: cannot write {tmp_path}/videos: Is a directory"
    )


def test_too_little_disk_is_said_before_anything_is_downloaded(hub, fetch):
    hub.files[f"{FOLDER}/{FOLDER}_videos_2.tar.gz"] = Huge()
    _, done = fetch(code=2)
    assert "GB free, 2,000,000.0 GB needed: name another --to, or fewer videos with --n" in (
        done.stderr
    )
    assert not hub.asked


class Huge(bytes):
    """As long as a petabyte, as its repository says."""

    def __len__(self):
        return 10**15


def test_names_that_have_no_archives(run_script, tmp_path):
    done = run_script("-m", "tools.fetch", "lv178k_1_2m_yt", "--to", tmp_path)
    assert done.stderr == (
        "error: lv178k_1_2m_yt: data/datasets.yaml names no archives of it, but of"
        " lv178k_1_2m_ytb, lv178k_2_3m_ytb; did you mean 'lv178k_1_2m_ytb'?\n"
    )


def test_a_hub_that_is_not_there_is_one_line(run_script, tmp_path):
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    words = ("-m", "tools.fetch", "lv178k_1_2m_ytb", "--to", tmp_path)
    done = run_script(*words, env=env, fresh=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {REPOSITORY} at http://127.0.0.1:9: ")
    assert done.stderr.count("\n") == 1
