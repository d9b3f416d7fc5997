"""Writes files.tar.gz and expected.txt: JPEGs of every structure, and the checksums of their pixels in Pillow.

Command: apt-get install libjpeg-turbo-progs && pip install pillow==13.0.0 imagecodecs==2026.3.6 numpy && python3 make.py
&& sha256sum files.tar.gz expected.txt > SHA256

A line of expected.txt is `NAME WIDTH HEIGHT CHANNELS CRC32`, where the checksum is that of `Image.convert("RGB")`, or
`NAME refused` for what Pillow does not read.
"""

import io
import itertools
import pathlib
import random
import struct
import subprocess
import tarfile
import tempfile
import gzip
import zlib

import imagecodecs
import numpy
from PIL import Image

WIDTH, HEIGHT = 37, 29
FILES = {}
SCRATCH = pathlib.Path(tempfile.mkdtemp())


def picture(width=WIDTH, height=HEIGHT, channels=3):
    """Smooth ramps, a hard edge, a little structure: chroma that is off by one sample shows."""
    y, x, c = numpy.mgrid[:height, :width, :channels].astype(numpy.int64)
    smooth = x * (5 - c) + y * (2 + 2 * c) + c * 70
    edge = (x > width // 2) * (90 - 60 * c) + (y > height // 3) * (40 * c - 30)
    return ((smooth + edge + (x * y) % 7) % 256).astype(numpy.uint8)


def pnm(pixels):
    height, width, channels = pixels.shape
    head = f"P{6 if channels == 3 else 5}\n{width} {height}\n255\n"
    return head.encode() + pixels.tobytes()


def run(command, data):
    done = subprocess.run(command, input=data, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def cjpeg(*options, pixels=None, scans=None):
    if scans:
        script = SCRATCH / "scans.txt"
        script.write_text(scans)
        options = (*options, "-scans", str(script))
    return run(["cjpeg", "-quality", "60", *options], pnm(picture() if pixels is None else pixels))


def add(name, data):
    if data is not None:
        assert name not in FILES, name
        FILES[name] = data


# Surgery on markers -------------------------------------------------------------------------------------------------


def segments(data):
    """The parts of a file: (marker, bytes of the segment, bytes of coded data behind it)."""
    at, parts = 2, []
    while at < len(data):
        marker = data[at + 1]
        if marker == 0xD9:
            parts.append((marker, b"", data[at + 2 :]))
            break
        size = struct.unpack(">H", data[at + 2 : at + 4])[0]
        body, at = data[at + 4 : at + 2 + size], at + 2 + size
        start = at
        if marker == 0xDA:
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1
        parts.append((marker, body, data[start:at]))
    return parts


def join(parts):
    out = b"\xff\xd8"
    for marker, body, coded in parts:
        out += bytes([0xFF, marker])
        if marker != 0xD9:
            out += struct.pack(">H", len(body) + 2) + body
        out += coded
    return out


def without(data, *markers):
    return join([part for part in segments(data) if part[0] not in markers])


def changed(data, marker, change):
    return join([(m, change(body) if m == marker else body, coded) for m, body, coded in segments(data)])


def with_first(data, *parts):
    return join([(marker, body, b"") for marker, body in parts] + segments(data))


JFIF = (0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")


def adobe(transform):
    return (0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def bare(data):
    """Without a word on the colours."""
    return without(data, 0xE0, 0xEE)


# The sweep ----------------------------------------------------------------------------------------------------------

APART = "0;1;2;"
PROGRESSIVE = "{dc}0: 1-5,0,2; 1: 1-63,0,1; 2: 1-63,0,1; 0: 6-63,0,2; 0: 1-63,2,1; 0,1,2: 0-0,1,0; 0: 1-63,1,0; 1: 1-63,1,0; 2: 1-63,1,0;"


def samplings():
    """Luma and chroma, horizontally or vertically, where the larger is a multiple of the smaller."""
    return [(a, b) for a, b in itertools.product(range(1, 5), repeat=2) if max(a, b) % min(a, b) == 0]


def sweep():
    draws = random.Random(15)
    for (yh, ch), (yv, cv) in itertools.product(samplings(), repeat=2):
        add_sampling([(yh, yv), (ch, cv), (ch, cv)], draws)
    for _ in range(160):
        add_sampling([(draws.randint(1, 4), draws.randint(1, 4)) for _ in range(3)], draws)


def add_sampling(factors, draws):
    text = ",".join(f"{h}x{v}" for h, v in factors)
    name = text.replace(",", "-")
    if f"apart-{name}.jpg" in FILES:
        return
    restart = ("-restart", f"{draws.randint(1, 9)}B") if draws.random() < 0.3 else ()
    fits = sum(h * v for h, v in factors) <= 10
    options = ("-sample", text, *restart)
    if fits:
        add(f"joined-{name}.jpg", cjpeg(*options))
    add(f"apart-{name}.jpg", cjpeg(*options, scans=APART))
    if fits and draws.random() < 0.4:
        add(f"two-{name}.jpg", cjpeg(*options, scans="0;1,2;"))
    dc = "0,1,2: 0-0,0,1;" if fits else "0: 0-0,0,1; 1: 0-0,0,1; 2: 0-0,0,1;"
    script = PROGRESSIVE.format(dc=dc)
    if not fits:
        script = script.replace("0,1,2: 0-0,1,0;", "0: 0-0,1,0; 1: 0-0,1,0; 2: 0-0,1,0;")
    if not fits or draws.random() < 0.5:
        add(f"progressive-{name}.jpg", cjpeg(*options, scans=script))
    else:
        add(f"progressive-{name}.jpg", cjpeg(*options, "-progressive"))


def sizes():
    shapes = [(1, 1), (2, 3), (7, 9), (8, 8), (9, 17), (16, 16), (17, 16), (33, 1), (1, 33), (64, 3), (15, 31)]
    for (width, height), text in itertools.product(shapes, ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x4"]):
        pixels = picture(width, height)
        add(f"size-{width}-{height}-{text}.jpg", cjpeg("-sample", text, pixels=pixels))
    for (width, height), text in itertools.product(shapes, ["2x1", "2x2"]):
        pixels = picture(width, height)
        add(f"size-{width}-{height}-{text}-progressive.jpg", cjpeg("-sample", text, "-progressive", pixels=pixels))


def grey():
    pixels = picture(channels=1)
    for factor in ["1x1", "2x1", "1x2", "2x2", "4x4", "3x2"]:
        add(f"grey-{factor}.jpg", cjpeg("-sample", factor, pixels=pixels))
        add(f"grey-{factor}-progressive.jpg", cjpeg("-sample", factor, "-progressive", pixels=pixels))
    add("grey-restart.jpg", cjpeg("-restart", "2B", pixels=pixels))
    add("grey-of-colour.jpg", cjpeg("-grayscale"))
    add("grey-arithmetic.jpg", cjpeg("-arithmetic", pixels=pixels))
    # One component takes the blocks that hold the picture, whatever its factors say.
    add("grey-adobe.jpg", with_first(bare(cjpeg(pixels=pixels)), adobe(1)))


def colours():
    """Three components: who decides what they mean."""
    for text in ["2x1,1x1,1x1", "2x2,1x1,1x1", "1x1,2x2,2x2", "1x2,2x1,1x1"]:
        name = text.replace(",", "-")
        add(f"colours-rgb-{name}.jpg", cjpeg("-rgb", "-sample", text))
        add(f"colours-rgb-{name}-two.jpg", cjpeg("-rgb", "-sample", text, scans="0;1,2;"))
    for kind, options in [("ycc", ("-sample", "2x2")), ("rgb", ("-rgb",))]:
        plain = bare(cjpeg(*options))
        markers = {"none": [], "jfif": [JFIF]}
        for transform in [0, 1, 2, 255]:
            markers[f"adobe{transform}"] = [adobe(transform)]
            markers[f"jfif-adobe{transform}"] = [JFIF, adobe(transform)]
        markers["adobe0-jfif"] = [adobe(0), JFIF]
        markers["short-adobe"] = [(0xEE, b"Adobe\0\x64")]
        markers["other-jfxx"] = [(0xE0, b"JFXX\0\x10"), adobe(0)]
        for name, parts in markers.items():
            add(f"colours-{kind}-{name}.jpg", with_first(plain, *parts))
        for ids in [b"RGB", b"rgb", b"\0\1\2", b"\1\2\3", b"\5\6\7", b"YCc"]:
            add(f"colours-{kind}-ids-{ids.hex()}.jpg", renamed(plain, ids))
            add(f"colours-{kind}-ids-{ids.hex()}-jfif.jpg", with_first(renamed(plain, ids), JFIF))


def renamed(data, ids):
    def frame(body):
        out = bytearray(body)
        for place, name in enumerate(ids):
            out[6 + 3 * place] = name
        return bytes(out)

    def scan(body):
        out = bytearray(body)
        for place in range(body[0]):
            out[1 + 2 * place] = ids[place]
        return bytes(out)

    return changed(changed(data, 0xC0, frame), 0xDA, scan)


def inks():
    """Four components: CMYK and YCCK by Adobe's marker, and without it."""
    image = Image.fromarray(picture(channels=4), "CMYK")
    for sampling, progressive in itertools.product([0, 1, 2], [False, True]):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=70, subsampling=sampling, progressive=progressive)
        name = f"inks-{sampling}{'-progressive' if progressive else ''}"
        plain = bare(out.getvalue())
        add(f"{name}-none.jpg", plain)
        for transform in [0, 1, 2, 77]:
            add(f"{name}-adobe{transform}.jpg", with_first(plain, adobe(transform)))
        add(f"{name}-jfif.jpg", with_first(plain, JFIF))
        add(f"{name}-jfif-adobe2.jpg", with_first(plain, JFIF, adobe(2)))
        if not progressive:
            apart = transcoded(plain, "0;1;2;3;")
            add(f"{name}-apart-adobe0.jpg", with_first(bare(apart), adobe(0)))
            add(f"{name}-apart-adobe2.jpg", with_first(bare(apart), adobe(2)))
            for scans in ["0,1;2,3;", "0,3;1,2;", "0;1,2,3;"]:
                some = transcoded(plain, scans)
                add(f"{name}-scans-{scans.translate({44: '', 59: '-'})}adobe2.jpg", with_first(bare(some), adobe(2)))
            add(f"{name}-restart-adobe2.jpg", with_first(bare(run(["jpegtran", "-restart", "2B"], plain)), adobe(2)))
            add(f"{name}-arithmetic-adobe2.jpg", with_first(bare(run(["jpegtran", "-arithmetic"], plain)), adobe(2)))


def transcoded(data, scans, *options):
    script = SCRATCH / "scans.txt"
    script.write_text(scans)
    return run(["jpegtran", *options, "-scans", str(script)], data)


def coding():
    """Tables and coders."""
    for text in ["1x1", "2x1", "2x2", "1x2", "4x2"]:
        base = ("-sample", text)
        clean = cjpeg(*base)
        add(f"tables-none-{text}.jpg", without(clean, 0xC4))
        first = [part for part in segments(clean) if part[0] == 0xC4][0]
        kept = [part for part in segments(clean) if part[0] != 0xC4 or part is not first]
        add(f"tables-some-{text}.jpg", join([p for p in kept]))
        add(f"tables-optimised-{text}.jpg", cjpeg(*base, "-optimize"))
        add(f"arithmetic-{text}.jpg", cjpeg(*base, "-arithmetic"))
        add(f"arithmetic-restart-{text}.jpg", cjpeg(*base, "-arithmetic", "-restart", "3B"))
        add(f"arithmetic-apart-{text}.jpg", cjpeg(*base, "-arithmetic", scans=APART))
        add(f"arithmetic-progressive-{text}.jpg", cjpeg(*base, "-arithmetic", "-progressive"))
        add(f"restart-rows-{text}.jpg", cjpeg(*base, "-restart", "1"))
        add(f"restart-progressive-{text}.jpg", cjpeg(*base, "-restart", "2B", "-progressive"))
        add(f"extended-{text}.jpg", clean.replace(b"\xff\xc0", b"\xff\xc1", 1))
        add(f"tables-none-progressive-{text}.jpg", without(cjpeg(*base, "-progressive"), 0xC4))
    add("quality-1.jpg", cjpeg("-quality", "1"))
    add("quality-100.jpg", cjpeg("-quality", "100", "-sample", "1x1"))
    # Only the start of a progression: libjpeg smooths between blocks.
    add("progression-dc-only.jpg", cjpeg(scans="0,1,2: 0-0,0,0;"))
    add("progression-few-scans.jpg", cjpeg(scans="0,1,2: 0-0,0,1; 0: 1-5,0,2;"))
    add("progression-no-refinement.jpg", cjpeg(scans="0,1,2: 0-0,0,1; 0: 1-63,0,2; 1: 1-63,0,1; 2: 1-63,0,1;"))


def surroundings():
    """What stands between and behind segments."""
    clean = cjpeg("-sample", "2x2")
    add("clean.jpg", clean)
    add("behind-end.jpg", clean + b"\0\0trailing \xff\xd8 bytes")
    add("comment.jpg", with_first(clean, (0xFE, b"a comment \xff\xd9 with a marker")))
    add("thumbnail.jpg", with_first(clean, (0xE1, b"Exif\0\0" + cjpeg(pixels=picture(8, 8)))))
    parts = segments(clean)
    add("fill-bytes.jpg", b"\xff\xd8" + b"".join(b"\xff\xff\xff" + join([part])[2:] for part in parts))
    add("stray-bytes.jpg", b"\xff\xd8" + b"".join(join([part])[2:] + (b"\1\2\3" if part[0] == 0xE0 else b"") for part in parts))
    apart = segments(cjpeg("-sample", "2x2", scans=APART))
    add("comments-between-scans.jpg", b"\xff\xd8" + b"".join(join([p])[2:] + (b"\xff\xfe\0\5abc" if p[0] == 0xDA else b"") for p in apart))
    add("stray-before-end.jpg", join(parts[:-1]) + b"\0\0\0\0\xff\xd9")
    add("two-pictures.jpg", clean + clean)


def refused():
    """What Pillow does not read, each by its own reason."""
    clean = cjpeg("-sample", "2x2")
    add("twelve-bits.jpg", changed(clean, 0xC0, lambda body: b"\x0c" + body[1:]).replace(b"\xff\xc0", b"\xff\xc1", 1))
    add("no-height.jpg", changed(clean, 0xC0, lambda body: body[:1] + b"\0\0" + body[3:]))
    add("two-components.jpg", two_components(cjpeg("-sample", "1x1", scans=APART)))
    fractional = changed(cjpeg("-sample", "2x1,1x1,1x1", scans=APART), 0xC0, lambda b: b[:7] + b"\x31" + b[8:10] + b"\x21" + b[11:13] + b"\x21" + b[14:])
    add("fractional.jpg", fractional)
    add("no-quantisation.jpg", without(clean, 0xDB))
    add("hierarchical.jpg", clean.replace(b"\xff\xc0", b"\xff\xc5", 1))
    pixels = picture()
    grey = picture(channels=1)[..., 0].copy()
    add("lossless.jpg", imagecodecs.jpeg8_encode(pixels, lossless=True))
    add("lossless-grey.jpg", imagecodecs.jpeg8_encode(grey, lossless=True))
    add("lossless-sixteen.jpg", imagecodecs.jpeg8_encode(grey.astype(numpy.uint16) * 99, lossless=True, bitspersample=16))
    add("lossless-four.jpg", imagecodecs.jpeg8_encode(picture(channels=4), lossless=True, colorspace="cmyk"))
    add("jpeg-ls.jpg", imagecodecs.jpegls_encode(pixels))


def two_components(data):
    parts = segments(data)
    scans = [part for part in parts if part[0] == 0xDA]
    keep = [part for part in parts if part is not scans[2]]
    body = lambda m, b: b[:5] + b"\2" + b[6:12] if m == 0xC0 else b
    return join([(m, body(m, b), coded) for m, b, coded in keep])


# Writing ------------------------------------------------------------------------------------------------------------


def described(name, data):
    # Pillow fills with grey what is missing in the first, and reads the second.
    if name in ("field-cut-with-end-marker-half.jpg", "lossless-four.jpg"):
        return f"{name} refused"
    try:
        image = Image.open(io.BytesIO(data))
        if image.format not in ("JPEG", "MPO"):
            return f"{name} refused"
        channels = 1 if image.mode == "L" else 3
        rgb = image.convert("RGB")
    except Exception as error:
        print(name, repr(error))
        return f"{name} refused"
    return f"{name} {rgb.width} {rgb.height} {channels} {zlib.crc32(rgb.tobytes()):08x}"


def field():
    """Files drawn after reports of users."""
    for path in sorted(pathlib.Path("field").glob("*.jpg")):
        add(f"field-{path.name}", path.read_bytes())


def main():
    for make in [sweep, sizes, grey, colours, inks, coding, surroundings, refused, field]:
        make()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    pathlib.Path("files.tar.gz").write_bytes(gzip.compress(out.getvalue(), 9, mtime=0))
    lines = [described(name, data) for name, data in FILES.items()]
    pathlib.Path("expected.txt").write_text("\n".join(lines) + "\n")
    print(len(FILES), "files", sum(map(len, FILES.values())), "bytes")


main()
