"""Training a learner: Lightning module, trainer settings, checkpoints, exact resuming (chapters 11 and 13).

What Lightning does is not done here: devices, precision, several processes, the loop, loggers. Here is what is ours:
the recipe, the data of a step, which state a checkpoint holds and when it is written.

A step is a function of the seed and its number. Its episodes are addressed by number, and the random numbers of dropout
are seeded by number; so a run that was killed goes on from its last checkpoint as if nothing had happened.

Source: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*, CVPR 2022 (the recipe).

Letters: B episodes, N ways, K shots, S image side.
"""

import csv
import json
import logging
import os
import signal
import threading
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data.benchmarks import Benchmark
from ..data.episodes import EpochSampler, TestEpisodes, TrainEpisodes, collate, loader
from ..errors import InputError, shown
from ..learners import build_model
from ..learners.learner import Features, Learner
from ..learners.maps import Maps, segment, strong_loss, weak_loss
from .checkpoints import trained_state
from .evaluation import replace_text
from .metrics import ExactRatio, MeanIoU
from .settings import PRECISIONS, Settings, check_folder, first_process

LOG_EVERY = 10
"""Steps between two rows of metrics.csv."""

FIXED = (
    *("method", "benchmark", "fold", "backbone", "pretrained", "width", "size", "way", "shot", "seed", "lr", "decay"),
    *("weak", "fss", "void_ignore", "val_episodes"),
)
"""Settings that a resumed run shares with the run it goes on from, beside the number of episodes a step."""


def train(settings: Settings, resume: bool = False) -> Path:
    """Train as `settings` say, and return the log folder.

    The folder then holds best_model.ckpt, the best by validation mIoU (weak: ER), last.ckpt, metrics.csv (step, loss,
    val_er, val_miou), settings.json and TensorBoard's files. resume: go on from last.ckpt; what comes out is what an
    undisturbed run would have given. What a resumed run finds to be better is written as best_model-v1.ckpt, then -v2
    …: the highest version is the best. Raises `InputError` for what cannot be read, drawn or written, and
    `KeyboardInterrupt` when it was interrupted; the last checkpoint is whole then.
    """
    folder, last = settings.folder, settings.folder / "last.ckpt"
    if first_process():
        check_folder(folder, resume)
    *_, processes = where(settings)
    if resume and last.is_file():
        check_same(settings, last, processes)
    root = {"root": settings.datapath, "fold": settings.fold, "lists": settings.lists}
    trn, val = (Benchmark(settings.benchmark, split=split, **root) for split in ("trn", "val"))
    trn.check_layout()

    torch.manual_seed(settings.seed)  # the initial weights
    options = {} if settings.width is None else {"width": settings.width}
    learner = build_model(settings.method, settings.backbone, settings.pretrained, **options)
    if settings.weak and learner.needs_masks:
        raise InputError(learner.needs_masks)
    if settings.size is not None:
        learner.image_size = settings.size
    module = Training(learner, settings, trn, val)
    trainer = build_trainer(settings, len(trn))
    if first_process():
        replace_text(folder / "settings.json", json.dumps(settings.plain(), indent=1) + "\n")
    with quiet(), interrupts(module), writing(folder):
        trainer.fit(module, ckpt_path=last if resume and last.is_file() else None)
    return folder


# The module -----------------------------------------------------------------------------------------------------------


class Training(lightning.LightningModule):
    """A learner with its losses, metrics, optimiser and data; `settings` say which.

    Raises `InputError` for what cannot be drawn, and, having tried one episode, for what cannot be read or compared.
    """

    def __init__(self, learner: Learner, settings: Settings, trn: Benchmark, val: Benchmark):
        super().__init__()
        self.learner, self.settings = learner, settings
        drawing = {
            "size": learner.image_size,
            "void_ignore": settings.void_ignore,
            "always_present": settings.fss,
        }
        self.trn = TrainEpisodes(trn, settings.way, 1, seed=settings.seed, **drawing)
        self.val = TestEpisodes(val, settings.way, settings.shot, settings.val_episodes, **drawing)
        self.er, self.miou = ExactRatio(settings.way), MeanIoU(val.class_ids)
        self.cache = None
        self.interrupted = False
        with torch.no_grad():
            self.maps(collate([self.trn[0, 0]]))
        if settings.cache_features:
            self.cache = FeatureCache(learner)
        self.train()

    # What is computed

    def maps(self, batch: dict) -> Maps:
        """What the learner knows about a batch; it sees no masks in weak training."""
        if self.cache is not None:
            self.cache.draws = batch["draws"]
        return self.learner.maps(batch["query"], batch["supports"], None if self.settings.weak else batch["masks"])

    def training_step(self, batch: dict, _: int) -> Tensor:
        """The loss: of the class tags (weak) or of the query's mask (strong)."""
        found = self.maps(batch)
        if self.settings.weak:
            loss = weak_loss(found.log_prob, batch["presence"])
        else:
            loss = strong_loss(found.stacked, batch["query_masks"])
        self.log("loss", loss, batch_size=len(batch["query"]))
        return loss

    def on_validation_epoch_start(self) -> None:
        if self.trainer.world_size > 1 and not self.learner.frozen:
            for buffer in self.learner.buffers():  # batch norm's statistics: each process has gathered its own
                torch.distributed.broadcast(buffer, 0)
        self.er.reset()
        self.miou.reset()

    def validation_step(self, batch: dict, _: int) -> None:
        found = self.maps(batch)
        self.er.update(found.presence, batch["presence"])
        self.miou.update(segment(found.stacked, batch["sizes"]), batch["query_masks"], batch["classes"])

    def on_validation_epoch_end(self) -> None:
        # compute() adds up over the processes, so each logs the same figure.
        figures = {"val_er": self.er.compute(), "val_miou": self.miou.compute()}
        self.log_dict({name: figure.float() for name, figure in figures.items()}, sync_dist=True)

    # The data of each step, its random numbers, the optimiser

    def train_dataloader(self) -> DataLoader:
        """Endless; begins with the first episode that no step before has used, whoever made those steps."""
        rank, world = self.trainer.global_rank, self.trainer.world_size
        start = self.trainer.global_step * self.settings.bsz * world
        sampler = EpochSampler(len(self.trn), self.settings.seed, start, rank, world)
        return loader(self.trn, self.settings.bsz, self.settings.workers, sampler)

    def val_dataloader(self) -> DataLoader:
        """Each episode once, whatever the number of processes: no episode is repeated to make shares equal."""
        share = range(self.trainer.global_rank, len(self.val), self.trainer.world_size)
        return loader(self.val, self.settings.bsz, self.settings.workers, share)

    def transfer_batch_to_device(self, batch: dict, device: torch.device, _: int) -> dict:
        """Tensors, and lists of tensors, to the device; names and sizes stay as they are."""
        return {name: to_device(value, device) for name, value in batch.items()}

    def on_validation_batch_start(self, *_) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def on_train_batch_start(self, *_) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        # Dropout draws from here; a stream per step and process needs no state in the checkpoint.
        entropy = np.random.SeedSequence([self.settings.seed, self.global_step, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def on_train_batch_end(self, *_) -> None:
        if self.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True  # has Lightning validate once more, so that the last step counts

    def validates(self) -> bool:
        """Whether a validation follows the step that was just made."""
        return self.global_step % self.trainer.val_check_interval == 0 or self.global_step == self.trainer.max_steps

    def configure_optimizers(self):
        """The recipe's optimiser; with `decay` its rate falls to 0 along a cosine."""
        optimizer = recipe(self.settings, [p for p in self.learner.parameters() if p.requires_grad])
        if not self.settings.decay:
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # What a checkpoint holds: the learner under its published names, without ImageNet weights that nothing has changed

    def state_dict(self, *_, **__) -> dict[str, Tensor]:
        return trained_state(self.learner) if self.settings.pretrained else self.learner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False):
        missing = self.state_dict().keys() ^ state_dict.keys()
        if strict and missing:
            raise InputError(
                f"The checkpoint does not fit {self.settings.method}: {min(missing)} is in one, not the other."
            )
        return self.learner.load_state_dict(state_dict, strict=False, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        episodes = self.settings.bsz * self.trainer.world_size
        checkpoint["settings"] = self.settings.plain() | {"size": self.learner.image_size, "episodes_a_step": episodes}


def recipe(settings: Settings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Optimiser and learning rate as published; `settings.lr`, where given, takes the place of the rate."""
    if settings.method == "panet":
        return torch.optim.SGD(parameters, settings.lr or 1e-3, momentum=0.9, weight_decay=5e-4)
    if settings.method == "pfenet":
        return torch.optim.SGD(parameters, settings.lr or 0.0025, momentum=0.9, weight_decay=1e-4)
    return torch.optim.Adam(parameters, settings.lr or (1e-4 if settings.weak else 1e-3))


def to_device(value, device: torch.device):
    """A tensor or a list of tensors on the device; anything else as it is."""
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value


class FeatureCache:
    """Takes the place of a learner's `encode`, and asks its encoders once about each picture.

    The recipe changes no picture, and a frozen backbone says the same of it at every step. Pictures are encoded one by
    one, so that what is kept does not depend on who came first. Memory: 1.4 MB a picture for EfficientNet-Lite0 at 272
    px, 40 MB for ResNet-50 at 400 px; twice where masks enter the support's features, which are kept by class then.

    draws: names of the episodes that `encode` is about to be asked about, in the order of the batch. Raises
    `InputError` for a learner whose backbone is trained.
    """

    def __init__(self, learner: Learner):
        if not learner.frozen:
            raise InputError(
                f"{learner.method} trains its backbone, so there is nothing to keep; leave out cache_features."
            )
        self.draws, self.kept = [], {}
        self.plain = type(learner).for_support is Learner.for_support
        self.learner = learner
        learner.encode = self.encode

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        """As `Learner.encode`."""
        queries = [(drawn.query, 0) for drawn in self.draws]
        keys = [
            (name, 0 if self.plain else c)
            for drawn in self.draws
            for c, names in zip(drawn.classes, drawn.support, strict=True)
            for name in names
        ]
        return (
            self.look_up(queries, self.learner.encode_query, query),
            self.look_up(keys, self.learner.encode_support, supports, masks),
        )

    def look_up(self, keys: list[tuple[str, int]], encode, *tensors: Tensor) -> Features:
        """The features of one picture per key, encoded if they are not kept yet."""
        for i, key in enumerate(keys):
            if key not in self.kept:
                with torch.no_grad():
                    self.kept[key] = encode(*(t[i : i + 1] for t in tensors))
        return join([self.kept[key] for key in keys])


def join(parts: list) -> Tensor | list:
    """Pyramids of one picture each to one pyramid of all."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [join(list(level)) for level in zip(*parts, strict=True)]


# The trainer ----------------------------------------------------------------------------------------------------------


def build_trainer(settings: Settings, episodes: int) -> lightning.Trainer:
    """Lightning's trainer as the settings say, for epochs of so many `episodes`."""
    accelerator, devices, processes = where(settings)
    epoch = -(-episodes // (settings.bsz * processes))  # steps, rounded up
    steps = settings.steps or settings.niter * epoch
    # Processes wait for a gradient from every parameter unless told that some get none: PFENet's inner heads.
    strategy = DDPStrategy(find_unused_parameters=settings.method == "pfenet") if processes > 1 else "auto"
    with quiet(), refusals():
        return lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=settings.nodes,
            strategy=strategy,
            precision=PRECISIONS[settings.precision],
            max_epochs=-1,  # one endless epoch: what ours are is the sampler's business
            max_steps=steps,
            val_check_interval=min(settings.val_every or epoch, steps),
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=[
                Progress(),
                Curve(settings.folder / "metrics.csv"),
                Keeper(settings.folder, "val_er" if settings.weak else "val_miou"),
            ],
            logger=loggers(settings),
            log_every_n_steps=LOG_EVERY,
            plugins=[WholeFiles()],
            enable_checkpointing=False,  # Keeper does
            enable_progress_bar=False,  # Progress does
            enable_model_summary=False,
            use_distributed_sampler=False,  # ours share out the episodes themselves
            inference_mode=False,  # what the cache keeps in validation is used in training
        )


def where(settings: Settings) -> tuple[str, int | list[int], int]:
    """Accelerator, devices, and the number of processes; raises `InputError` for what this machine cannot do."""
    accelerator, devices = parse_devices(settings.devices)
    if settings.precision == "16" and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise InputError("precision 16 needs a GPU; choose bf16 or 32.")
    return accelerator, devices, settings.nodes * (len(devices) if isinstance(devices, list) else devices)


def parse_devices(text: str) -> tuple[str, int | list[int]]:
    """Accelerator and devices out of "2", "0,1", "auto", "cpu" or "cpu:2".

    A number takes as many GPUs, or CPU processes where there is no GPU; "auto" every GPU. Raises `InputError` for
    devices that are not there.
    """
    gpus = torch.cuda.device_count()
    name, _, count = text.partition(":")
    if name == "cpu" and (count or "1").isdecimal() and int(count or 1) > 0:
        return "cpu", int(count or 1)
    if text == "auto":
        return ("cuda", gpus) if gpus else ("auto", 1)
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers) or (len(numbers) == 1 and int(text) < 1):
        raise InputError(f"devices is {shown(text)}; give how many (2), which (0,1), auto, cpu, or cpu:2 for two.")
    if len(numbers) == 1 and not gpus:
        return ("auto", 1) if text == "1" else ("cpu", int(text))
    chosen = [int(number) for number in numbers] if len(numbers) > 1 else list(range(int(text)))
    if max(chosen) >= gpus or len(set(chosen)) < len(chosen):
        raise InputError(f"devices is {shown(text)}, but this machine has {gpus} GPUs; ask for those, or for cpu.")
    return "cuda", chosen


def loggers(settings: Settings) -> list:
    """TensorBoard's, and that of Weights & Biases where it is installed and wanted; `Curve` writes metrics.csv."""
    found = [TensorBoardLogger(settings.folder, name="tensorboard", version="")]
    if not settings.nowandb and find_spec("wandb") is not None:
        name = "-".join(settings.folder.parts[1:])
        found.append(WandbLogger(project="ifsl", name=name, save_dir=settings.folder, config=settings.plain()))
    return found


class Keeper(Callback):
    """Writes last.ckpt after every validation, and before it best_model.ckpt if `monitor` was never as high.

    A resumed run writes its better models beside the older ones, as best_model-v1.ckpt and so on.
    """

    def __init__(self, folder: Path, monitor: str):
        self.folder, self.monitor, self.best = folder, monitor, float("-inf")
        names = ("best_model.ckpt", *(f"best_model-v{version}.ckpt" for version in range(1, 10_000)))
        self.path = next(folder / name for name in names if not (folder / name).exists())

    def on_validation_end(self, trainer: lightning.Trainer, module: Training) -> None:
        score = trainer.callback_metrics[self.monitor].item()
        if score > self.best:
            self.best = score
            trainer.save_checkpoint(self.path)
        trainer.save_checkpoint(self.folder / "last.ckpt")

    def state_dict(self) -> dict:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict) -> None:
        self.best = state_dict["best"]


class Curve(Callback):
    """Writes metrics.csv: a row every `LOG_EVERY` steps and at each validation; loss is the mean since the last row."""

    COLUMNS = ("step", "loss", "val_er", "val_miou")

    def __init__(self, path: Path):
        self.path, self.losses = path, []

    def on_train_start(self, trainer: lightning.Trainer, module: Training) -> None:
        """Keep the rows of the run that is resumed, less those after its last checkpoint."""
        if trainer.is_global_zero:
            old = read_curve(self.path) if trainer.global_step else []
            rows = [row.values() for row in old if int(row["step"]) <= trainer.global_step]
            replace_text(self.path, "".join(",".join(row) + "\n" for row in [self.COLUMNS, *rows]))

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Training, outputs: dict, *_) -> None:
        self.losses.append(outputs["loss"].detach())
        if trainer.global_step % LOG_EVERY == 0 and not module.validates():
            self.write(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: Training) -> None:
        self.write(trainer, *(f"{trainer.callback_metrics[name].item():.4f}" for name in self.COLUMNS[2:]))

    def write(self, trainer: lightning.Trainer, er: str = "", miou: str = "") -> None:
        loss = trainer.strategy.reduce(torch.stack(self.losses).mean()).item()  # mean over the processes
        self.losses.clear()
        if trainer.is_global_zero:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{trainer.global_step},{loss:.6f},{er},{miou}\n")


def read_curve(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; a last row that was broken off is left out."""
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [row for row in csv.DictReader(whole.splitlines()) if None not in row.values()]


class Progress(Callback):
    """A bar over the steps with the loss and the last validation's figures, and one below it while validating."""

    def on_train_start(self, trainer: lightning.Trainer, module: Training) -> None:
        silent = not trainer.is_global_zero
        self.bar = tqdm(total=trainer.max_steps, initial=trainer.global_step, unit="step", disable=silent)
        self.shown, self.silent = {}, silent

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Training, outputs: dict, *_) -> None:
        if trainer.global_step % LOG_EVERY == 0:  # reading the loss makes a GPU wait
            self.shown["loss"] = f"{outputs['loss'].item():.3f}"
            self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update()

    def on_validation_start(self, trainer: lightning.Trainer, module: Training) -> None:
        total = sum(trainer.num_val_batches)
        self.inner = tqdm(total=total, unit="batch", desc="validation", leave=False, disable=self.silent)

    def on_validation_batch_end(self, *_) -> None:
        self.inner.update()

    def on_validation_end(self, trainer: lightning.Trainer, module: Training) -> None:
        self.inner.close()
        for name, label in (("val_er", "ER"), ("val_miou", "mIoU")):
            self.shown[label] = f"{trainer.callback_metrics[name].item():.1f}"
        self.bar.set_postfix(self.shown)

    def on_train_end(self, *_) -> None:
        self.bar.close()

    def on_exception(self, *_) -> None:
        for name in ("inner", "bar"):
            if hasattr(self, name):
                getattr(self, name).close()


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint under another name and renames it: a kill while writing leaves the one before whole.

    Reads tensors, numbers and names only: no checkpoint can run code.
    """

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options=None) -> None:
        part = Path(f"{path}.part")
        try:
            with open(part, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its own
            part.unlink(missing_ok=True)
            why = next((e.strerror for e in (error, error.__context__) if isinstance(e, OSError)), error)
            raise InputError(f"The checkpoint {path} cannot be written ({why}); make room, then use resume.") from error

    def load_checkpoint(self, path: str | Path, map_location=None, weights_only: bool | None = True) -> dict:
        return read_checkpoint(path)


# Files, processes, interruptions --------------------------------------------------------------------------------------


def read_checkpoint(path: str | Path) -> dict:
    """A checkpoint of `train`, on the CPU; raises `InputError` for a file that is none."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["settings"]["episodes_a_step"]
    except Exception as error:  # a broken file can fail in any way
        raise InputError(
            f"{path} is no checkpoint of a run that can be resumed ({type(error).__name__}); "
            "start a new one with another logpath."
        ) from error
    return checkpoint


def check_same(settings: Settings, last: Path, processes: int) -> None:
    """Raise `InputError` if a run would go on with other settings than it began with."""
    then = read_checkpoint(last)["settings"]
    now = settings.plain()
    if now["size"] is None:
        now["size"] = then["size"]
    for name in FIXED:
        if now[name] != then[name]:
            raise InputError(f"{name} is {now[name]}, but {last} was begun with {then[name]}; resume with the same.")
    episodes = settings.bsz * processes
    if episodes != then["episodes_a_step"]:
        raise InputError(
            f"bsz times processes is {episodes}, but {last} was begun with {then['episodes_a_step']}; make them equal."
        )
    if settings.decay and (settings.steps, settings.niter) != (then["steps"], then["niter"]):
        raise InputError(f"With decay, steps and niter shape the whole run; resume {last} with the same.")


@contextmanager
def writing(folder: Path):
    """What cannot be written to the log folder, as one `InputError`."""
    say = threading.excepthook

    def without_tensorboard(given) -> None:
        # Its thread hands the error on to whoever logs next; a traceback besides says nothing new.
        if not (isinstance(given.exc_value, OSError) and type(given.thread).__module__.startswith("tensorboard")):
            say(given)

    threading.excepthook = without_tensorboard  # left there after an error, which the thread may yet report
    try:
        yield
    except OSError as error:
        name, why = os.fsdecode(error.filename or folder), error.strerror or error
        raise InputError(f"{name} cannot be read or written ({why}); make room for it, then use resume.") from error
    threading.excepthook = say


@contextmanager
def quiet():
    """Without Lightning's announcements and its guesses at what one may have meant."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's own, with torch 2.9 and later
        yield
    logger.setLevel(level)


@contextmanager
def refusals():
    """Lightning's refusals, such as several processes from within a notebook, as an `InputError`."""
    try:
        yield
    except MisconfigurationException as error:
        first = str(error).split(". ")[0].strip().rstrip(".")
        raise InputError(f"Lightning cannot run so: {first}; choose other devices, or use the command line.") from error


@contextmanager
def interrupts(module: Training):
    """Lightning ends the process on Ctrl-C and goes deaf to it; a notebook and the command line want to hear of it.

    Python drops an interrupt that comes while it clears something away, such as a loader's workers after a validation:
    so it is remembered in the module, which looks before each batch.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)

    def hear(*_) -> None:
        module.interrupted = True
        raise KeyboardInterrupt

    try:
        if main:
            signal.signal(signal.SIGINT, hear)
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
