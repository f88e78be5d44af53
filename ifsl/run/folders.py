"""Your own images: from a folder of examples and any photo to a prediction (chapter 14).

    animals/                one sub-folder for each class, named as the class is called
        heron/  a.jpg  a.png  b.jpg  b.png        a mask beside each picture: the same name and .png,
        otter/  1.png  1_mask.png                 or, for a picture that is itself a .png, <name>_mask.png

In a mask the object has any colour and the rest is black. Names such as 1-mask.tif or mask_1.png will do. If there are
no masks, learners that can work from class tags alone do so.

Letters: N ways (classes), K shots (examples of each), S image side, H W picture size.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.images import open_image, read_image, resize_nearest, to_tensor
from ..errors import InputError, count, is_text, reading
from ..learners.learner import Learner
from ..tasks import check_shot
from .devices import memory_errors

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
NOT_OURS = ("thumbs.db", "desktop.ini")  # Windows leaves these in folders; names that begin with a dot are skipped too
MOST_SHOTS = 5  # unless you ask for more
WORDS = r"(masks?|labels?|seg|segm|segmentation|gt|ground[-_ ]?truth|annotation|matte)"
MASK_NAMES = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (rf"(?P<owner>.+?)[-_. ]*\(?{WORDS}\)?\d*", rf"{WORDS}[-_. ]+(?P<owner>.+)")
)
"""Names of masks: the name of the picture with a word for mask after it or before it."""
LOOK = 128  # pixels a side, to see whether an image looks like a mask

# A mask as it was painted has few colours, and each fills some square of 2 x 2 pixels.
CLEAN = 0.7  # the least share of a mask's colours that fill such a square
MASK_COLOURS = 1 << 14  # the most colours of a mask; a file with more is a photograph
FLAT = 0.3  # the least share of a mask's pixels that are in such squares
BETWEEN = 0.2  # the most pixels of an unclear brightness, as a share of those marked
NOISE, DARKER = 8, 0.03  # squares brighter than NOISE and darker than the object: the most, as a share of those marked


@dataclass(frozen=True)
class Support:
    """A support set of N classes with K examples each.

    class_names: N names; pictures: N lists of K paths; supports: (N, K, 3, S, S) normalised images; masks: (N, K, S, S)
    float of 0 and 1, or None if there are class tags alone.
    """

    class_names: list[str]
    pictures: list[list[Path]]
    supports: Tensor
    masks: Tensor | None


@dataclass(frozen=True)
class Prediction:
    """What a learner predicts for a photo; `ifsl.show` draws it.

    presence: {class name: whether the photo shows it}; segmentation: (H, W) uint8, 0 background, n for the n-th class;
    photo: (H, W, 3) uint8, upright; support: the examples that it was compared with.
    """

    presence: dict[str, bool]
    segmentation: np.ndarray
    photo: np.ndarray
    support: Support


def predict_folder(
    model: Learner, support_folder: str | Path, query_path: str | Path, shot: int | None = None, weak: bool = False
) -> Prediction:
    """Predict which of a folder's classes a photo shows, and where.

    support_folder: one sub-folder for each class, with pictures and masks as the head of this module shows; query_path:
    any photo that is not among the examples; shot: how many examples of each class to use, the first by name (default:
    as many as every class has, 5 at most); weak: ignore the masks. Raises `InputError` for folders and files that
    cannot be used.
    """
    if not isinstance(model, Learner):
        raise InputError(f"model is a {type(model).__name__}; give what ifsl.load_model or ifsl.build_model returns.")
    for name, path in (("support_folder", support_folder), ("query_path", query_path)):
        if not isinstance(path, str | Path):
            raise InputError(f"{name} is a {type(path).__name__}; give a path.")
    with reading(query_path):
        if not Path(query_path).exists():
            raise InputError(f"{query_path} is missing; give the path of your photo.")
        if Path(query_path).is_dir():
            raise InputError(f"{query_path} is a folder; give one photo, and call predict_folder for each.")
    photo = read_image(query_path)
    support = read_support(support_folder, model.image_size, shot, weak)
    if any(path.samefile(query_path) for paths in support.pictures for path in paths):
        raise InputError(f"{query_path} is one of the examples; ask about another photo.")
    if support.masks is None and model.needs_masks:
        raise InputError(f"{support_folder}: {model.needs_masks}")
    device = next(model.parameters()).device
    masks = None if support.masks is None else support.masks[None].to(device)
    query = to_tensor(photo, model.image_size)[None]
    training = model.training
    model.eval()
    try:
        with memory_errors("predicting", shot=support.supports.shape[1]):
            (presence,), (segmentation,) = model.predict(
                query.to(device), support.supports[None].to(device), masks, [(photo.height, photo.width)]
            )
    finally:
        model.train(training)
    found = dict(zip(support.class_names, presence.tolist(), strict=True))
    return Prediction(found, segmentation.cpu().numpy(), np.asarray(photo), support)


def read_support(folder: str | Path, size: int, shot: int | None = None, weak: bool = False) -> Support:
    """The support set in a folder, its images resized to `size` x `size` pixels; see `predict_folder`."""
    folder = Path(folder)
    with reading(folder):
        examples = {home.name: find_examples(home) for home in find_classes(folder)}
    fewest = min(examples, key=lambda name: len(examples[name]))
    if shot is None:
        shot = min(len(examples[fewest]), MOST_SHOTS)
    check_shot(shot)
    if len(examples[fewest]) < shot:
        there, wanted = count(len(examples[fewest]), "picture"), count(shot, "shot")
        raise InputError(f"{folder / fewest} has {there}, too few for {wanted}; add some or lower shot.")
    used = [pairs[:shot] for pairs in examples.values()]
    flat = [pair for pairs in used for pair in pairs]
    strong = not weak and any(mask is not None for _, mask in flat)
    if strong:
        lonely = next((path for path, mask in flat if mask is None), None)
        if lonely is not None:
            raise InputError(f"{lonely} has no mask, others have; add {lonely.stem}_mask.png or set weak to True.")
    pairs = [read_example(path, mask if strong else None, size) for path, mask in flat]
    shape = (len(used), shot)
    return Support(
        class_names=list(examples),
        pictures=[[path for path, _ in pairs] for pairs in used],
        supports=torch.stack([image for image, _ in pairs]).unflatten(0, shape),
        masks=torch.stack([mask for _, mask in pairs]).unflatten(0, shape) if strong else None,
    )


def find_classes(folder: Path) -> list[Path]:
    """The sub-folders of a folder, one for each class, by name."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give one that holds a sub-folder for each class.")
    homes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not homes:
        raise InputError(f"{folder} has no sub-folders; make one for each class and put its pictures there.")
    for home in homes:
        if not is_text(home.name):
            raise InputError(f"The name of the sub-folder {home.name!r} cannot be written as text; rename it.")
    return homes


def find_examples(home: Path) -> list[tuple[Path, Path | None]]:
    """The pictures in a class's folder, by name, each with its mask or None. Raises `InputError` for anything else."""
    files = sorted(p for p in home.iterdir() if not p.name.startswith(".") and p.name.lower() not in NOT_OURS)
    for path in files:
        if not path.is_file() or path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path} is no picture ({' '.join(SUFFIXES)}); convert it or move it elsewhere.")
    masks: dict[str, Path] = {}
    for path in files:
        owner = find_owner(path, files)
        if owner is None:
            continue
        if owner in masks:
            raise InputError(f"{path} and {masks[owner].name} are masks of one picture; remove one of them.")
        masks[owner] = path
    pictures = [path for path in files if path not in masks.values()]
    stems = [plain(path.stem) for path in pictures]
    for stem, mask in masks.items():
        if stem not in stems:
            raise InputError(f"{mask} is a mask without a picture; put {stem}.jpg beside it or remove it.")
    for path, stem in zip(pictures, stems, strict=True):
        if stems.count(stem) > 1:
            raise InputError(f"{path} has a namesake of another kind beside it; rename one of them.")
    if not pictures:
        raise InputError(f"{home} has no pictures; put some there, or remove the folder.")
    if not masks:
        refuse_strange_masks(pictures)
    return [(path, masks.get(stem)) for path, stem in zip(pictures, stems, strict=True)]


def find_owner(path: Path, files: list[Path]) -> str | None:
    """The plain stem of the picture that a file is the mask of, by its name; None if it is a picture itself."""
    others = {plain(other.stem): other for other in files if other != path}
    stem = plain(path.stem)
    if path.suffix.lower() == ".png" and stem in {plain(p.stem) for p in files if p.suffix.lower() != ".png"}:
        return stem
    owners = [plain(match["owner"]) for form in MASK_NAMES if (match := form.fullmatch(path.stem))]
    owners += [plain(Path(owner).stem) for owner in (*owners, stem) if owner.endswith(SUFFIXES)]  # a.jpg_mask.png
    for owner in owners:
        if owner in others:
            return owner
    return owners[0] if owners and path.suffix.lower() == ".png" and stem.endswith("_mask") else None


def plain(stem: str) -> str:
    """A file's stem in the form in which stems are compared: one form of Unicode, small letters."""
    return unicodedata.normalize("NFC", stem).casefold()


def refuse_strange_masks(pictures: list[Path]) -> None:
    """Raise `InputError` if some of the pictures, but not all, look like masks: no name said that they are."""
    strange = [path for path in pictures if looks_like_mask(path)]
    if strange and len(strange) < len(pictures):
        example = next(path for path in pictures if path not in strange)
        raise InputError(
            f"{strange[0]} looks like a mask, but its name is not that of a picture and `_mask`; call it "
            f"{example.stem}_mask.png if it belongs to {example.name}, or move it elsewhere."
        )


def looks_like_mask(path: Path) -> bool:
    """Whether an image is black and white and hardly anything between; it is looked at in a small size."""
    with open_image(path, load=False) as image:
        image.draft("L", (LOOK, LOOK))  # a JPEG file is decoded at an eighth of its size
        try:
            small = image.convert("L").resize((LOOK, LOOK), Image.Resampling.NEAREST)
        except Exception:  # reading it in earnest will say what is wrong with it
            return False
    shares = np.histogram(np.asarray(small), [0, 40, 216, 256])[0] / LOOK**2
    return shares[1] < 0.03 and min(shares[0], shares[2]) > 0.002


def read_example(path: Path, mask_path: Path | None, size: int) -> tuple[Tensor, Tensor | None]:
    """A support image (3, S, S) and its binary mask (S, S), None where it has none.

    A mask may have the size of the upright picture or, if it does not, of the picture as the camera stored it.
    """
    picture = read_image(path)
    if mask_path is None:
        return to_tensor(picture, size), None
    mask = read_own_mask(mask_path)
    if mask.shape != (picture.height, picture.width):
        picture = read_image(path, stored=mask.shape)
    if mask.shape != (picture.height, picture.width):
        raise InputError(
            f"{mask_path} is {mask.shape[1]} x {mask.shape[0]} pixels, its picture {path.name} {picture.width} x "
            f"{picture.height}; make the mask of the same size."
        )
    small = resize_nearest(mask.astype(np.uint8), size)
    if not small.any():
        raise InputError(f"{mask_path} marks too little to be seen at {size} x {size} pixels; mark a larger object.")
    return to_tensor(picture, size), torch.from_numpy(small.astype(np.float32))


def read_own_mask(path: Path) -> np.ndarray:
    """Where a mask is not black and not transparent: (H, W) bool, the same for grey, coloured and palette files.

    A mask that was saved as JPEG, or that has smooth edges, has shades between black and the object. There, what has
    less than half of the object's brightness is not marked. Raises `InputError` where that does not decide it.
    """
    with open_image(path) as image:
        seen = np.asarray(image.convert("RGBA"))
    shown = seen[..., 3] > 0
    colours = (seen[..., :3] @ np.array([1 << 16, 1 << 8, 1], np.int32)) * shown
    flat = in_one_colour(colours)
    kinds = np.unique(colours)
    mask = colours > 0
    if len(kinds) > 3 and len(np.unique(colours[flat])) < CLEAN * len(kinds):
        brightness = seen[..., :3].max(axis=2).astype(np.int32) * seen[..., 3] // 255
        if flat.mean() < FLAT or len(kinds) > MASK_COLOURS:
            raise InputError(f"{path} stands where a mask does but is a photograph; rename it, or paint a mask.")
        typical = np.median(brightness[brightness >= brightness.max() / 2])
        mask = brightness >= typical / 2
        between = (brightness > typical / 4) & (brightness < typical * 3 / 4)
        darker = flat & (brightness > NOISE) & (brightness < typical * 3 / 4)  # perhaps an object of another colour
        if between.sum() > BETWEEN * mask.sum() or darker.sum() > DARKER * mask.sum():
            raise InputError(
                f"{path} has many shades between black and the object, so its edge is not known; paint the object "
                "white and the rest black, and save it as PNG."
            )
    if mask.all() or not mask.any():
        what = "everything" if mask.any() else "nothing"
        raise InputError(f"{path} marks {what}; paint the object white and the rest black.")
    return mask


def in_one_colour(colours: np.ndarray) -> np.ndarray:
    """Which pixels (H, W) are in a square of 2 x 2 of one colour: painted areas are, noise and edges are not."""
    left, right = colours[:, :-1], colours[:, 1:]
    squares = (left[:-1] == right[:-1]) & (left[:-1] == left[1:]) & (left[:-1] == right[1:])
    flat = np.zeros(colours.shape, bool)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            flat[rows, columns] |= squares
    return flat
