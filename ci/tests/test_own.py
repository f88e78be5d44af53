"""Bring your own: folders of examples, as people make them, to a prediction."""

import numpy as np
import pytest
import torch
from PIL import Image

import ifsl
from ifsl.errors import InputError
from ifsl.run import folders as own

SIZE = 96


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ifsl.build_model("panet", "efficientnet_lite0", pretrained=False)
    model.image_size = SIZE
    return model


def picture(colour: str, shape: tuple[int, int] = (60, 80)) -> Image.Image:
    """A disc of a colour on grey."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    disc = (rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2 < (min(shape) / 3) ** 2
    pixels = np.full((*shape, 3), 128, np.uint8)
    pixels[disc] = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    return Image.fromarray(pixels)


def mask(shape: tuple[int, int] = (60, 80)) -> Image.Image:
    return Image.fromarray((np.asarray(picture("red", shape))[..., 0] == 255).astype(np.uint8) * 255)


@pytest.fixture
def folder(tmp_path):
    """Three red and two blue discs with masks, in different sizes, and a photo to ask about."""
    for name, colour, count in (("red disc", "red", 3), ("blue disc", "blue", 2)):
        home = tmp_path / "mine" / name
        home.mkdir(parents=True)
        for i in range(count):
            shape = (60 + 10 * i, 80)
            picture(colour, shape).save(home / f"{i}.jpg", quality=95)
            mask(shape).save(home / f"{i}.png")
    picture("red", (50, 90)).save(tmp_path / "photo.jpg")
    return tmp_path / "mine"


def test_a_prediction_in_three_lines(model, folder):
    found = ifsl.predict_folder(model, folder, folder.parent / "photo.jpg")
    assert list(found.presence) == ["blue disc", "red disc"] == found.support.class_names
    assert all(type(flag) is bool for flag in found.presence.values())
    assert found.segmentation.shape == (50, 90) == found.photo.shape[:2] and found.segmentation.max() <= 2
    assert found.support.supports.shape == (2, 2, 3, SIZE, SIZE) and found.support.masks.shape == (2, 2, SIZE, SIZE)
    assert [path.name for path in found.support.pictures[1]] == ["0.jpg", "1.jpg"]
    kind, data = ifsl.show(found).encode()
    assert kind == "jpeg" and len(data) > 10_000


def test_it_is_the_prediction_of_the_same_tensors(model, folder):
    found = ifsl.predict_folder(model, folder, folder.parent / "photo.jpg", shot=1)
    one, masks = found.support, found.support.masks
    photo = own.to_tensor(own.read_image(folder.parent / "photo.jpg"), SIZE)
    presence, (segmentation,) = model.eval().predict(photo[None], one.supports[None], masks[None], [(50, 90)])
    assert presence[0].tolist() == list(found.presence.values())
    assert np.array_equal(segmentation.numpy(), found.segmentation)
    red = Image.open(folder / "red disc" / "0.jpg")
    assert torch.equal(one.supports[1, 0], own.to_tensor(red, SIZE))
    small = np.asarray(mask())[np.arange(SIZE)[:, None] * 60 // SIZE, np.arange(SIZE) * 80 // SIZE] > 0
    assert np.array_equal(masks[1, 0].numpy() > 0, small)


def test_the_learner_is_left_as_it_was(model, folder):
    model.train()
    before = [value.clone() for value in model.state_dict().values()]
    ifsl.predict_folder(model, folder, folder.parent / "photo.jpg", shot=1)
    assert model.training and all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    model.eval()


def test_class_tags_alone(folder):
    torch.manual_seed(0)
    asnet = ifsl.build_model("asnet", "efficientnet_lite0", pretrained=False)
    photo = folder.parent / "photo.jpg"
    tags = own.read_support(folder, 64, weak=True)
    assert tags.masks is None and tags.supports.shape == (2, 2, 3, 64, 64)
    for path in folder.rglob("*.png"):
        path.unlink()
    found = ifsl.predict_folder(asnet, folder, photo, shot=1)
    assert found.support.masks is None and found.segmentation.shape == (50, 90)
    assert ifsl.show(found).encode()[0] == "jpeg"


def test_masks_of_every_kind_are_the_same(tmp_path):
    truth = np.asarray(mask()) > 0
    palette = Image.fromarray(truth.astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    clear = Image.fromarray(np.dstack([np.full(truth.shape, 200, np.uint8)] * 3 + [truth.astype(np.uint8) * 255]))
    kinds = {
        "grey": mask(),
        "ones": Image.fromarray(truth.astype(np.uint8)),
        "bilevel": Image.fromarray(truth),
        "palette": palette,
        "coloured": Image.fromarray(np.where(truth[..., None], (0, 0, 250), (0, 0, 0)).astype(np.uint8)),
        "transparent": clear,
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
        assert np.array_equal(own.read_own_mask(tmp_path / f"{name}.png"), truth), name


def test_names_of_masks(folder):
    home = folder / "red disc"
    for i in range(3):
        (home / f"{i}.png").rename(home / f"{i}_mask.png")
    (home / "0.jpg").unlink()
    picture("red").save(home / "0.PNG")  # a picture that is itself a .png
    (home / ".DS_Store").write_bytes(b"")
    (home / "Thumbs.db").write_bytes(b"")
    found = own.find_examples(home)
    assert [(path.name, mask.name) for path, mask in found] == [
        ("0.PNG", "0_mask.png"), ("1.jpg", "1_mask.png"), ("2.jpg", "2_mask.png"),
    ]  # fmt: skip


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_a_photo_that_the_camera_turned(tmp_path, orientation, upright):
    """Masks are painted on what one sees, the upright picture; of another size, they may fit the stored pixels."""
    stored = np.zeros((60, 80, 3), np.uint8)
    stored[:30, :30] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95)
    seen = np.asarray(own.read_image(tmp_path / "a.jpg"))
    base = seen if upright or orientation == 3 else stored  # 3: upside down, the size does not tell
    Image.fromarray((base[..., 0] > 100).astype(np.uint8)).save(tmp_path / "a.png")
    image, found = own.read_example(tmp_path / "a.jpg", tmp_path / "a.png", 64)
    red = image[0] > image[1] + 1
    assert (red == (found > 0)).float().mean() > 0.97


def test_at_most_five_shots_unless_asked(tmp_path):
    for i in range(7):
        (tmp_path / "c").mkdir(exist_ok=True)
        picture("red").save(tmp_path / "c" / f"{i}.jpg")
    assert own.read_support(tmp_path, 32).supports.shape[:2] == (1, 5)
    assert own.read_support(tmp_path, 32, shot=7).supports.shape[:2] == (1, 7)


def spoil(kind, folder):
    home = folder / "red disc"
    if kind == "no folder":
        return {"support_folder": folder / "nowhere"}
    if kind == "a file":
        return {"support_folder": folder.parent / "photo.jpg"}
    if kind == "no classes":
        return {"support_folder": home}
    if kind == "photo among the examples":
        return {"query_path": home / "1.jpg"}
    if kind == "no photo":
        return {"query_path": folder.parent / "none.jpg"}
    if kind == "photo is a folder":
        return {"query_path": folder}
    if kind == "photo is nothing":
        return {"query_path": None}
    if kind == "too many shots":
        return {"shot": 3}
    if kind.startswith("shot "):
        return {"shot": {"shot 0": 0, "shot two": "two", "shot 1.5": 1.5, "shot True": True}[kind]}
    if kind == "model":
        return {"model": "asnet"}
    if kind == "empty class":
        (folder / "third").mkdir()
    elif kind == "note":
        (home / "notes.txt").write_text("mine")
    elif kind == "heic":
        (home / "3.heic").write_bytes(b"x")
    elif kind == "deeper":
        (home / "more").mkdir()
    elif kind == "no mask":
        (home / "1.png").unlink()
    elif kind == "tags for a learner of masks":
        for path in folder.rglob("*.png"):
            path.unlink()
    elif kind == "mask without picture":
        mask().save(home / "9_mask.png")
    elif kind == "two masks":
        mask().save(home / "1_mask.png")
    elif kind == "namesake":
        picture("red").save(home / "1.jpeg")
    elif kind == "mask of another size":
        mask((20, 30)).save(home / "1.png")
    elif kind == "empty mask":
        Image.new("L", (80, 70)).save(home / "1.png")
    elif kind == "full mask":
        Image.new("L", (80, 70), 255).save(home / "1.png")
    elif kind == "photograph as mask":
        noise = np.random.RandomState(0).randint(0, 255, (70, 80, 3))
        Image.fromarray(noise.astype(np.uint8)).save(home / "1.png")
    elif kind == "tiny object":
        pixels = np.zeros((700, 800), np.uint8)
        pixels[1, 1] = 255
        picture("red", (700, 800)).save(home / "1.jpg")
        Image.fromarray(pixels).save(home / "1.png")
    elif kind == "truncated picture":
        (home / "1.jpg").write_bytes((home / "1.jpg").read_bytes()[:300])
    elif kind == "broken mask":
        (home / "1.png").write_bytes(b"no picture")
    return {}


@pytest.mark.parametrize(
    "kind, word",
    [
        ("no folder", "There is no folder"),
        ("a file", "There is no folder"),
        ("no classes", "no sub-folders"),
        ("photo among the examples", "one of the examples"),
        ("no photo", "none.jpg is missing; give the path of your photo"),
        ("photo is a folder", "is a folder; give one photo"),
        ("photo is nothing", "query_path is a NoneType"),
        ("too many shots", "blue disc has 2 pictures, too few for 3"),
        ("shot 0", "shot is 0"),
        ("shot two", "shot is 'two'"),
        ("shot 1.5", "shot is 1.5"),
        ("shot True", "shot is True"),
        ("model", "model is a str"),
        ("empty class", "third has no pictures"),
        ("note", "notes.txt is no picture"),
        ("heic", "3.heic is no picture"),
        ("deeper", "more is no picture"),
        ("no mask", "1.jpg has no mask"),
        ("tags for a learner of masks", "mine: "),
        ("mask without picture", "9_mask.png is a mask without a picture"),
        ("two masks", "1.*masks of one picture"),
        ("namesake", "namesake"),
        ("mask of another size", "1.png is 30 x 20 pixels"),
        ("empty mask", "1.png marks nothing"),
        ("full mask", "1.png marks everything"),
        ("photograph as mask", "1.png stands where a mask does"),
        ("tiny object", "1.png marks too little"),
        ("truncated picture", "1.jpg is no whole picture"),
        ("broken mask", "1.png is no whole picture"),
    ],
)
def test_what_cannot_be_used_is_named(model, folder, kind, word):
    arguments = {"model": model, "support_folder": folder, "query_path": folder.parent / "photo.jpg"}
    with pytest.raises(InputError, match=word) as caught:
        ifsl.predict_folder(**arguments | spoil(kind, folder))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("place", ["", "red disc", "red disc/1.jpg", "red disc/1.png", "../photo.jpg", ".."])
def test_what_may_not_be_read_is_not_called_missing(place, model, folder, close):
    close((folder / place).resolve())
    with pytest.raises(InputError, match="cannot be read .Permission denied") as caught:
        ifsl.predict_folder(model, folder, folder.parent / "photo.jpg")
    assert str(caught.value).startswith(str((folder / place).resolve())) and "missing" not in str(caught.value)
