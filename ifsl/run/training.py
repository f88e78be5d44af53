"""Training a learner: `train`, and what Lightning needs to know about a learner to do it (chapters 10, 11 and 13).

Lightning provides the loop, devices, precision, several processes and the loggers. What is ours is here: the loss, the
episodes of a step, the optimiser, and which state a checkpoint holds.

A step is a function of the seed and its number. Its episodes are addressed by number, and the random numbers of dropout
are seeded by number; so a run that was killed goes on from its last checkpoint as if nothing had happened.

Source: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*, CVPR 2022.

Letters: B episodes, N ways, K shots, S image side.
"""

import json
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.benchmarks import Benchmark
from ..data.files import write_whole
from ..data.loading import EpochSampler, TestEpisodes, TrainEpisodes, collate, loader
from ..errors import InputError
from ..learners import build_model
from ..learners.learner import Learner, check_episode
from ..learners.maps import Maps
from .callbacks import read_curve
from .checkpoints import load_model, trained_state
from .devices import Hardware, find_hardware, memory_errors
from .feature_cache import FeatureCache
from .metrics import ExactRatio, MeanIoU
from .resuming import check_same, complete, digest, find_last, restoring
from .settings import Settings, check_folder, first_process
from .trainer import build_trainer, fresh_start, interrupts, log_errors, quiet


def train(settings: Settings, resume: bool = False) -> Path:
    """Train as `settings` say, and return the log folder.

    The folder then holds best_model.ckpt, the best by validation mIoU (weak: ER), last.ckpt, which is first written
    after ten steps, metrics.csv (step, loss and two metrics, see `Settings.metrics`), settings.json and TensorBoard's
    files. resume: go on from last.ckpt; the result is that of an undisturbed run. If a resumed run
    finds a better model, it writes best_model-v1.ckpt, then -v2 …: the highest version is the best. Raises `InputError`
    for what cannot be read, drawn or written, and `KeyboardInterrupt` when it was interrupted; the last checkpoint is
    whole then.
    """
    folder = settings.folder
    if first_process():
        check_folder(folder, resume)
    hardware = find_hardware(settings)
    last = find_last(folder) if resume else None
    root = {"root": settings.datapath, "fold": settings.fold, "lists": settings.lists}
    trn, val = (Benchmark(settings.benchmark, split=split, **root) for split in ("trn", "val"))
    trn.check_layout()
    made = 0
    if last is not None:
        made = check_same(settings, last, hardware.processes, digest(trn, val))
        read_curve(folder / "metrics.csv", settings.metrics)
        if first_process():
            complete(folder)

    torch.manual_seed(settings.seed)  # the initial weights
    learner = build_model(settings.method, settings.backbone, settings.pretrained, **settings.options)
    if settings.start is not None:
        load_start(learner, settings.start)
    if settings.weak and learner.needs_masks:
        raise InputError(learner.needs_masks)
    if settings.size is not None:
        learner.image_size = settings.size
    if settings.bsz == 1 and learner.image_size <= 32 and not (learner.frozen or settings.frozen_norm):
        raise InputError("bsz is 1 and size 32, too little for batch normalisation; raise one, or give frozen_norm.")
    module = Training(learner, settings, trn, val)
    memory = memory_errors("training", bsz=settings.bsz, size=learner.image_size, shot=settings.shot)
    with memory, fresh_start(folder, resume):
        run(module, settings, hardware, last, made)
    return folder


def run(module: "Training", settings: Settings, hardware: Hardware, last: Path | None, made: int) -> None:
    """Train a module from the checkpoint `last`, which has made so many steps, or from its beginning."""
    folder = settings.folder
    module.try_episode()
    trainer = build_trainer(settings, hardware, len(module.trn), unused=bool(module.learner.unused))
    if last is not None and made >= trainer.max_steps:
        return  # all steps are made already: nothing is written
    with quiet(), interrupts(trainer), log_errors(folder), restoring(module, last):
        if first_process():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "settings.json", json.dumps(settings.plain(), indent=1) + "\n")
        trainer.fit(module, ckpt_path=last)


def load_start(learner: Learner, path: str) -> None:
    """Give the learner the weights in a checkpoint; raises `InputError` unless they are those of such a learner."""
    found = load_model(path, learner.method, learner.backbone_name).state_dict()
    if {name: x.shape for name, x in found.items()} != {name: x.shape for name, x in learner.state_dict().items()}:
        raise InputError(f"{path} holds {learner.method} of another size; give start a checkpoint of the same learner.")
    learner.load_state_dict(found)


class Training(lightning.LightningModule):
    """A learner with its losses, metrics, optimiser and data; `settings` say which.

    trn, val: the benchmark's two splits. Raises `InputError` for episodes that cannot be drawn.
    """

    def __init__(self, learner: Learner, settings: Settings, trn: Benchmark, val: Benchmark):
        super().__init__()
        self.learner, self.settings = learner, settings
        drawing = {"size": learner.image_size, "void_ignore": settings.void_ignore, "task": settings.task}
        self.trn = TrainEpisodes(trn, settings.way, 1, seed=settings.seed, **drawing)
        self.val = TestEpisodes(val, settings.way, settings.shot, settings.val_episodes, **drawing)
        self.er, self.miou = ExactRatio(settings.way), MeanIoU(val.class_ids)
        self.cache = FeatureCache(learner) if settings.cache_features else None
        self.strange: Tensor | None = None
        self.entries = digest(trn, val)
        self.made, self.made_a_step = 0, False  # steps before this process, and whether it has made one
        self.train()

    def try_episode(self) -> None:
        """Run the learner on one training episode; raises `InputError` if it cannot be read or compared.

        A long run is tried before it begins. The learner is left unchanged: in evaluation mode batch norm gathers no
        statistics and dropout draws no random numbers.
        """
        inputs = learner_inputs(collate([self.trn[0, 0]]), self.settings.weak)
        self.eval()
        check_episode(self.learner, *inputs)
        with torch.no_grad():
            self.learner.maps(*inputs)
        self.train()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.made = checkpoint["global_step"]

    def on_train_start(self) -> None:
        if self.global_step != self.made:
            raise ValueError("its loops have counted other steps")

    # Loss and metrics -------------------------------------------------------------------------------------------------

    def maps(self, batch: dict) -> Maps:
        """The learner's maps for a batch of `collate`."""
        inputs = learner_inputs(batch, self.settings.weak)
        features = None if self.cache is None else self.cache.features(batch["draws"], *inputs)
        return self.learner.maps(*inputs, features=features)

    def training_step(self, batch: dict, _: int) -> Tensor:
        """The loss: against class tags (weak) or against the query's mask (strong, and FS-S)."""
        found = self.maps(batch)
        truth = batch["query_masks"], batch["presence"]
        loss = self.learner.loss(found, *truth, self.settings.task, self.settings.weak)
        self.log("loss", loss, batch_size=len(batch["query"]))
        return loss

    def on_validation_epoch_start(self) -> None:
        if self.trainer.world_size > 1 and not self.learner.frozen:
            for buffer in self.learner.buffers():  # batch norm's statistics, which each process gathers by itself
                torch.distributed.broadcast(buffer, 0)
        self.er.reset()
        self.miou.reset()
        self.strange = None  # whether a map of this validation holds NaN

    def validation_step(self, batch: dict, _: int) -> None:
        found = self.maps(batch)
        strange = found.log_prob.isnan().any()
        self.strange = strange if self.strange is None else self.strange | strange
        presence, segmentations = self.learner.decide(found, batch["sizes"], self.settings.task)
        self.er.update(presence, batch["presence"])
        self.miou.update(segmentations, batch["query_masks"], batch["classes"])

    def on_validation_epoch_end(self) -> None:
        # compute() and sync_context() add up over the processes, so each of them logs the same values.
        values = {"val_er": self.er.compute(), "val_miou": self.miou.compute()}
        with self.miou.sync_context():
            values["val_fb_iou"] = torch.tensor(self.miou.foreground_background())
        self.log_dict({name: values[name].float() for name in self.settings.metrics}, sync_dist=True)

    # Episodes and random numbers of each step -------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader:
        """Endless; begins with the first episode that no earlier step has used, in this run or the one it resumes."""
        rank, world = self.trainer.global_rank, self.trainer.world_size
        start = self.trainer.global_step * self.settings.bsz * world
        sampler = EpochSampler(len(self.trn), self.settings.seed, start, rank, world)
        return loader(self.trn, self.settings.bsz, self.settings.workers, sampler)

    def val_dataloader(self) -> DataLoader:
        """Each episode once, for any number of processes: no episode is repeated to make their shares equal."""
        share = range(self.trainer.global_rank, len(self.val), self.trainer.world_size)
        return loader(self.val, self.settings.bsz, self.settings.workers, share)

    def transfer_batch_to_device(self, batch: dict, device: torch.device, _: int) -> dict:
        # Metrics check class ids, and reading them from a GPU would make every validation step wait.
        return {name: value if name == "classes" else to_device(value, device) for name, value in batch.items()}

    def on_train_batch_start(self, *_) -> None:
        # Dropout draws from here; a stream for each step and process needs no state in the checkpoint.
        entropy = np.random.SeedSequence([self.settings.seed, self.global_step, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def on_train_batch_end(self, *_) -> None:
        self.made_a_step = True
        if self.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True  # has Lightning validate once more, so that the last step counts

    # The optimiser ----------------------------------------------------------------------------------------------------

    def configure_optimizers(self):
        """The method's published optimiser; with `decay` its learning rate falls to 0 along a cosine."""
        trained = [p for p in self.learner.parameters() if p.requires_grad]
        optimizer = self.learner.optimizer(trained, self.settings.lr, self.settings.weak)
        if not self.settings.decay:
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def learning_rate(self) -> float:
        """The learning rate of the step to come."""
        return self.trainer.optimizers[0].param_groups[0]["lr"]

    # A checkpoint: the learner under its published names, without ImageNet weights that have not changed --------------

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
        more = {"size": self.learner.image_size, "episodes_a_step": episodes, "entries": self.entries}
        checkpoint["settings"] = self.settings.plain() | more


def learner_inputs(batch: dict, weak: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a learner gets of a batch: query, supports and, unless it learns from class tags alone (weak), masks."""
    return batch["query"], batch["supports"], None if weak else batch["masks"]


def to_device(value, device: torch.device):
    """A tensor or a list of tensors on the device; anything else unchanged."""
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
