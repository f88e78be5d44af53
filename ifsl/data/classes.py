"""Pascal-5i and COCO-20i: their classes, their folds, and which classes a fold tests (chapter 02).

Source: Shaban et al., *One-Shot Learning for Semantic Segmentation*, BMVC 2017 (Pascal-5i); Nguyen & Todorovic,
*Feature Weighting and Boosting for Few-Shot Segmentation*, ICCV 2019 (COCO-20i).
"""

FOLDS = 4
SPLITS = ("trn", "val")
CLASSES = {"pascal": 20, "coco": 80}

# fmt: off
PASCAL_NAMES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
COCO_NAMES = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
]
# fmt: on


def fold_classes(name: str, fold: int, split: str) -> list[int]:
    """Ascending ids of the classes that fold `fold` trains on ("trn") or tests on ("val").

    name: "pascal" or "coco". Pascal-5i tests five neighbours, 5f + 1 … 5f + 5. COCO-20i tests every fourth class,
    f + 1, f + 5, f + 9 …
    """
    every = range(1, CLASSES[name] + 1)
    test = [c for c in every if ((c - 1) // 5 if name == "pascal" else (c - 1) % FOLDS) == fold]
    return test if split == "val" else [c for c in every if c not in test]
