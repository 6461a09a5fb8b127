"""Small videos: in eight codecs and containers, and damaged or changed by hand."""

import struct

import av

# File name -> what `make_video` needs to write it; decord reads not half of them.
CODECS = {
    "h264.mp4": {},
    "bframes.mkv": {"options": {"bf": "3", "preset": "veryfast", "g": "30"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "crf": "10"}},
    "av1.webm": {"codec": "libsvtav1", "options": {"preset": "12", "crf": "10"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "recorder.webm": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8"},
        "muxer": {"live": "1"},  # no duration in the header
    },
    "mpeg4.avi": {"codec": "mpeg4", "options": {"q:v": "2"}},
    "h264.ts": {"options": {"bf": "2", "preset": "veryfast", "g": "24"}},
}


def overwrite_packets(video, numbers):
    """Zero the data of some packets."""
    with av.open(str(video)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(video.read_bytes())
    for number in numbers:
        position, size = places[number]
        data[position : position + size] = bytes(size)
    video.write_bytes(data)


def write_display_matrix(video, mirrored, quarters, width, height):
    """Write into an MP4 file's track header that it is to be mirrored sideways and then turned
    clockwise.

    ISO/IEC 14496-12, 8.3.2 and 6.2.2: {a, b, u, c, d, v, x, y, w}, 16.16 fixed point, w 2.30.
    """
    a, b, c, d, x, y = [
        (1, 0, 0, 1, 0, 0),
        (0, 1, -1, 0, height, 0),
        (-1, 0, 0, -1, width, height),
        (0, -1, 1, 0, 0, width),
    ][quarters]
    if mirrored:  # p becomes width - p before the turn
        x, y, a, b = x + a * width, y + b * width, -a, -b
    data = bytearray(video.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    values = (a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *values)
    video.write_bytes(data)


def without_first_frames(video, target, frames):
    """A transport stream without the packets of its first frames; its tables stay in front."""
    with av.open(str(video)) as container:
        packets = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = video.read_bytes()
    target.write_bytes(data[: 3 * 188] + data[packets[frames] // 188 * 188 :])
    return target


def joined(first, second, target):
    """Two transport streams one after the other, as a recorder or `cat` joins them."""
    target.write_bytes(first.read_bytes() + second.read_bytes())
    return target
