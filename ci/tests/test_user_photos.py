"""Photographs, masks and folders as users have them: encodings, EXIF data, names of masks and of classes."""

import os
import shutil
import struct
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from PIL import Image, ImageFilter
from test_own import mask, picture

import ifsl
from ifsl.data.images import check_mask_size, read_image
from ifsl.errors import InputError
from ifsl.pictures import fonts
from ifsl.run.folders import find_examples, looks_like_mask, read_own_mask, read_support


def refused(caught, path: Path) -> str:
    """The one sentence that a file was refused with."""
    said = str(caught.value)
    assert str(path) in said and len(said.splitlines()) == 1 and said.endswith("."), said
    return said


# Encodings ------------------------------------------------------------------------------------------------------------


RAMP = np.tile(np.linspace(0, 1, 64), (32, 1))
"""Grey from black to white."""


def brightness(path: Path) -> np.ndarray:
    return np.asarray(read_image(path).convert("L"), float) / 255


SIXTEEN = (RAMP * 65535).astype(np.uint16)
RIGHT = {
    "16 bits, PNG": (SIXTEEN, "a.png"),
    "16 bits, TIFF": (SIXTEEN, "a.tif"),
    "16 bits, other end first": (SIXTEEN.astype(">u2"), "a.tif"),
    "8 bits": ((RAMP * 255).astype(np.uint8), "a.png"),
    "8 bits in 32": ((RAMP * 255).astype(np.int32), "a.tif"),
    "8 bits in floats": ((RAMP * 255).astype(np.float32), "a.tif"),
    "8 bits, name of another kind": ((RAMP * 255).astype(np.uint8), "a.jpg"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_photograph_is_as_bright_as_it_is(kind, tmp_path):
    values, name = RIGHT[kind]
    Image.fromarray(values).save(tmp_path / name, format="TIFF" if name.endswith("tif") else "PNG")
    assert np.abs(brightness(tmp_path / name) - RAMP).max() < 0.01


UNCLEAR = {
    "12 bits in 16": (RAMP * 4095).astype(np.uint16),
    "16 bits in 32": (RAMP * 65535).astype(np.int32),
    "32 bits": (RAMP * 2**31).astype(np.int32),
    "below black": (RAMP * 200 - 100).astype(np.int32),
    "floats from 0 to 1": RAMP.astype(np.float32),
    "floats up to 1000": (RAMP * 1000).astype(np.float32),
    "floats without end": np.where(RAMP > 0.5, np.inf, 200).astype(np.float32),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_numbers_whose_white_is_not_known_are_refused(kind, tmp_path):
    Image.fromarray(UNCLEAR[kind]).save(tmp_path / "a.tif")
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / "a.tif")
    assert "convert it to JPEG or PNG with 8 bits" in refused(caught, tmp_path / "a.tif")


def tiff_of_floats() -> bytes:
    """The head of a TIFF with three channels of 32-bit floats, which Pillow does not read."""
    tags = [(256, 4, 1), (257, 4, 1), (258, 3, 32), (259, 3, 1), (262, 3, 2), (277, 3, 3), (339, 3, 3), (273, 4, 8)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(16)


NO_PICTURES = {
    "heic": (b"\0\0\0\x24ftypheic" + bytes(24), "HEIC"),
    "heix": (b"\0\0\0\x18ftypheix" + bytes(24), "HEIC"),
    "mif1": (b"\0\0\0\x1cftypmif1" + bytes(24), "HEIC"),
    "a film": (b"\0\0\0\x20ftypisom" + bytes(24), "film"),
    "JPEG XL": (b"\xff\x0a" + bytes(30), "JPEG XL"),
    "JPEG XL in a box": (b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a" + bytes(30), "JPEG XL"),
    "PDF": (b"%PDF-1.7\n", "PDF"),
    "SVG": (b'<?xml version="1.0"?>\n<svg width="9"/>', "SVG"),
    "a web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
    "zip": (b"PK\x03\x04" + bytes(30), "zip"),
    "TIFF of floats": (tiff_of_floats(), "TIFF"),
    "nothing": (b"", "no whole picture"),
}


@pytest.mark.parametrize("name", ["photo.jpg", "photo.heic"])
@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_a_file_is_instead_is_said_whatever_its_name(kind, name, tmp_path):
    content, named = NO_PICTURES[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name)
    assert named in refused(caught, tmp_path / name)


# EXIF -----------------------------------------------------------------------------------------------------------------


def turned(entries: list[tuple[int, int, int, bytes]], size: tuple[int, int] = (80, 60)) -> bytes:
    """A JPEG, red in the top left corner as it is stored, with these EXIF entries: tag, type, count, four bytes."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:30, :40, 0] = 250
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    rows = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    tiff = b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)
    exif = b"Exif\0\0" + tiff
    jpeg = file.getvalue()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


SIX = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
SPOILED = {
    "negative value": [SIX, (0x0100, 9, 1, struct.pack("<i", -5))],
    "text in a number's place": [SIX, (0x0100, 2, 4, b"abc\0")],
    "value beyond the file": [SIX, (0x010F, 2, 900, struct.pack("<I", 60_000))],
    "unknown type": [SIX, (0x0100, 77, 1, bytes(4))],
    "a rational without value": [SIX, (0x011A, 5, 1, struct.pack("<I", 4_000_000))],
    "huge count": [SIX, (0x8769, 4, 2**31, bytes(4))],
    "orientation twice": [SIX, SIX],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_exif_data_do_not_matter(kind, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(turned(SPOILED[kind]))
    image = read_image(path)
    assert image.size == (60, 80)  # upright
    red = np.asarray(image)[..., 0] > 125
    assert red[:40, 30:].mean() > 0.98 and red[40:].mean() < 0.02
    check_mask_size(path, path, (80, 60))
    check_mask_size(path, path, (60, 80))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "value", [(3, 1, struct.pack("<HH", 9, 0)), (3, 1, bytes(4)), (2, 2, b"6\0\0\0"), (7, 4, b"abcd")]
)
def test_an_orientation_that_is_none_turns_nothing(value, tmp_path):
    (tmp_path / "a.jpg").write_bytes(turned([(0x0112, *value)]))
    assert read_image(tmp_path / "a.jpg").size == (80, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_are_those_of_pillow(orientation, tmp_path):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (9, 7, 3)).astype(np.uint8)).save(
        tmp_path / "a.png", exif=exif
    )
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), np.asarray(expected))


# Masks ----------------------------------------------------------------------------------------------------------------


def disc(size: float, shape=(200, 300)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - shape[0] / 2) ** 2 + (columns - shape[1] / 3) ** 2 < (size * shape[0]) ** 2


def encoded(pixels: np.ndarray, kind: str, quality: int) -> Image.Image:
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind, quality=quality)
    return Image.open(BytesIO(file.getvalue()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("quality", [20, 50, 75, 90, 100])
@pytest.mark.parametrize("size", [0.05, 0.2, 0.45])
@pytest.mark.parametrize("colour", [(255, 255, 255), (250, 20, 30), (0, 120, 255)])
def test_a_mask_that_went_through_lossy_files_is_the_mask(kind, quality, size, colour, tmp_path):
    truth = disc(size)
    image = encoded(truth[..., None] * np.array(colour), kind, quality)
    image.convert("RGB").save(tmp_path / "a.png")
    try:
        found = read_own_mask(tmp_path / "a.png")
    except InputError:  # so few pixels that the noise is as large as the object
        assert size == 0.05 and quality <= 50 and colour != (255, 255, 255)
        return
    assert (found & truth).sum() / (found | truth).sum() > (0.9 if quality < 50 else 0.97)


EXACT = {
    "twelve objects": np.add.outer(np.zeros(90, int), np.arange(130) // 10),
    "classes and void": np.where(disc(0.3), np.where(disc(0.27), 15, 255), np.where(disc(0.4), 0, 2)),
    "two pixels": np.pad(np.full((1, 2), 255), 20),
    "lines": np.where(np.arange(99)[:, None] % 9 == 0, 255, np.zeros((99, 99), int)),
    "dim": disc(0.3) * 3,
}


@pytest.mark.parametrize("kind", EXACT)
def test_a_painted_mask_marks_all_that_is_not_black(kind, tmp_path):
    values = EXACT[kind].astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(read_own_mask(tmp_path / "a.png"), values > 0)


def test_smooth_edges_end_in_the_middle(tmp_path):
    for radius in (1, 2, 3):
        Image.fromarray(disc(0.3).astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(radius)).save(
            tmp_path / "a.png"
        )
        found = read_own_mask(tmp_path / "a.png")
        assert abs(found.sum() / disc(0.3).sum() - 1) < 0.01


def unclear(kind: str) -> Image.Image:
    if kind == "noise":
        return Image.fromarray(np.random.RandomState(0).randint(0, 255, (80, 90, 3)).astype(np.uint8))
    if kind == "heat map":
        rows, columns = np.ogrid[:200, :300]
        return Image.fromarray(np.clip(255 - ((rows - 90) ** 2 + (columns - 99) ** 2) / 40, 0, 255).astype(np.uint8))
    if kind == "lines of many shades":
        return Image.fromarray((np.arange(99)[:, None] % 5 * 50 * np.ones((1, 99))).astype(np.uint8))
    if kind == "a dark and a light object in JPEG":
        return encoded(np.where(disc(0.3), 255, 0) + np.flip(np.where(disc(0.15), 110, 0), 1), "JPEG", 80)
    if kind == "a very dark and a light object in JPEG":
        return encoded(np.where(disc(0.3), 255, 0) + np.flip(np.where(disc(0.15), 30, 0), 1), "JPEG", 80)
    return picture("red").convert("L").filter(ImageFilter.GaussianBlur(9))


@pytest.mark.parametrize(
    "kind",
    ["noise", "heat map", "lines of many shades", "a dark and a light object in JPEG", "blurred picture"]
    + ["a very dark and a light object in JPEG"],
)
def test_a_mask_that_does_not_say_what_it_marks_is_refused(kind, tmp_path):
    unclear(kind).save(tmp_path / "a.png")
    with pytest.raises(InputError) as caught:
        read_own_mask(tmp_path / "a.png")
    refused(caught, tmp_path / "a.png")


def example(home: Path, name: str, kind: str = "picture") -> Path:
    home.mkdir(parents=True, exist_ok=True)
    image = {"picture": lambda: picture("red"), "mask": mask}[kind]()
    image.save(
        home / name, format="TIFF" if name.endswith("tif") else None, **({} if "png" in name else {"quality": 90})
    )
    return home / name


MASK_NAMES = [
    ("a.jpg", "a.png"),
    ("a.jpg", "A.PNG"),
    ("a.jpg", "a_mask.png"),
    ("a.jpg", "a_mask.jpg"),
    ("a.jpg", "a-mask.png"),
    ("a.jpg", "a_label.png"),
    ("a.jpg", "a_Mask.png"),
    ("a.jpg", "a_mask.tif"),
    ("a.jpg", "a.mask.png"),
    ("a.jpg", "a mask.png"),
    ("a.jpg", "a (mask).png"),
    ("a.jpg", "aMask.png"),
    ("a.jpg", "a_masks.bmp"),
    ("a.jpg", "a_seg.png"),
    ("a.jpg", "a_gt.png"),
    ("a.jpg", "a_segmentation.png"),
    ("a.jpg", "a_mask1.png"),
    ("a.jpg", "mask_a.png"),
    ("a.jpg", "a.jpg.png"),
    ("a.jpg", "a.jpg_mask.png"),
    ("IMG_1.JPG", "img_1.png"),
    ("u\u0308.jpg", "\u00fc_mask.png"),
    ("a.png", "a_mask.jpg"),
    ("照片 1.jpg", "照片 1-mask.png"),
]


@pytest.mark.parametrize(("photo", "its_mask"), MASK_NAMES)
def test_a_mask_is_known_by_its_name(photo, its_mask, tmp_path):
    home = tmp_path / "mine" / "disc"
    pair = example(home, photo), example(home, its_mask, "mask")
    example(home, "b.jpg")
    example(home, "b.png", "mask")
    assert find_examples(home)[0 if photo < "b" else 1] == pair
    support = read_support(tmp_path / "mine", 64)
    assert support.masks is not None and support.pictures[0][0 if photo < "b" else 1] == pair[0]


@pytest.mark.parametrize(
    "name", ["a_m.png", "object.png", "a_2.bmp", "zz.jpg", "alpha of a.png", "b_mask.jpg", "b-label.png"]
)
def test_a_mask_of_another_name_is_no_example(name, tmp_path):
    home = tmp_path / "mine" / "disc"
    example(home, "a.jpg")
    path = example(home, name, "mask")
    with pytest.raises(InputError) as caught:
        read_support(tmp_path / "mine", 64)
    assert "looks like a mask" in refused(caught, path)


@pytest.mark.parametrize(
    "names", [["gas-mask.jpg", "mask.jpg"], ["label.jpg", "a label 3.png"], ["1.jpg", "10.jpg"], ["gt.jpg"]]
)
def test_pictures_with_such_names_stay_pictures(names, tmp_path):
    for name in names:
        example(tmp_path / "mask", name)
    assert [path.name for path, its_mask in find_examples(tmp_path / "mask") if its_mask is None] == sorted(names)


def test_drawings_in_black_and_white_are_pictures(tmp_path):
    for name in ("1.png", "2.png", "10.png"):
        example(tmp_path / "letters", name, "mask")
    assert len(find_examples(tmp_path / "letters")) == 3


def test_photographs_do_not_look_like_masks(tiny_root):
    photographs = sorted((tiny_root / "VOC2012" / "JPEGImages").iterdir())[:100]
    assert not any(looks_like_mask(path) for path in photographs)


# Class names ----------------------------------------------------------------------------------------------------------

NAMES = ["茶杯", "鸟", "قطة", "बिल्ली", "кошка", "γάτα", "猫🐈", "chat à l'œil", "कुत्\u200dता"]


@pytest.fixture
def named(tmp_path):
    """A folder of examples with class names in many scripts."""
    for name in NAMES:
        example(tmp_path / "mine" / name, "a.jpg")
        example(tmp_path / "mine" / name, "a.png", "mask")
    example(tmp_path, "photo.jpg")
    return tmp_path / "mine"


@pytest.fixture
def no_fonts(monkeypatch):
    """A computer with Matplotlib's own fonts alone."""
    for cached in (fonts.find_fonts, fonts.replace_strange, fonts.installed_fonts):
        cached.cache_clear()
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", list)
    yield
    for cached in (fonts.find_fonts, fonts.replace_strange, fonts.installed_fonts):
        cached.cache_clear()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ifsl.build_model("panet", "efficientnet_lite0", pretrained=False)
    model.image_size = 64
    return model


def test_names_in_any_script_are_drawn_or_replaced_with_a_word(named, model, no_fonts):
    found = ifsl.predict_folder(model, named, named.parent / "photo.jpg")
    assert set(found.presence) == set(NAMES)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure = ifsl.show(found)
        figure.encode()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert not [w for w in said if "Glyph" in str(w.message)]
    assert "кошка" in texts and "γάτα" in texts and "chat à l'œil" in texts  # the usual font has them
    assert "茶杯" not in texts and any("'茶杯'" in str(w.message) and "Noto" in str(w.message) for w in said)
    assert sum("No font" in str(w.message) for w in said) <= len(NAMES)


def test_an_installed_font_is_found(no_fonts, tmp_path, monkeypatch):
    build = FontBuilder(1000, isTTF=True)
    build.setupGlyphOrder([".notdef", "tea", "cup"])
    build.setupCharacterMap({ord("茶"): "tea", ord("杯"): "cup"})
    build.setupGlyf(dict.fromkeys((".notdef", "tea", "cup"), Glyph()))
    build.setupHorizontalMetrics(dict.fromkeys((".notdef", "tea", "cup"), (500, 0)))
    build.setupHorizontalHeader(ascent=800, descent=-200)
    build.setupNameTable({"familyName": "Tea Cups", "styleName": "Regular"})
    build.setupOS2()
    build.setupPost()
    build.save(tmp_path / "tea.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    files = [str(tmp_path / "broken.ttf"), str(tmp_path / "tea.ttf")]
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: files)
    assert fonts.find_fonts("茶杯")[-1] == "Tea Cups" and fonts.replace_strange("茶杯", "class 1") == "茶杯"
    with pytest.warns(UserWarning, match="茶鸟"):
        assert fonts.replace_strange("茶鸟: yes", "class 1") == "茶class 1: yes"


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff", b"a\nb", b"\xb2\xe8\xb1\xad", b"tab\t"])
def test_a_folder_name_that_is_no_text_is_refused(name, named, model):
    os.rename(named / "鸟", os.fsencode(named) + b"/" + name)
    with pytest.raises(InputError) as caught:
        ifsl.predict_folder(model, named, named.parent / "photo.jpg")
    said = str(caught.value)
    assert "rename it" in said and repr(os.fsdecode(name)) in said and said.encode()
    shutil.rmtree(os.fsencode(named) + b"/" + name)
