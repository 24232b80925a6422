"""EmoCLIP: video-text contrastive training on captions or class texts; zero-shot recognition; downstream regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataloader.classes import load_classes
from engine.methods.base import (
    AUGMENTATION_PARTS,
    AVERAGE_PART,
    CLIP_OPTIONS,
    LORA_PART,
    ONE_STREAM,
    POOL_PART,
    Adopted,
    ClipTask,
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
from utils.text import plural

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataloader.annotation import Clip
    from dataloader.classes import Classes
    from engine.options import Config
    from models.clip_caer import Output, Texts
    from models.clip_towers import Clip as ClipModel
    from models.clip_towers import ClipShape
    from models.published import Published

backbone = Lazy("models.clip_backbone")
networks = Lazy("models.emoclip")
transformers = Lazy("models.temporal")

HEADS = 8  # of the temporal transformer at any width: the tensors of a checkpoint do not show the number of heads
CHUNK = 256  # captions in one pass of the text tower


class CaptionTask(ClipTask):
    """Trains each video to be near its caption or class text. Features of a frozen text tower are computed once."""

    def prepare(self, clips: list[Clip], classes: Classes, device: torch.device) -> list[str]:
        """Encode every distinct caption of the training clips once; return warnings."""
        if self.is_supervised:
            return []
        silent = [clip.id for clip in clips if clip.caption is None]
        if silent:
            raise UserError(
                f"{len(silent)} of {len(clips)} training clips have no caption, such as {silent[0]}; use a list with "
                f"captions, name --captions FILE, or train with --caption-source class"
            )
        row_of_text = {text: row for row, text in enumerate(sorted({clip.caption for clip in clips}))}
        self.row_of: dict[str, int] = {}
        for clip in clips:
            if self.row_of.setdefault(clip.id, row_of_text[clip.caption]) != row_of_text[clip.caption]:
                raise UserError(f"{clip.id} is in the training list with two different captions; keep one")
        tokens, num_cut = backbone.tokenize_cut(list(row_of_text))
        self.tokens, self.lengths = tokens.to(device), (tokens.argmax(dim=-1) + 1).tolist()
        with torch.no_grad():
            chunks = [] if self.texts_learn else [self.model.encode_captions(part) for part in self.tokens.split(CHUNK)]
        self.features = torch.cat(chunks) if chunks else None
        if not num_cut:
            return []
        return [f"{num_cut} of {plural(len(row_of_text), 'caption')} longer than 77 tokens: CLIP reads the beginning"]

    @property
    def texts_learn(self) -> bool:
        return any(p.requires_grad for p in self.model.text_encoder.parameters())

    def step_texts(self) -> Texts:
        """Return the encoded class texts; without a gradient if only the printed score uses them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.loss is not None and self.is_supervised):
            return super().step_texts()

    @property
    def is_supervised(self) -> bool:
        return self.loss.caption_source == "class"

    def forward(self, batch: dict[str, Any]) -> Output:
        out = super().forward(batch)
        if self.model.training:
            self.rows, out.captions = self.captions(out, batch)
        return out

    def captions(self, out: Output, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the number (B,) and the unit feature (B, D) of the text that each video is compared with."""
        if self.is_supervised:
            return batch["label"], out.texts.descriptive[batch["label"], 0]
        numbers = [self.row_of[id] for id in batch["id"]]
        rows = torch.tensor(numbers).to(out.video.device, non_blocking=True)
        if self.features is not None:
            return rows, self.features[rows]
        return rows, self.model.encode_captions(self.tokens[rows], max(self.lengths[number] for number in numbers))

    def losses(self, out: Output, batch: dict[str, Any], epoch: int) -> dict[str, Tensor]:
        if self.loss.merge_positives:
            same = self.rows[:, None] == self.rows
        else:
            same = torch.eye(len(self.rows), dtype=torch.bool, device=self.rows.device)
        scale = self.model.logit_scale.exp()
        return {"contrast": loss_functions.contrastive_loss(out.video, out.captions, scale, same)}


class EmoClip(Method):
    name = "emoclip"
    summary = "one stream of faces through CLIP, compared with texts (EmoCLIP)"
    task = CaptionTask
    defaults = ONE_STREAM | {
        "dropout": 0.0, "temporal_layers": 2, "normalize": "clip", "lr_image_encoder": 0.0, "lr": 1e-3,
        "num_segments": 32, "sampling": "window", "select_on": "last",
    }  # fmt: skip
    reads = CLIP_OPTIONS | {"captions", "targets"}
    tasks = ("classification", "regression")
    task_reads = {
        "classification": CLIP_OPTIONS | {"captions"},
        "regression": frozenset({"class lists", "frames", "rate steps", "targets"}),
    }
    functions = {
        ("train", "regression"): "engine.regress:regress",
        ("eval", "regression"): "engine.regress:evaluate_regression",
    }
    parts = (
        POOL_PART,
        LORA_PART,
        AVERAGE_PART,
        Part("weighted sampler", {"use_weighted_sampler": False}),
        Part("merged captions", {"merge_positives": False}, lambda c: c.loss.caption_source == "clip"),
        *AUGMENTATION_PARTS,
    )
    published_options = defaults | {"downsample": 4, "swapped_heads": True}
    published = {
        "emoclip": PublishedLayout("EmoCLIP", published_options),
        "emoclip-downstream": PublishedLayout("EmoCLIP, downstream", published_options),
    }
    published_unknown = ("num_segments",)
    takes_any_texts = True

    def check(self, config: Config, flags: Mapping[str, Any]) -> None:
        trains_on_classes = config.run.mode == "train" and config.loss.caption_source == "class"
        if config.data.captions is not None and trains_on_classes:
            raise UserError(f"--captions {config.data.captions}: --caption-source class reads no captions; keep one")

    def build(self, config: Config, classes: Classes, clip: ClipModel) -> nn.Module:
        options, width = config.model, clip.shape.embed_dim
        with build.seeded(config.run.seed, "temporal"):
            temporal = transformers.TemporalTransformer(
                width,
                layers=options.temporal_layers,
                heads=HEADS,
                # the published code confused the two sizes, and its weights have these shapes
                head_width=4 * width if options.swapped_heads else width // HEADS,
                hidden=width if options.swapped_heads else 2 * width,
                dropout=options.dropout,
                max_frames=config.data.num_segments * config.data.duration,
                pool=options.temporal_pool,
            )
        return networks.EmoClip(
            image_encoder=clip.visual,
            temporal=temporal,
            text_encoder=clip.text,
            token_embedding=clip.token_embedding.weight.detach().clone(),
            tokens=build.class_tokens(classes.texts_of(options.text_type)),
            parts=build.parts_matrix(classes.parts),
            readout=None,
            logit_scale=clip.logit_scale.item(),
        )

    def rebuild(self, shape: ClipShape, state: State, config: Config) -> nn.Module:
        has_text, readout = build.has_part(state, "text_encoder."), None
        if build.has_part(state, "readout."):
            readout = build.build_readout(*state["readout.0.weight"].shape[::-1], len(state["readout.2.weight"]))
        return networks.EmoClip(
            image_encoder=towers.ImageTower(shape),
            temporal=build.temporal_like(state, "temporal.", config.model.temporal_pool, heads=HEADS),
            text_encoder=towers.TextTower(shape) if has_text else None,
            token_embedding=torch.zeros_like(state["token_embedding"]) if has_text else None,
            tokens=state["tokens"] if has_text else None,
            parts=state.get("parts"),
            readout=readout,
            logit_scale=0.0,
        )

    def set_trainable(self, model: nn.Module, config: Config) -> None:
        super().set_trainable(model, config)
        tower, last = model.text_encoder, config.optim.text_blocks
        blocks = tower.transformer.resblocks
        if last > len(blocks):
            raise UserError(f"--text-blocks {last}: the text tower has {len(blocks)} blocks")
        tower.requires_grad_(False)
        (blocks[-last:] if last else tower).requires_grad_(config.optim.weights_learn("text"))

    def adopt(self, report: Published, shape: ClipShape, flags: Mapping[str, Any]) -> Adopted:
        """Return options and classes. The user names the classes, since the model compares videos with any text."""
        positions = report.model.get("temporal.positions")
        if positions is not None and flags.get("num_segments", 1) >= positions.shape[1]:
            raise UserError(
                f"--num-segments {flags['num_segments']}: the file has positions for {positions.shape[1] - 1}"
            )
        head = report.model.get("readout.2.weight")
        if report.token_embedding is None:
            outputs = f"{len(head)} numbers" if head is not None else "features"
            reason = f"it gives {outputs}, not classes: it has no text tower to compare videos with"
            return Adopted({}, numbered_classes(1), reason)
        classes = load_classes(flags.get("dataset", "RAER"), flags.get("class_texts"))
        texts = classes.texts_of(flags.get("text_type", "class_descriptor"))
        report.prompts = [text for row in texts for text in row]
        report.model["tokens"] = build.class_tokens(texts)
        report.model["token_embedding"] = report.token_embedding
        return Adopted({}, classes)


register(EmoClip())
