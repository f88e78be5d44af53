"""What happens during training besides the steps: checkpoints, the learning curve, the progress bar (chapter 11)."""

import csv
from collections.abc import Iterable
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from tqdm.auto import tqdm

from ..data.files import write_whole
from ..errors import InputError

LOG_EVERY = 10
"""Steps between two rows of metrics.csv."""


class Keeper(Callback):
    """Keeps the best and the last checkpoint.

    It writes last.ckpt after the first `LOG_EVERY` steps, so that a run that is killed before its first validation is
    not lost, and after every validation; before that best_model.ckpt if the metric `monitor` has never been higher.
    A best_model.ckpt is never alone, not even if the run is broken off while it writes its first (see
    `resuming.complete`). A resumed run writes its better models beside the older ones, as best_model-v1.ckpt and so on.
    """

    def __init__(self, folder: Path, monitor: str):
        self.folder, self.monitor, self.best = folder, monitor, float("-inf")
        names = ("best_model.ckpt", *(f"best_model-v{version}.ckpt" for version in range(1, 10_000)))
        self.path = next(folder / name for name in names if not (folder / name).exists())

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_) -> None:
        if trainer.global_step == LOG_EVERY and not validation_follows(trainer):
            trainer.save_checkpoint(self.folder / "last.ckpt")

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        score = trainer.callback_metrics[self.monitor].item()
        if score > self.best:
            first, self.best = self.best == float("-inf"), score
            if first:
                trainer.save_checkpoint(self.folder / "last.ckpt")
            trainer.save_checkpoint(self.path)
        trainer.save_checkpoint(self.folder / "last.ckpt")

    def state_dict(self) -> dict:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict) -> None:
        self.best = state_dict["best"]


class Divergence(Callback):
    """Stops a run whose loss or weights are no numbers any more, before a checkpoint of them is written.

    Looking at a loss makes a GPU wait, and several processes have to stop together: there it is done every `LOG_EVERY`
    steps and before each validation, on a CPU after every step. saved: whether this process has written a checkpoint.
    """

    def __init__(self, folder: Path):
        self.folder, self.losses, self.saved = folder, [], False

    def on_save_checkpoint(self, *_) -> None:
        self.saved = True

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs, *_) -> None:
        self.losses.append(outputs["loss"].detach())
        at_once = module.device.type == "cpu" and trainer.world_size == 1
        if at_once or trainer.global_step % LOG_EVERY == 0:
            self.check_losses(trainer, module)

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.check_losses(trainer, module)
        weights = [value for value in module.learner.state_dict().values() if value.is_floating_point()]
        if not torch.stack([value.isfinite().all() for value in weights]).all():
            self.stop(trainer, module, "The weights are")

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if module.strange is not None and trainer.strategy.reduce(module.strange.float()).item():
            self.stop(trainer, module, "The maps are")

    def check_losses(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        loss = trainer.strategy.reduce(torch.stack(self.losses).mean()) if self.losses else torch.zeros(())
        self.losses.clear()
        if not loss.isfinite():
            self.stop(trainer, module, "The loss is")

    def stop(self, trainer: lightning.Trainer, module: lightning.LightningModule, what: str) -> None:
        """Raise `InputError`."""
        half = ", or precision bf16 or 32" if module.settings.precision == "16" else ""
        last = self.folder / "last.ckpt"
        kept = " and another logpath" if last.is_file() else ""
        kept += f"; the last good checkpoint is {last}" if kept and self.saved else ""
        raise InputError(
            f"{what} no number (NaN or infinite) at step {trainer.global_step}, so the run was stopped; try a lower lr "
            f"({module.learning_rate:g} was used){half}{kept}."
        )


class Curve(Callback):
    """Writes metrics.csv: a row every `LOG_EVERY` steps and at each validation; loss is the mean since the last row."""

    def __init__(self, path: Path, metrics: Iterable[str] = ("val_er", "val_miou")):
        self.path, self.metrics, self.losses = path, tuple(metrics), []

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Keep the rows of the run that is resumed, except those after its last checkpoint."""
        if trainer.is_global_zero:
            old = read_curve(self.path, self.metrics) if trainer.global_step else []
            head = ("step", "loss", *self.metrics)
            rows = [[row[name] for name in head] for row in old if int(row["step"]) <= trainer.global_step]
            write_whole(self.path, "".join(",".join(row) + "\n" for row in [head, *rows]))

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs, *_) -> None:
        self.losses.append(outputs["loss"].detach())
        if trainer.global_step % LOG_EVERY == 0 and not validation_follows(trainer):
            self.write_row(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.write_row(trainer, *(f"{trainer.callback_metrics[name].item():.4f}" for name in self.metrics))

    def write_row(self, trainer: lightning.Trainer, first: str = "", second: str = "") -> None:
        loss = trainer.strategy.reduce(torch.stack(self.losses).mean()).item()  # mean over the processes
        self.losses.clear()
        if trainer.is_global_zero:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{trainer.global_step},{loss:.6f},{first},{second}\n")


def validation_follows(trainer: lightning.Trainer) -> bool:
    """Whether a validation follows the step that has just been made."""
    return trainer.global_step % trainer.val_check_interval == 0 or trainer.global_step == trainer.max_steps


def read_curve(path: Path, metrics: Iterable[str] = ()) -> list[dict[str, str]]:
    """The rows of a metrics.csv, without a last row that is incomplete; [] if there is no such file.

    metrics: columns that it must have besides step and loss. Raises `InputError` for a file of another form.
    """
    if not path.is_file():
        return []
    try:
        whole = path.read_text(encoding="utf-8-sig").rpartition("\n")[0]
        rows = [row for row in csv.DictReader(whole.splitlines()) if None not in row.values()]
        for row in rows:
            int(row["step"])
            float(row["loss"])
            for name in metrics:
                float(row[name] or 0)
    except (ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{path} is not as training wrote it ({error}); restore it, or move it elsewhere.") from error
    return rows


class Progress(Callback):
    """A bar over the steps with the loss and the metrics of the last validation, and a second bar while validating.

    metrics: {logged name: its label}.
    """

    def __init__(self, metrics: dict[str, str]):
        self.metrics = metrics

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        silent = not trainer.is_global_zero
        self.bar = tqdm(total=trainer.max_steps, initial=trainer.global_step, unit="step", disable=silent)
        self.shown, self.silent = {}, silent

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs, *_) -> None:
        if trainer.global_step % LOG_EVERY == 0:  # reading the loss makes a GPU wait
            self.shown["loss"] = f"{outputs['loss'].item():.3f}"
            self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update()

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        total = sum(trainer.num_val_batches)
        self.inner = tqdm(total=total, unit="batch", desc="validation", leave=False, disable=self.silent)

    def on_validation_batch_end(self, *_) -> None:
        self.inner.update()

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.inner.close()
        for name, label in self.metrics.items():
            self.shown[label] = f"{trainer.callback_metrics[name].item():.1f}"
        self.bar.set_postfix(self.shown)

    def on_train_end(self, *_) -> None:
        self.bar.close()

    def on_exception(self, *_) -> None:
        for name in ("inner", "bar"):
            if hasattr(self, name):
                getattr(self, name).close()
