"""Bad input through `python preprocess.py`: the run ends 0, every video ends with its reason, and
the others come out as if the bad ones were not there."""

import ctypes
import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import orjson
import pytest

from tests.video.damage import overwrite_packets
from tools.store.dataset import Dataset
from tools.store.jsonl import Table
from tools.video.listing import video_id

LIGHT = ("--shot_detector", "adaptive", "--embedder", "color", "--device", "cpu")
# The tables of stage 1, in order, each with what the records in it have come through.
TABLES = (
    *("scene", "filter_scene", "similarity", "group", "filter_group", "extract_frame", "videos"),
)
SIX = tuple((place, 12) for place in ("beach", "forest", "night", "fire", "snow", "party"))


def lines(path):
    """The records of a JSONL file; none if it is not there."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def stage_one(run_script, tmp_path):
    """Run stage 1 on a folder as a user does, and give the folder of its annotations."""

    def run(folder, *words, data_root=tmp_path / "data", dataset="mine", **kwargs):
        given = () if folder is None else ("--video_dir", folder)
        flags = (*given, "--data_root", data_root, *LIGHT, *words)
        done = run_script("preprocess.py", dataset, 1, *flags, **kwargs)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        return data_root / dataset / "anno"

    return run


def ends(anno):
    """video_name -> how it ended: kept, a filter's reason, or an error."""
    names = {record["video_id"]: record["video_name"] for record in lines(anno / "init.jsonl")}
    found = {}
    for table in ("init", *TABLES):
        for failure in lines(anno / f"{table}.failed.jsonl"):
            found[names.get(failure["video_id"], failure["video_id"])] = failure["error"]
        for record in lines(anno / f"{table}.jsonl"):
            if record["filtered"]:
                found[record["video_name"]] = record.get("filter_reason")
    for record in lines(anno / "videos.jsonl"):
        found[record["video_name"]] = "kept"
    return found


def rows(anno, names):
    """The lines, in every table of stage 1, of some videos: their bytes."""
    return {
        table: [
            line
            for line in (anno / f"{table}.jsonl").read_bytes().splitlines()
            if orjson.loads(line)["video_name"] in names
        ]
        for table in TABLES
    }


def write_sound(path, video_codec=None):
    """A file of sound alone, or of sound beside a video track without frames."""
    with av.open(str(path), "w") as container:
        if video_codec:
            empty = container.add_stream(video_codec, rate=12)
            empty.width, empty.height, empty.pix_fmt = 64, 48, "yuv420p"
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for index in range(20):
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def fill_with_bad_videos(folder, make_video):
    """Make one file of each kind in `folder`; returns name -> how it is to end."""
    good = make_video(folder / "a good one.mp4", SIX)
    front = make_video(folder / "cut off.mp4", SIX, muxer={"movflags": "faststart"})
    os.truncate(front, front.stat().st_size * 6 // 10)
    (folder / "no end, no header.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    write_sound(folder / "sound.mp4")
    write_sound(folder / "no frames.mkv", "libx264")
    fragments = make_video(folder / "zero length.mp4", SIX, muxer={"movflags": "empty_moov"})
    data = fragments.read_bytes()
    fragments.write_bytes(data[: data.index(b"moof") - 4])
    make_video(folder / "one frame.mp4", [("beach", 1)])
    overwrite_packets(make_video(folder / "damaged.mp4", SIX[:3]), [20])
    make_video(folder / "16 x 16.mp4", SIX, size=(16, 16))
    make_video(folder / "odd.mp4", SIX, size=(333, 187), pix_fmt="yuv444p")
    make_video(folder / "ten bit.mp4", SIX, pix_fmt="yuv420p10le")
    uneven = np.cumsum([0, *[1, 2, 3] * 24])[:72].tolist()
    make_video(folder / "vfr.mp4", SIX, pts=uneven, time_base=Fraction(1, 24))
    day = 26 * 3600 * 12
    make_video(folder / "26 hours.ts", SIX, pts=range(day, day + 72))
    leap = [*range(36), *range(day, day + 36)]
    make_video(folder / "a leap of 26 hours.mkv", SIX, pts=leap)
    turned = make_video(folder / "turned.mp4", SIX)
    data = bytearray(turned.read_bytes())
    at = data.index(b"tkhd") + 44
    for place, value in ((0, 0), (1, 1 << 16), (3, -1 << 16), (4, 0)):
        data[at + 4 * place : at + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    turned.write_bytes(data)
    (folder / "a folder.mp4").mkdir()
    shutil.copy(good, folder / "a folder.mp4" / "twin.mp4")
    (folder / "sub").mkdir()
    shutil.copy(good, folder / "sub" / "twin.mp4")
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "itself.mp4").symlink_to("itself.mp4")
    (folder / "nowhere.mp4").symlink_to("gone.mp4")
    os.mkfifo(folder / "pipe.mp4")
    odd_names = ("UPPER.MP4", "new\nline.mp4", "-dash.mp4", "http:x%20%03d?.mp4", "日本 é.mkv")
    for name in odd_names:
        shutil.copy(good, folder / name)
    not_utf8 = os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(good, folder / not_utf8)
    no_header = "VideoError: not a video: its header is missing, damaged or unknown"
    return {
        "a good one.mp4": "kept",
        "cut off.mp4": "VideoError: truncated: 3.8 s of 6.0 s can be decoded",
        "no end, no header.mp4": no_header,
        "empty.mp4": "VideoError: empty file: 0 bytes",
        "text.mp4": no_header,
        "sound.mp4": "VideoError: no video stream: sound or data only",
        "no frames.mkv": "VideoError: no frames: nothing in the video stream can be decoded",
        "zero length.mp4": "VideoError: no frames: nothing in the video stream can be decoded",
        "one frame.mp4": "too_few_shots",
        "damaged.mp4": "too_few_shots_damaged",
        "16 x 16.mp4": "kept",
        "odd.mp4": "kept",
        "ten bit.mp4": "kept",
        "vfr.mp4": "kept",
        "26 hours.ts": "kept",
        "a leap of 26 hours.mkv": "shot_too_long",
        "turned.mp4": "kept",
        "a folder.mp4/twin.mp4": "kept",
        "sub/twin.mp4": "kept",
        "itself.mp4": "VideoError: cannot be read: Too many levels of symbolic links",
        "nowhere.mp4": "VideoError: no such file: a symlink that leads nowhere",
        "pipe.mp4": "VideoError: not a file: a folder, a pipe or a device",
        **dict.fromkeys(odd_names, "kept"),
        video_id("mine", not_utf8): "VideoError: name is not UTF-8: rename caf\\xe9.mp4",
    }


def test_every_bad_video_ends_with_its_reason_and_harms_no_other(
    stage_one, run_script, make_video, tiny_videos, tmp_path
):
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    good = [entry.name for entry in folder.iterdir()]
    alone = rows(stage_one(folder, data_root=tmp_path / "alone"), good)
    assert [len(lines) for lines in alone.values()] == [3] * len(TABLES)

    expected = fill_with_bad_videos(folder, make_video) | dict.fromkeys(good, "kept")
    anno = stage_one(folder)
    assert ends(anno) == expected
    assert rows(anno, good) == alone

    # Kinds are few, and all videos are accounted for.
    kinds = Counter(": ".join(end.split(": ")[:2]) for end in expected.values())
    status = run_script("-m", "tools.status", "mine", "--data_root", tmp_path / "data")
    assert status.returncode == 0
    failed = sum(number for kind, number in kinds.items() if kind.startswith("VideoError"))
    assert (
        f"{len(expected)} videos = {kinds['kept']} kept + 3 filtered + {failed} failed + 0 left"
        in status.stdout
    )

    # A second run finds nothing to do, and tries nothing again.
    before = {path.name: path.read_bytes() for path in anno.iterdir()}
    stage_one(folder)
    assert {path.name: path.read_bytes() for path in anno.iterdir()} == before


def test_a_video_that_vanishes_between_two_runs(stage_one, tiny_videos, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    left = ["one.mp4", "two.mkv"]
    before = rows(stage_one(folder), left)
    (folder / "three.mp4").unlink()
    anno = stage_one(folder, "--redo", "similarity")
    assert ends(anno) == {
        "one.mp4": "kept",
        "two.mkv": "kept",
        "three.mp4": "gone",
    }
    assert rows(anno, left) == before
    # It comes back, and is taken in again.
    shutil.copy2(tiny_videos / "three.mp4", folder / "three.mp4")
    assert ends(stage_one(folder))["three.mp4"] == "kept"


def without_root_s_rights(run_script, home):
    """Arguments of `subprocess.run` under which file permissions hold, for root too."""
    if os.geteuid():
        return {}
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": home}
    with suppress(OSError):
        if not run_script("-c", "import av, cv2, scenedetect", **nobody).returncode:
            os.chown(home / "data", 65534, 65534)
            return nobody
    # A Python in root's home is root's alone: root then goes without the right to overrule
    # permissions (capabilities(7): PR_CAPBSET_DROP of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH).
    prctl = ctypes.CDLL(None).prctl
    humble = {"preexec_fn": lambda: [prctl(24, capability, 0, 0, 0) for capability in (1, 2)]}
    if run_script("-c", f"open({str(home / 'videos' / 'two.mkv')!r})", **humble).returncode:
        return humble
    pytest.skip("root keeps its rights here")


def test_what_may_not_be_read(stage_one, run_script, tiny_videos):
    # Not in pytest's own folder, which is its user's alone.
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        folder = home / "videos"
        shutil.copytree(tiny_videos, folder)
        for path in (home, folder, *folder.iterdir()):
            path.chmod(0o755)
        (folder / "closed").mkdir()
        shutil.copy(folder / "one.mp4", folder / "closed" / "one.mp4")
        (folder / "two.mkv").chmod(0)
        (folder / "closed").chmod(0)
        (home / "data").mkdir()
        rights = without_root_s_rights(run_script, home)
        anno = stage_one(folder, data_root=home / "data", **rights)
        assert ends(anno) == {
            "one.mp4": "kept",
            "three.mp4": "kept",
            "two.mkv": "VideoError: permission denied: the file cannot be read",
        }
        (folder / "closed").chmod(0o755)


def test_new_videos_are_picked_up_and_the_old_ones_left(stage_one, tiny_videos, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    (folder / "one.mp4").rename(tmp_path / "one.mp4")
    before = rows(stage_one(folder), ["three.mp4", "two.mkv"])
    scans = {path.name: path.stat().st_ino for path in (tmp_path / "data/mine/scan").iterdir()}
    (tmp_path / "one.mp4").rename(folder / "one.mp4")
    # The folder is remembered.
    anno = stage_one(None)
    assert set(ends(anno).values()) == {"kept"}
    assert len(lines(anno / "videos.jsonl")) == 3
    assert rows(anno, ["three.mp4", "two.mkv"]) == before
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "data/mine/scan").iterdir()}
    assert len(inodes) == 3
    assert inodes.items() >= scans.items()


def test_a_folder_that_has_moved_is_done_again_from_the_kept_scans(
    stage_one, tiny_videos, tmp_path
):
    shutil.copytree(tiny_videos, tmp_path / "videos")
    before = lines(stage_one(tmp_path / "videos") / "videos.jsonl")
    scans = {path.name: path.stat().st_ino for path in (tmp_path / "data/mine/scan").iterdir()}
    (tmp_path / "videos").rename(tmp_path / "moved")
    after = lines(stage_one(tmp_path / "moved", "--redo", "scene") / "videos.jsonl")
    for record in before:
        record["video_path"] = record["video_path"].replace("/videos/", "/moved/")
    assert after == before
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "data/mine/scan").iterdir()}
    assert inodes == scans


# Folders made by the reference

OURS_ALONE = ("cut_times", "frame_times", "filter_reason")
NAME = "lv178k_1_2m_ytb"


def as_the_reference_has_it(records):
    """Records without our own fields, numbered in the order of their names."""
    for number, record in enumerate(sorted(records, key=lambda record: record["video_name"])):
        plain = {key: value for key, value in record.items() if key not in OURS_ALONE}
        yield {**plain, "video_id": f"{NAME}_{number}"}


def write_lines(path, records):
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


@pytest.fixture
def made_by_the_reference(stage_one, tiny_videos, make_video, tmp_path):
    """(what we make of three good videos and one of too few shots, an empty data root with these
    videos where the name of the dataset says)."""
    root = tmp_path / "theirs"
    folder = root / NAME / "video"
    shutil.copytree(tiny_videos, folder)
    make_video(folder / "zero.mp4", SIX[:3])
    ours = stage_one(folder, data_root=tmp_path / "ours", dataset=NAME)
    (root / NAME / "anno").mkdir()
    return ours, root


def test_steps_go_on_from_a_folder_of_the_reference(made_by_the_reference, stage_one):
    ours, root = made_by_the_reference
    anno = root / NAME / "anno"
    write_lines(anno / "init.jsonl", as_the_reference_has_it(lines(ours / "init.jsonl")))
    shots = list(as_the_reference_has_it(lines(ours / "scene.jsonl")))
    write_lines(anno / "scene.jsonl.0-2", shots[0::2])
    write_lines(anno / "scene.jsonl.1-2", shots[1::2])
    judged = list(as_the_reference_has_it(lines(ours / "filter_scene.jsonl")))
    write_lines(anno / "filter_scene.jsonl.0-1", judged)
    # Beside the parts lie the rejected ones, and what their script wrote and nobody may read.
    rejected = [record for record in judged if record["filtered"]]
    assert [record["video_name"] for record in rejected] == ["zero.mp4"]
    write_lines(anno / "scene.jsonl.filtered", [{**shots[0], "filtered": True}])
    write_lines(anno / "filter_scene.jsonl.filtered", rejected)
    write_lines(anno / "similarity.jsonl.0-2.filtered", [{"video_id": f"{NAME}_0"}])

    stage_one(None, data_root=root, dataset=NAME)
    assert ends(anno) == {
        "one.mp4": "kept",
        "three.mp4": "kept",
        "two.mkv": "kept",
        "zero.mp4": None,
    }
    kept = Table(anno / "videos.jsonl").index().places
    assert sorted(kept) == [f"{NAME}_0", f"{NAME}_1", f"{NAME}_2"]
    theirs = {record["video_name"]: record for record in lines(anno / "videos.jsonl")}
    for record in lines(ours / "videos.jsonl"):
        same = ("video_path", "raw_cuts", "merged_groups", "frame_indices", "frame_times")
        assert {key: theirs[record["video_name"]][key] for key in same} == {
            key: record[key] for key in same
        }
    # Their parts are whole files now, and new videos may come.
    assert not list(anno.glob("*.jsonl.*-*[0-9]"))
    shutil.copy(root / NAME / "video" / "one.mp4", root / NAME / "video" / "four.mp4")
    stage_one(None, data_root=root, dataset=NAME)
    assert sorted(Table(anno / "videos.jsonl").index().places) == sorted(
        [*kept, video_id(NAME, "four.mp4")]
    )


def test_stage_2_reads_finalize_where_there_is_no_videos(made_by_the_reference, run_script):
    ours, root = made_by_the_reference
    anno = root / NAME / "anno"
    theirs = list(as_the_reference_has_it(lines(ours / "videos.jsonl")))
    write_lines(anno / "finalize.jsonl", theirs)
    done = run_script("generate_meta_data.py", 1, "--model", "dryrun", "--data_root", root)
    assert done.returncode == 0, done.stderr
    captioned = lines(anno / "clip_captions_dryrun.jsonl")
    assert [record["video_id"] for record in captioned] == [f"{NAME}_{n}" for n in range(3)]
    for record in captioned:
        assert len(record["clip_captions"]) == len(record["frame_indices"])
    assert Dataset(NAME, root / NAME).videos().path.name == "finalize.jsonl"
