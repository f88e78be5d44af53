"""Lightning's trainer as a run needs it, and how its errors and interrupts are reported (chapter 11)."""

import logging
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy

from ..errors import InputError
from .callbacks import LOG_EVERY, Curve, Divergence, Keeper, Progress
from .devices import Hardware
from .resuming import WholeFiles
from .settings import PRECISIONS, Settings, first_process


def build_trainer(settings: Settings, hardware: Hardware, episodes: int, unused: bool = False) -> lightning.Trainer:
    """Lightning's trainer as the settings ask for it.

    episodes: length of an epoch; unused: whether some of the learner's parameters get no gradient, which several
    processes have to know. Raises `InputError` for what Lightning refuses.
    """
    epoch = -(-episodes // (settings.bsz * hardware.processes))  # steps, rounded up
    steps = settings.steps or settings.niter * epoch
    with quiet(), refusals():
        return lightning.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=settings.nodes,
            strategy=DDPStrategy(find_unused_parameters=unused) if hardware.processes > 1 else "auto",
            precision=PRECISIONS[settings.precision],
            max_epochs=-1,  # one endless epoch: the sampler knows about ours
            max_steps=steps,
            val_check_interval=min(settings.val_every or epoch, steps),
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=[
                Progress(settings.metrics),
                Divergence(settings.folder),  # before those that write
                Curve(settings.folder / "metrics.csv", settings.metrics),
                Keeper(settings.folder, settings.monitor),
                Interruption(),
            ],
            logger=build_loggers(settings),
            log_every_n_steps=LOG_EVERY,
            plugins=[WholeFiles()],
            enable_checkpointing=False,  # Keeper does it
            enable_progress_bar=False,  # Progress does it
            enable_model_summary=False,
            use_distributed_sampler=False,  # our samplers divide the episodes among the processes
            inference_mode=False,  # features that the cache keeps during validation are used in training
        )


def build_loggers(settings: Settings) -> list:
    """TensorBoard's logger, and that of Weights & Biases if it is installed and wanted; `Curve` writes metrics.csv."""
    loggers = [TensorBoardLogger(settings.folder, name="tensorboard", version="")]
    if not settings.nowandb and find_spec("wandb") is not None:
        name = "-".join(settings.folder.parts[1:])
        try:
            logger = WandbLogger(project="ifsl", name=name, save_dir=settings.folder, config=settings.plain())
            _ = logger.experiment  # logs in now; later it would fail after the run has begun
        except Exception as error:  # it has many
            why = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
            raise InputError(
                f"Weights & Biases is installed but cannot be used ({why}); run `wandb login`, or give nowandb."
            ) from error
        loggers.append(logger)
    return loggers


@contextmanager
def fresh_start(folder: Path, resume: bool) -> Iterator[None]:
    """A context that removes the log folder if a new run fails before it has a checkpoint.

    The next try would be refused because of it. Where the message says to resume, after errors of the disk, it stays.
    """
    try:
        yield
    except Exception as error:
        if not resume and first_process() and "resume" not in str(error) and not any(folder.glob("*.ckpt")):
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """A context without Lightning's announcements and its guesses at mistakes."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's own, with torch 2.9 and later
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def refusals() -> Iterator[None]:
    """A context that turns Lightning's refusals, such as several processes in a notebook, into an `InputError`."""
    try:
        yield
    except MisconfigurationException as error:
        first = str(error).split(". ")[0].strip().rstrip(".")
        raise InputError(f"Lightning cannot run so: {first}; choose other devices, or use the command line.") from error


@contextmanager
def log_errors(folder: Path) -> Iterator[None]:
    """A context that turns an error of reading or writing files, such as a full disk, into an `InputError`.

    folder: the log folder, which the message names if the error names no file.
    """
    report = threading.excepthook

    def report_all_but_tensorboard(given) -> None:
        # TensorBoard's thread passes its error on to the next call that logs; a traceback besides adds nothing.
        if not (isinstance(given.exc_value, OSError) and type(given.thread).__module__.startswith("tensorboard")):
            report(given)

    threading.excepthook = report_all_but_tensorboard  # stays after an error, which the thread may report later
    try:
        yield
    except OSError as error:
        name, why = os.fsdecode(error.filename or folder), error.strerror or error
        raise InputError(f"{name} cannot be read or written ({why}); make room for it, then use resume.") from error
    threading.excepthook = report


class Interruption(Callback):
    """Ends a run on Ctrl-C with `KeyboardInterrupt`.

    Lightning would end the whole process and ignore the next Ctrl-C, but the notebook or the command line has to handle
    it. And Python drops an interrupt that arrives while it cleans up, such as when a loader's workers end after a
    validation: therefore it is remembered here and looked for before each batch.
    """

    def __init__(self):
        self.requested = False

    def request(self, *_) -> None:
        """Handle the signal."""
        self.requested = True
        raise KeyboardInterrupt

    def on_train_batch_start(self, *_) -> None:
        if self.requested:
            raise KeyboardInterrupt

    def on_validation_batch_start(self, *_) -> None:
        if self.requested:
            raise KeyboardInterrupt


@contextmanager
def interrupts(trainer: lightning.Trainer) -> Iterator[None]:
    """A context in which Ctrl-C raises `KeyboardInterrupt` from the trainer's `fit`; see `Interruption`."""
    interruption = next(callback for callback in trainer.callbacks if isinstance(callback, Interruption))
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        if main:
            signal.signal(signal.SIGINT, interruption.request)
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
