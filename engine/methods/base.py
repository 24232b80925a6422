"""Base classes of methods and their tasks, and the ablation parts that several methods share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataloader.classes import Classes
from utils.lazy import Lazy

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from dataloader.annotation import Clip
    from engine.options import Config, LossOptions
    from models.clip_caer import Output, Texts
    from models.clip_towers import Clip as ClipModel
    from models.clip_towers import ClipShape
    from models.published import Published
    from utils.distributed import Group

# These take seconds to import, so every method loads them when they are first used.
torch = Lazy("torch")
build = Lazy("models.build")
towers = Lazy("models.clip_towers")
loss_functions = Lazy("models.losses")
options = Lazy("engine.options")
metrics = Lazy("analysis.metrics")
distributed = Lazy("utils.distributed")

State = dict[str, "Tensor"]


@dataclass(frozen=True)
class Part:
    """A part of a method that ``--drop-one`` can leave out.

    ``without``: the options that switch it off. If they change nothing, the part is off already. ``is_on``: further
    conditions for the part to be on.
    """

    name: str
    without: dict[str, Any]
    is_on: Callable[[Config], bool] = lambda config: True


@dataclass(frozen=True)
class PublishedLayout:
    """A layout of published checkpoints: title, and published values of options that tensors do not show."""

    title: str
    options: dict[str, Any]


@dataclass
class Adopted:
    """What is known of a published checkpoint besides its tensors.

    ``options``: those that follow from its tensors; ``unnamed``: the reason if its classes have no names.
    """

    options: dict[str, Any]
    classes: Classes
    unnamed: str | None = None


class Method:
    """One method: facts about it, how its model is built, and its task.

    ``reads`` names the parts of options (``engine/options.py``) that it uses; training refuses the others.
    ``functions``: (mode, task) → "module:function" that replaces the function of all methods for this mode.
    """

    name: str
    summary: str  # for model cards
    task: type[ClipTask]  # the interface of the method to the training loop
    defaults: Mapping[str, Any] = {}  # of options whose default differs for this method
    reads: frozenset[str] = frozenset()
    tasks: tuple[str, ...] = ("classification",)
    task_reads: Mapping[str, frozenset[str]] = {}  # for a task that reads fewer parts of options than ``reads``
    functions: Mapping[tuple[str, str | None], str] = {}
    parts: tuple[Part, ...] = ()
    published: Mapping[str, PublishedLayout] = {}  # by their names in models/published.py
    published_unknown: tuple[
        str, ...
    ] = ()  # options that published tensors do not show, besides those with in_tensors=False
    split_by_fold: bool = False  # --fold selects the training videos
    takes_any_texts: bool = False  # classes need not be those of training

    def unknown_to_tensors(self) -> list[str]:
        """Return the options that the tensors of a published checkpoint of this method do not show."""
        fields = options.options_by_name()
        names = [*self.published_unknown, *options.names_with(in_tensors=False)]
        return [name for name in names if fields[name].metadata["part"] in self.reads]

    @property
    def has_context(self) -> bool:
        """Return whether the model can see the context of a face."""
        return "two streams" in self.reads

    @property
    def reads_features(self) -> bool:
        """Return whether the model reads stored features instead of pixels."""
        return "pixels" not in self.reads

    def reads_lists(self, config: Config) -> bool:
        """Return whether the clips of a run come from lists, and the model gives one class per clip."""
        return "clip lists" in self.reads

    def splits_by_fold(self, config: Config) -> bool:
        """Return whether ``--fold`` selects the training videos."""
        return self.split_by_fold

    def function(self, mode: str, task: str) -> Callable[..., Any] | None:
        """Return the method's own function for a mode, or None if it uses the function of all methods."""
        name = self.functions.get((mode, task), self.functions.get((mode, None)))
        if name is None:
            return None
        module, _, function = name.partition(":")
        return getattr(importlib.import_module(module), function)

    def check(self, config: Config, flags: Mapping[str, Any]) -> None:
        """Raise a UserError if options of this method contradict one another, in any mode."""

    def warnings(self, config: Config) -> list[str]:
        """Return warnings about training options that are allowed but rarely intended."""
        return []

    def fixed_classes(self, config: Config) -> Classes | None:
        """Return the classes if they are always the same; None if the data set names them."""
        return None

    def read_clips(self, config: Config) -> tuple[list[Clip], list[Clip]] | None:
        """Return the training and the validation clips if the method reads no lists; else None."""
        return None

    def build(self, config: Config, classes: Classes, clip: ClipModel) -> nn.Module:
        """Return the model that training starts from."""
        raise NotImplementedError

    def rebuild(self, shape: ClipShape | None, state: State, config: Config) -> nn.Module:
        """Return a model with the sizes of a checkpoint's tensors; its weights are loaded afterwards."""
        raise NotImplementedError

    def set_trainable(self, model: nn.Module, config: Config) -> None:
        """Freeze the parameters that are not trained."""
        model.image_encoder.requires_grad_(config.optim.weights_learn("image"))

    def describe(self, model: nn.Module, config: Config, content: Mapping[str, Any]) -> list[str] | None:
        """Return lines for ``--mode inspect`` in place of those on the CLIP towers. ``content`` is the checkpoint."""
        return None

    def adopt(self, report: Published, shape: ClipShape, flags: Mapping[str, Any]) -> Adopted:
        """Complete the tensors of a published checkpoint of this method."""
        raise NotImplementedError


class ClipTask:
    """The interface of a method to the training loop: forward, named losses, predictions, score.

    This one predicts one label per clip by comparing the video with texts.
    """

    has_texts = True  # False if the model does not compare videos with texts

    def __init__(self, model: nn.Module, names: tuple[str, ...], loss: LossOptions | None = None) -> None:
        """``loss``: the options of the losses; only training needs them."""
        self.model, self.names, self.loss = model, names, loss
        self.group: Group = distributed.SINGLE_PROCESS  # the processes among which the clips of a step are divided
        self.fixed_texts: Texts | None = None
        self.clips_that_fit: int | None = None  # in one pass of an evaluation; set when the memory of a GPU runs out

    def prepare(self, clips: list[Clip], classes: Classes, device: torch.device) -> list[str]:
        """Compute what the losses need from the training clips, once; return warnings for the user."""
        raise NotImplementedError

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        """Return the weighted terms of the loss by name; ``epoch`` counts from 0."""
        raise NotImplementedError

    @property
    def texts_learn(self) -> bool:
        """Return whether the texts change from one step to the next."""
        return False

    @property
    def needs_soft_texts(self) -> bool:
        return self.model.classifies_with_soft_texts

    def forward(self, batch: dict[str, Any]) -> Output:
        """Return the model's output for a batch.

        The image tower runs first: its large kernels keep a GPU busy while the small kernels of the texts are launched.
        """
        face, context = self.encode_frames(batch)
        texts = None
        if self.has_texts:
            texts = self.fixed_texts or self.step_texts()
            if self.model.training and not self.texts_learn:
                self.fixed_texts = texts
        streams = gather_features(self.group, batch, face, context)
        return self.model.head(*mix_features(batch, *streams), texts)

    def encode_frames(self, batch: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        """Return features (B, T, D) of each stream: stored ones, or those that the image tower computes from pixels."""
        if "face_features" in batch or "context_features" in batch:
            return batch.get("face_features"), batch.get("context_features")
        return self.model.encode_frames(batch.get("face"), batch.get("context"))

    def step_texts(self) -> Texts:
        """Return encoded texts: trained ones in the precision of the step, constant ones in float32."""
        if self.texts_learn:
            return self.model.encode_texts(self.needs_soft_texts)
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, enabled=False):
            return self.model.encode_texts(self.needs_soft_texts)

    def predictions(self, out: Output) -> Tensor:
        """Return raw logits (B, C) without logit adjustment, so that training and evaluation are comparable."""
        return out.logits.detach().float()

    def score(self, logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
        return metrics.score(label, logits.argmax(axis=-1), self.names)

    def fix_texts(self) -> None:
        """Encode the texts once for a whole evaluation."""
        if self.has_texts:
            self.fixed_texts = self.model.encode_texts(self.model.classifies_with_soft_texts)

    def release_texts(self) -> None:
        self.fixed_texts = None


class ClassifierTask(ClipTask):
    """Cross-entropy over the classes, with optional corrections for class sizes."""

    def prepare(self, clips: list[Clip], classes: Classes, device: torch.device) -> list[str]:
        labels = torch.tensor([clip.label for clip in clips])
        self.set_training_counts(torch.bincount(labels, minlength=len(classes)), device)
        return []

    def set_training_counts(self, counts: Any, device: torch.device) -> None:
        """Set the number of training clips per class, from which the corrections for class sizes are computed."""
        counts = torch.as_tensor(counts)
        self.log_priors = loss_functions.log_priors(counts).to(device)
        self.class_weights = (
            loss_functions.effective_weights(counts, self.loss.class_beta).to(device)
            if self.loss.class_balanced_loss
            else None
        )

    def classification(
        self, logits: Tensor, batch: dict[str, Any], epoch: int, targets: Tensor | None = None
    ) -> Tensor:
        """Return the loss of a step; ``targets`` (B, C) replace the labels where clips have a distribution.

        With ``--mixup`` it is the loss for a clip's own target and that for its partner's, weighted by their shares.
        The loss is linear in the target, so without margins and class weights this is the loss of the mixed target.
        """
        loss = self.label_loss(logits, batch["label"], epoch, targets)
        if "partner" not in batch:
            return loss
        partner, share = batch["partner"], batch["share"]
        theirs = self.label_loss(logits, batch["label"][partner], epoch, None if targets is None else targets[partner])
        return share * loss + (1 - share) * theirs

    def label_loss(self, logits: Tensor, label: Tensor, epoch: int, targets: Tensor | None = None) -> Tensor:
        """Return the loss of logits (B, C) for one target of each clip."""
        return loss_functions.classification_loss(
            logits,
            label,
            class_weights=self.class_weights if epoch >= self.loss.drw_epoch else None,
            label_smoothing=self.loss.label_smoothing,
            focal_gamma=self.loss.focal_gamma,
            targets=targets,
        )


def gather_features(group: Group, batch: dict[str, Any], *streams: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the features of all clips of a step, gathered from all processes; in evaluation nothing is gathered."""
    if group.world == 1 or "step_clips" not in batch:
        return streams
    total = batch["step_clips"]
    count = group.shard_size(total)  # a process without a clip encodes a spare one, which is left out here
    return tuple(None if stream is None else group.gather(stream[:count], total) for stream in streams)


def mix_features(batch: dict[str, Any], *streams: Tensor | None) -> list[Tensor | None]:
    """Return frame features (B, T, D) mixed with those of each clip's partner, if ``--mixup`` sampled partners.

    Pixels could not be mixed: they may be on another process, and with cached features there are none.
    """
    if "partner" not in batch:
        return list(streams)
    partner, share = batch["partner"], batch["share"]
    return [None if stream is None else share * stream + (1 - share) * stream[partner] for stream in streams]


def numbered_classes(count: int) -> Classes:
    """Return classes without names."""
    return Classes(tuple(f"class {number}" for number in range(1, count + 1)), 0, {}, "")


AUGMENTATION_PARTS = (
    Part("colour jitter", dict.fromkeys("brightness contrast saturation hue".split(), 0.0)),
    Part("greyscale", {"grayscale": 0.0}),
    Part("random erasing", {"random_erasing": 0.0}),
)
MIXUP_PART = Part("mixup", {"mixup": 0.0})
AVERAGE_PART = Part("moving average of the weights", {"ema": 0.0})
LORA_PART = Part("LoRA", {"lora_rank": 0})
CLASS_SIZE_PARTS = (
    Part("logit adjustment", {"logit_adj": False}),
    Part("LDAM", {"ldam": "off"}),
    Part("class-balanced loss", {"class_balanced_loss": False}),
    Part("effective numbers", {"class_beta": 1.0}),
    Part("deferred re-weighting", {"drw_epoch": 0}),
    Part("weighted sampler", {"use_weighted_sampler": False}),
    Part("label smoothing", {"label_smoothing": 0.0}),
    Part("focal loss", {"focal_gamma": 0.0}),
)
POOL_PART = Part("pooling of frames", {"temporal_pool": "class-token"})
ONE_STREAM = {"streams": "face", "adapter": "none", "slerp_weight": 0.0, "mi_loss_weight": 0.0, "dc_loss_weight": 0.0}
# parts of options that every method of clips reads
CLIP_OPTIONS = frozenset(
    {"training", "clip lists", "class lists", "clip models", "pixels", "frames", "rate steps", "dropout layers"}
)
