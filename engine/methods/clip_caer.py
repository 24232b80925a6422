"""CLIP-CAER: face and context streams, learnable prompts; with adapter, instance-enhanced classifier, MI and DC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataloader.classes import load_classes
from engine.methods.base import (
    AUGMENTATION_PARTS,
    AVERAGE_PART,
    CLASS_SIZE_PARTS,
    CLIP_OPTIONS,
    LORA_PART,
    MIXUP_PART,
    POOL_PART,
    Adopted,
    ClassifierTask,
    Method,
    Part,
    PublishedLayout,
    State,
    build,
    loss_functions,
    numbered_classes,
    torch,
    towers,
)
from engine.registry import register
from utils.errors import UserError
from utils.lazy import Lazy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataloader.classes import Classes
    from engine.options import Config, LossOptions
    from models.clip_caer import Output
    from models.clip_towers import Clip as ClipModel
    from models.clip_towers import ClipShape
    from models.published import Published

networks = Lazy("models.clip_caer")
recovery = Lazy("models.published")


def needs_descriptive_texts(config: Config) -> bool:
    """Return whether the classifier or the MI loss compares with hand-written texts."""
    in_classifier = uses_iec(config) and config.model.iec_text != "soft"
    return in_classifier or config.loss.mi_loss_weight > 0


def uses_adapter(config: Config) -> bool:
    """Return whether the expression-aware adapter is on."""
    return config.model.adapter != "none" and config.model.streams != "context"


def uses_iec(config: Config) -> bool:
    """Return whether the instance-enhanced classifier is on."""
    return config.model.slerp_weight > 0


def soft_texts_are_idle(config: Config) -> bool:
    """Return whether no loss depends on the texts with learnable prompts and the text tower that encodes them."""
    enter_classifier = not uses_iec(config) or config.model.iec_text != "descriptive"
    loss, epochs = config.loss, config.optim.epochs
    mi_trains = loss.mi_loss_weight > 0 and loss.mi_warmup + (loss.mi_ramp > 0) < epochs
    dc_trains = loss.dc_loss_weight > 0 and loss.dc_warmup + (loss.dc_ramp > 0) < epochs
    return not enter_classifier and not mi_trains and not dc_trains


PUBLISHED = {"slerp_weight": 0.0, "adapter": "none"}
NO_TEXT_LOSSES = {"mi_loss_weight": 0.0, "dc_loss_weight": 0.0}
TARGET_PARTS = (
    Part("fixed smoothing weights", {"smoothing_weights": "uniform"}),
    Part("semantic labels", {"semantic_labels": 0.0}),
)
PROMPT_PART = Part("learnable prompts", {"tune_prompts": False} | NO_TEXT_LOSSES, lambda c: c.model.tune_prompts)


def has_learning_texts(model: nn.Module) -> bool:
    """Return whether the prompts learn, or the text tower that encodes them."""
    return any(p.requires_grad for part in (model.prompts, model.text_encoder) for p in part.parameters())


class PromptTask(ClassifierTask):
    """Classification by learnable prompts, with the MI and DC losses, for one stream or two."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], loss: LossOptions | None = None) -> None:
        super().__init__(model, names, loss)
        if loss is None or loss.smoothing_weights == "uniform":
            return
        self.fork_targets = loss_functions.fork_targets(loss.label_smoothing)
        if len(names) != len(self.fork_targets):
            raise UserError(
                f"--smoothing-weights published: it has weights for the {len(self.fork_targets)} classes of RAER, this "
                f"set has {len(names)}; pass --smoothing-weights uniform"
            )

    def set_training_counts(self, counts: Any, device: torch.device) -> None:
        super().set_training_counts(counts, device)
        margins = loss_functions.ldam_margins(torch.as_tensor(counts), self.loss.ldam_margin)
        self.margins = margins.to(device)
        if self.loss.smoothing_weights == "published":
            self.fork_targets = self.fork_targets.to(device)

    @property
    def texts_learn(self) -> bool:
        return has_learning_texts(self.model)

    @property
    def needs_soft_texts(self) -> bool:
        return self.model.classifies_with_soft_texts or self.trains_soft_texts

    @property
    def trains_soft_texts(self) -> bool:
        """Return whether the MI or the DC loss trains texts."""
        if not self.model.training or not has_learning_texts(self.model):
            return False
        return self.loss.mi_loss_weight + self.loss.dc_loss_weight > 0

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        loss, targets = self.loss, self.targets(out, batch, epoch)
        terms = {"classification": self.classification(out.logits, batch, epoch, targets)}
        if self.trains_soft_texts:
            soft, descriptive = out.texts.soft.mean(dim=1), out.texts.descriptive.mean(dim=1)  # (C, D) each
            mi = loss_functions.scheduled_weight(loss.mi_loss_weight, epoch, loss.mi_warmup, loss.mi_ramp)
            dc = loss_functions.scheduled_weight(loss.dc_loss_weight, epoch, loss.dc_warmup, loss.dc_ramp)
            terms["mi"] = mi * loss_functions.mutual_information_loss(soft, descriptive)
            terms["dc"] = dc * loss_functions.decorrelation_loss(soft)
        return terms

    def label_loss(self, logits: Tensor, label: Tensor, epoch: int, targets: Tensor | None = None) -> Tensor:
        return super().label_loss(self.adjusted(logits, label), label, epoch, targets)

    def adjusted(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the logits (B, C) of the loss: with the log priors, and with LDAM's margin off the true class."""
        loss, temperature = self.loss, self.model.temperature
        if loss.logit_adj:
            logits = logits + loss.logit_adj_tau * self.log_priors
        if loss.ldam == "cosine":  # logits are cosines / temperature, which is LDAM's only scale here
            return loss_functions.lower_true_logits(logits, label, self.margins / temperature)
        if loss.ldam == "published":
            return loss_functions.RAPT_SCALE * loss_functions.lower_true_logits(logits, label, self.margins)
        return logits

    def targets(self, out: Output, batch: dict[str, Any], epoch: int) -> Tensor | None:
        """Return a distribution over the classes for every clip, (B, C); None where the label alone is the target."""
        loss, label = self.loss, batch["label"]
        if loss.semantic_labels > 0 and epoch >= loss.semantic_warmup:
            texts = out.texts.soft if self.model.classifies_with_soft_texts else out.texts.descriptive
            return loss_functions.semantic_targets(texts.mean(dim=1), loss.semantic_labels)[label]
        if loss.smoothing_weights == "published":
            return self.fork_targets[label]
        return None


class ClipCaer(Method):
    name = "clip-caer"
    summary = "two streams, face and context, through one CLIP image encoder (CLIP-CAER)"
    task = PromptTask
    reads = CLIP_OPTIONS | {"prompts", "class losses", "class weights", "two streams"}
    parts = (
        POOL_PART,
        Part("adapter (EAA)", {"adapter": "none"}, uses_adapter),
        Part("adapter dropout", {"adapter_dropout": 0.0}, uses_adapter),
        Part("IEC", {"slerp_weight": 0.0}),
        Part("MI", {"mi_loss_weight": 0.0}, lambda c: c.model.tune_prompts),
        Part("DC", {"dc_loss_weight": 0.0}, lambda c: c.model.tune_prompts),
        PROMPT_PART,
        LORA_PART,
        AVERAGE_PART,
        *CLASS_SIZE_PARTS,
        *TARGET_PARTS,
        *AUGMENTATION_PARTS,
        MIXUP_PART,
        Part("context stream", {"streams": "face"}, lambda c: c.model.streams == "both"),
        Part("face stream", {"streams": "context", "adapter": "none"}, lambda c: c.model.streams == "both"),
    )
    published = {
        "clip-caer": PublishedLayout("CLIP-CAER", PUBLISHED | {"temperature": 0.01}),
        "clip-caer-fork": PublishedLayout(
            "CLIP-CAER with adapter and instance-enhanced classifier", {"slerp_weight": 0.5, "adapter": "published"}
        ),
        "clip-caer-two-heads": PublishedLayout("CLIP-CAER with two extra heads", PUBLISHED | {"adapter": "published"}),
        "rapt": PublishedLayout(
            "RAPT-CLIP-CAER, attention pooling",
            PUBLISHED | {"adapter": "published", "text_type": "prompt_ensemble"},
        ),
    }

    def warnings(self, config: Config) -> list[str]:
        loss, warnings = config.loss, []
        adapts_text = config.optim.has_lora("text")
        if not config.model.tune_prompts and not adapts_text and loss.mi_loss_weight + loss.dc_loss_weight > 0:
            warnings.append("--no-tune-prompts: MI and DC would train nothing, so both are left out")
        if (config.model.tune_prompts or adapts_text) and soft_texts_are_idle(config):
            cause = "MI and DC at 0"
            if loss.mi_loss_weight + loss.dc_loss_weight > 0:
                cause = f"MI and DC at 0 in all {config.optim.epochs} epochs (--mi-warmup {loss.mi_warmup}, "
                cause += f"--dc-warmup {loss.dc_warmup})"
            warnings.append(
                f"with --slerp-weight > 0 and descriptive texts the learnable prompts do not enter the classifier, and "
                f"with {cause} nothing trains them: they stay as they are (--iec-text soft or both uses them)"
            )
        return warnings

    def build(self, config: Config, classes: Classes, clip: ClipModel) -> nn.Module:
        if classes.parts is not None:
            raise UserError(f"--label-type compound needs texts that can be averaged: --model emoclip, not {self.name}")
        options, seed, D = config.model, config.run.seed, clip.shape.embed_dim
        frames = config.data.num_segments * config.data.duration
        temporal = {
            "layers": options.temporal_layers,
            "dropout": options.dropout,
            "max_frames": frames,
            "pool": options.temporal_pool,
        }
        texts = classes.texts_of(options.text_type)
        descriptive = classes.texts_of("descriptive") if needs_descriptive_texts(config) else texts
        has_face, has_context = options.streams != "context", options.streams != "face"
        with build.seeded(seed, "prompts"):
            prompts = build.build_prompts(
                clip,
                [text for row in texts for text in row],
                contexts=options.contexts_number,
                position=options.class_token_position,
                class_specific=options.class_specific_contexts,
            )
        with build.seeded(seed, "adapter"):
            adapter = make_adapter(D, config) if uses_adapter(config) else None
        with build.seeded(seed, "face"):
            face_temporal = build.build_temporal(D, **temporal) if has_face else None
        with build.seeded(seed, "context"):
            context_temporal = build.build_temporal(D, **temporal) if has_context else None
        with build.seeded(seed, "fuse"):
            fuse = torch.nn.Linear(D * (has_face + has_context), D) if self.has_context else None
        return networks.ClipCaer(
            image_encoder=clip.visual,
            text_encoder=clip.text,
            prompts=prompts,
            descriptive=build.encode_classes(clip, descriptive),
            adapter=adapter,
            face_temporal=face_temporal,
            context_temporal=context_temporal,
            fuse=fuse,
            slerp_weight=options.slerp_weight,
            iec_text=options.iec_text,
            temperature=options.temperature,
        )

    def rebuild(self, shape: ClipShape, state: State, config: Config) -> nn.Module:
        """Return one stream or two, with or without adapter and fusion, as the tensors show."""
        options, has_fuse = config.model, build.has_part(state, "fuse.")
        require_fitting_parts(state, config)
        return networks.ClipCaer(
            image_encoder=towers.ImageTower(shape),
            text_encoder=towers.TextTower(shape),
            prompts=build.prompts_like(state, options.class_token_position),
            descriptive=torch.zeros_like(state["descriptive"]),
            adapter=make_adapter(shape.embed_dim, config) if build.has_part(state, "adapter.") else None,
            face_temporal=build.temporal_like(state, "face_temporal.", options.temporal_pool),
            context_temporal=build.temporal_like(state, "context_temporal.", options.temporal_pool),
            fuse=torch.nn.Linear(*state["fuse.weight"].shape[::-1]) if has_fuse else None,
            slerp_weight=options.slerp_weight,
            iec_text=options.iec_text,
            temperature=options.temperature,
        )

    def set_trainable(self, model: nn.Module, config: Config) -> None:
        super().set_trainable(model, config)
        model.text_encoder.requires_grad_(False)
        model.prompts.requires_grad_(config.model.tune_prompts)

    def adopt(self, report: Published, shape: ClipShape, flags: Mapping[str, Any]) -> Adopted:
        """Find the prompts' texts and ends by exact look-up; encode the hand-written view by the file's text tower."""
        model, layout = report.model, self.published[report.family]
        start, context, text = model["prompts.start"], model["prompts.context"], model["prompts.text"]
        R, contexts, embedding = len(text), context.shape[-2], report.token_embedding
        report.prompts, lengths = recovery.recover_texts(text, embedding, 0)
        model["prompts.end"] = lengths + 1 + contexts
        model["prompts.text_lengths"] = lengths
        if report.hand_crafted is None:
            filler = embedding[:1].expand(R, contexts, -1)  # behind the end of text: no result depends on it
            embedded, ends = torch.cat([start, text, filler], dim=1), lengths + 1
        else:
            embedded = report.hand_crafted
            report.descriptive, ends = recovery.recover_texts(embedded, embedding, 1)
        is_ensemble = flags.get("text_type", layout.options.get("text_type")) == "prompt_ensemble"
        C = len(embedded)
        classes, unnamed = self.published_classes(C, flags)
        if is_ensemble and report.hand_crafted is None and R % len(classes) == 0:
            C, unnamed = len(classes), None
        features = encode_embedded(model, shape, embedded, ends)
        model["descriptive"] = features.view(C, -1, features.shape[-1])
        is_pooled = "face_temporal.pool.0.weight" in report.names.values()
        frames = model["face_temporal.positions"].shape[1] - ("face_temporal.class_token" in model)
        options = {
            "contexts_number": contexts,
            "class_specific_contexts": context.dim() == 3,
            "num_segments": frames,
            "temporal_layers": towers.count_blocks(model, "face_temporal.blocks."),
            "temporal_pool": "attention" if is_pooled else "class-token",
        }
        if R > C:  # the published code leaves the instance-enhanced classifier out of an ensemble
            options |= {"text_type": "prompt_ensemble", "slerp_weight": 0.0}
        return Adopted(options, classes if unnamed is None else numbered_classes(C), unnamed)

    def published_classes(self, count: int, flags: Mapping[str, Any]) -> tuple[Classes, str | None]:
        """Return the classes that ``--dataset`` or ``--class-texts`` names, and what is wrong with their number."""
        classes = load_classes(flags.get("dataset", "RAER"), flags.get("class_texts"))
        if len(classes) == count:
            return replace(classes, names=self.published_names(classes)), None
        return classes, (
            f"it knows {count} classes, {classes.source} has {len(classes)}: "
            f"name its own with --dataset or --class-texts FILE"
        )

    def published_names(self, classes: Classes) -> tuple[str, ...]:
        """Return the class names in the order of published files."""
        return classes.names


def require_fitting_parts(state: State, config: Config) -> None:
    """Check that the tensors of a checkpoint have the streams that its options say, and no adapter that they deny."""
    has_part = [build.has_part(state, f"{stream}_temporal.") for stream in ("face", "context")]
    if has_part != [config.model.streams != "context", config.model.streams != "face"]:
        streams = " and ".join(name for name, has in zip(("face", "context"), has_part, strict=True) if has) or "none"
        raise UserError(
            f"the checkpoint's options say --streams {config.model.streams}, the streams in its tensors are: {streams}"
        )
    if config.model.adapter == "none" and build.has_part(state, "adapter."):
        raise UserError("the checkpoint's options say --adapter none, but its tensors have an adapter")


def make_adapter(width: int, config: Config) -> nn.Module:
    options = config.model
    return networks.Adapter(
        width,
        residual=options.adapter == "residual",
        ratio=options.adapter_ratio,
        dropout=options.adapter_dropout,
    )


def encode_embedded(model: State, shape: ClipShape, embedded: Tensor, end: Tensor) -> Tensor:
    """Return unit features (N, D) of embedded texts (N, 77, W), by the file's own text tower."""
    tower = towers.TextTower(shape)
    prefix = "text_encoder."
    tower.load_state_dict({key.removeprefix(prefix): v for key, v in model.items() if key.startswith(prefix)})
    with torch.no_grad():
        return torch.nn.functional.normalize(tower(embedded, end), dim=-1)


register(ClipCaer())
