"""Every option of main.py: one field is one flag, with its type, default, range and help."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from engine.attention_options import AttentionOptions
from engine.result_options import ResultOptions
from engine.sequence.options import SequenceOptions
from engine.video_options import VideoOptions
from utils.config import option


@dataclass(frozen=True)
class RunOptions:
    mode: Literal[
        "train", "eval", "zero-shot", "cache", "predict", "serve", "compare", "ablate", "report", "attention", "export",
        "pretrain-clip", "inspect", "convert",
    ] = option(
        "train",
        "what to do; cache: store features of long videos; convert: another's checkpoint as ours; pretrain-clip: "
        "make a small CLIP",
    )  # fmt: skip
    files: tuple[str, ...] = option(
        (),
        "the checkpoint that --mode inspect and convert read, or the run folders of compare and report",
        metavar="FILE",
        positional=True,
    )
    exper_name: str = option("run", "name of the experiment; the run folder is outputs/<name>-<time>", metavar="NAME")
    output_dir: str | None = option(None, "the exact run folder, instead of one made from the name", metavar="DIR")
    eval_checkpoint: str | None = option(
        None,
        "the checkpoint that --mode eval, zero-shot, cache, predict, serve, attention and export read: ours, or a "
        "published one",
        metavar="FILE",
    )
    allow_partial: bool = option(False, "take a published checkpoint although keys are missing, unknown or differ")
    resume: str | None = option(
        None, "continue a run: its folder or last.pt, or `auto` for the newest of this experiment", metavar="PATH|auto"
    )
    save_every_minutes: float = option(10.0, "also save last.pt inside an epoch; 0 saves after epochs only", minimum=0)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", metavar="DEVICE")
    gpu: str | None = option(None, "N or mps: short for --device cuda:N or mps, on the CPU where there is none")
    seed: int = option(42, "of weights, sample order and augmentation", minimum=0, maximum=2**32 - 1)
    deterministic: bool = option(False, "bit-equal repeats, at some cost in speed")
    workers: int | None = option(
        None,
        "processes that decode frames; 0 decodes in the main one; auto (default): one a core, 32 at most",
        words={"auto": None},
        minimum=0,
        maximum=256,
        metavar="N|auto",
    )
    print_freq: int = option(10, "steps between log lines where no progress bar is drawn", minimum=1)
    dry_run: bool = option(False, "print every resolved option and stop: loads no model, reads no data")


@dataclass(frozen=True)
class DataOptions:
    dataset: str = option("RAER", "names annotation/<dataset>/classes.json: classes, label base, class texts")
    root_dir: str | None = option(
        None, "folder that relative clip paths and annotation files start from", metavar="DIR"
    )
    train_annotation: str | None = option(None, "list of training clips: `path frames label` a line", metavar="FILE")
    val_annotation: str | None = option(None, "list of validation clips; else part of train", metavar="FILE")
    test_annotation: str | None = option(None, "list of test clips", metavar="FILE")
    fold: str | None = option(
        None,
        "what {fold} in a path stands for; all: one run a fold, and their scores together; of sequence and "
        "frame-expr: the split, 0 "
        "is the official one, 1 to 4 others",
        metavar="N|all",
    )
    leave_out: str | None = option(
        None, "train without this class, test on it alone; all: one run a class (emoclip)", metavar="CLASS|all"
    )
    subject_folds: int = option(
        5, "parts of the subjects of --targets, each predicted by a readout of the others", minimum=2, maximum=1000
    )
    label_type: Literal["single", "compound"] = option(
        "single", "one class a clip, or combinations of several as classes of their own (MAFW)"
    )
    captions: str | None = option(None, "JSON of a sentence a clip, where the lists hold none", metavar="FILE")
    targets: str | None = option(
        None, "CSV of `clip,subject,` and numbers to predict, for --task regression", metavar="FILE"
    )
    val_fraction: float = option(
        0.2, "share of train held out where no validation list is given", minimum=0, maximum=0.9
    )
    bounding_box_face: str | None = option(None, "JSON of one face box a frame", metavar="FILE")
    bounding_box_body: str | None = option(None, "JSON of one body box a clip", metavar="FILE")
    crop_body: bool | None = option(None, "context = the body box instead of the whole frame (default: if boxes given)")
    missing_face: Literal["nearest", "frame"] = option(
        "nearest", "a frame without a face box takes the nearest frame's box, or the whole frame (published)"
    )
    num_segments: int = option(16, "frames taken from a clip", minimum=1, maximum=1024)
    duration: int = option(1, "consecutive frames taken at each of them", minimum=1, maximum=64)
    image_size: int = option(224, "side of both crops in pixels; must be what the CLIP reads", minimum=16, maximum=1024)
    sampling: Literal["whole", "published", "window"] = option(
        "whole",
        "training frames from the whole clip, or by the published rule (frames 0-15 of most RAER clips), or, in "
        "training as in evaluation, a window of consecutive ones",
    )
    normalize: Literal["none", "clip"] | None = option(
        None,
        "pixels as [0, 1], or by CLIP's mean and deviation (default: none; clip in zero-shot and cache, and of "
        "emoclip and frame-expr)",
    )
    shared_augmentation: bool = option(True, "one draw of angle and flip for both views of a clip; off is published")
    random_crop: float = option(
        1.0,
        "smallest share of the area that a random resized crop keeps in training, one for all frames of a clip; 1 is "
        "off. From a pack and on the device it is taken from the stored square: slightly softer",
        minimum=0.01,
        maximum=1,
    )
    brightness: float = option(
        0.0, "training pixels times 1 - this to 1 + this, one draw a clip; 0 is off", minimum=0, maximum=1
    )
    max_angle: float = option(4.0, "training clips are turned by up to so many degrees", minimum=0, maximum=180)
    flip: bool = option(True, "half of the training clips are mirrored")
    downsample: int = option(1, "--sampling window: every so many-th frame is kept", minimum=1, maximum=64)
    class_texts: str | None = option(None, "JSON of your own classes and texts (annotation/README.md)", metavar="FILE")
    pack: str | None = option(
        None, "read crops from this folder, made by python -m dataloader.pack; none: from frames", metavar="DIR"
    )
    decode: Literal["exact", "scaled"] = option(
        "exact",
        "exact: every bit as published, in training as in evaluation, which published weights need; scaled: large JPEG "
        "frames are decoded at 1/2 to 1/8 where both crops keep their size: quicker, about 1/255 off on average. "
        "A checkpoint remembers which, and is evaluated the same way",
    )
    augment: Literal["worker", "device"] = option(
        "worker",
        "where training clips are turned and mirrored: each crop before it is resized, as published, in the decoding "
        "processes; or whole batches at their final size on the device: the same draws, less work for the processor",
    )
    cache_features: bool = option(False, "run a frozen image encoder once over all frames; needs --lr-image-encoder 0")
    cache_variants: int = option(
        6, "augmented variants of each frame in the cache: flips and angles", minimum=1, maximum=18
    )
    cache_dir: str = option("outputs/features", "where caches are kept", metavar="DIR")
    on_bad_frame: Literal["error", "skip"] = option(
        "error", "a frame that cannot be read stops the run, or is replaced"
    )


@dataclass(frozen=True)
class ModelOptions:
    model: Literal["clip-caer", "dfer-clip", "emoclip", "sequence", "frame-expr"] = option(
        "clip-caer",
        "the method: two streams, one stream with learnable prompts, video against any text; for long videos "
        "every frame from stored features, or single frames from pixels",
    )
    task: Literal["classification", "regression", "va", "expr", "au", "multi"] = option(
        "classification",
        "regression: an MLP on the frozen video features of an emoclip checkpoint, subject by subject; of sequence: "
        "valence and arousal, expressions, action units, or all of them",
    )
    init_from: str | None = option(
        None, "a checkpoint whose tensors training starts from, where they fit", metavar="FILE"
    )
    clip_path: str = option(
        "ViT-B/32",
        "an OpenAI name, or a file: OpenAI archive, state dict, safetensors; `random` for a tiny untrained one",
    )
    text_type: Literal["class_names", "class_names_with_context", "class_descriptor", "prompt_ensemble"] = option(
        "class_descriptor", "which class texts the prompts are built on"
    )
    temporal_layers: int = option(1, "blocks of each temporal transformer", minimum=1, maximum=48)
    dropout: float = option(0.1, "of the temporal transformers, while training", minimum=0, maximum=0.9)
    swapped_heads: bool = option(
        False, "the published temporal net of emoclip: 8 heads of 2048, a feed-forward of 512, 16 times the parameters"
    )
    contexts_number: int = option(12, "learnable context vectors before each class text", minimum=1, maximum=64)
    class_token_position: Literal["end", "middle", "front"] = option("end", "where the class text stands among them")
    class_specific_contexts: bool = option(True, "own context vectors for every class")
    tune_prompts: bool = option(
        True, "train the context vectors; off freezes them", aliases=("--load_and_tune_prompt_learner",)
    )
    adapter: Literal["none", "residual", "published"] = option(
        "residual", "expression-aware adapter on face frames: x + r (f(x) - x), or f(x) alone as published"
    )
    adapter_ratio: float = option(0.2, "r of the residual adapter", minimum=0, maximum=1)
    slerp_weight: float = option(
        0.5, "instance-enhanced classifier: how far texts move to the video; 0 is off", minimum=0, maximum=0.999
    )
    iec_text: Literal["descriptive", "soft", "both"] = option("descriptive", "texts moved: hand-written, learnt, both")
    temperature: float = option(0.07, "divides the cosines", above=0)
    streams: Literal["both", "face", "context"] = option("both", "the views that the model sees")


@dataclass(frozen=True)
class OptimOptions:
    epochs: int = option(50, "passes over the training clips", minimum=1)
    batch_size: int = option(8, "clips a step", minimum=1)
    accumulate: int = option(1, "steps whose gradients are summed into one update", minimum=1)
    optimizer: Literal["SGD", "AdamW"] = option("SGD", "the update rule")
    lr: float = option(3e-4, "rate of new layers without one of their own; of sequence: of all", minimum=0)
    lr_image_encoder: float = option(1e-6, "rate of CLIP's image tower; 0 freezes it, no gradient graph", minimum=0)
    layer_decay: float = option(
        1.0, "each block of the image tower learns at this part of the rate of the one after it", above=0, maximum=1
    )
    lr_text_encoder: float = option(0.0, "rate of CLIP's text tower; 0 freezes it (emoclip)", minimum=0)
    finetune_visual: bool = option(False, "short for --lr-image-encoder at a thousandth of --lr (emoclip)")
    finetune_text: bool = option(False, "short for --lr-text-encoder at a thousandth of --lr (emoclip)")
    lr_prompt_learner: float = option(1e-3, "rate of the context vectors", minimum=0)
    lr_adapter: float = option(1e-4, "rate of the adapter", minimum=0)
    lr_fusion: float | None = option(None, "rate of the layer that joins the streams (default: --lr)", minimum=0)
    weight_decay: float = option(1e-4, "of every trainable tensor", minimum=0)
    momentum: float = option(0.9, "of SGD", minimum=0, maximum=0.9999)
    milestones: tuple[int, ...] = option((20, 35), "epochs after which all rates are multiplied by --gamma", minimum=1)
    gamma: float = option(0.1, "see --milestones", above=0)
    amp: Literal["off", "fp16", "bf16"] = option("off", "mixed precision")
    use_amp: bool = option(False, "the published name of --amp fp16")
    tf32: bool = option(False, "on a CUDA GPU, round the factors of float32 products to 10 bits: faster, less exact")
    grad_clip: float = option(0.0, "largest norm of all gradients together; 0 is off", minimum=0)
    compile: bool = option(False, "translate the image encoder to fused kernels; the first steps take minutes")
    grad_checkpointing: bool = option(
        False, "keep no activations of the image encoder's blocks, compute them again: less memory, more time"
    )
    eval_batch_size: int | None = option(
        None, "clips in one pass of an evaluation (default: --batch-size; on a GPU 64, halved until it fits)", minimum=1
    )
    select_on: Literal["val", "last", "test"] = option(
        "val", "what chooses best.pt: the best score there (UAR; of frame-expr macro F1), or the last epoch"
    )


@dataclass(frozen=True)
class LossOptions:
    mi_loss_weight: float = option(
        0.5,
        "weight of the mutual-information loss between the two text views",
        aliases=("--lambda_mi", "--lambda-mi"),
        minimum=0,
    )
    dc_loss_weight: float = option(
        0.1, "weight of the decorrelation loss among learnable texts", aliases=("--lambda_dc", "--lambda-dc"), minimum=0
    )
    mi_warmup: int = option(0, "first epochs without the mutual-information loss", minimum=0)
    mi_ramp: int = option(0, "epochs over which it then grows to --mi-loss-weight", minimum=0)
    dc_warmup: int = option(0, "first epochs without the decorrelation loss", minimum=0)
    dc_ramp: int = option(0, "epochs over which it then grows to --dc-loss-weight", minimum=0)
    class_balanced_loss: bool = option(False, "weigh each class by the inverse of its training clips")
    logit_adj: bool = option(False, "add the log prior to the logits, in training only")
    logit_adj_tau: float = option(1.0, "strength of --logit-adj", minimum=0)
    use_weighted_sampler: bool = option(False, "draw every class equally often")
    label_smoothing: float = option(0.0, "share of the target spread over all classes", minimum=0, maximum=0.999)
    caption_source: Literal["clip", "class"] = option(
        "clip", "what a training clip is compared with: its own caption, or a text of its class (emoclip)"
    )
    merge_positives: bool = option(
        True, "equal captions of a batch are each other's positives; off (published): all but one's own repel"
    )
    regression_loss: Literal["mse", "ccc"] = option("mse", "squared error, or 1 - concordance (--task regression)")
    focal_gamma: float = option(0.0, "focal loss: weigh each clip by (1 - p)^gamma; 0 is off", minimum=0)


@dataclass(frozen=True)
class PretrainOptions:
    """Of --mode pretrain-clip alone."""

    stills: int = option(16000, "pictures drawn to train on (about 100 KB of memory each)", minimum=64)
    attribute_weight: float = option(3.0, "weight of losses on what was drawn; their layers are not kept", minimum=0)
    clip_out: str | None = option(None, "where to copy the weights, besides the run folder", metavar="FILE")


GROUPS = {
    "run": RunOptions,
    "data": DataOptions,
    "model": ModelOptions,
    "optim": OptimOptions,
    "loss": LossOptions,
    "pretrain": PretrainOptions,
    "sequence": SequenceOptions,
    "results": ResultOptions,
    "attention": AttentionOptions,
    "video": VideoOptions,
}


@dataclass(frozen=True)
class Config:
    """Every option of one run; nothing writes to it after parsing."""

    run: RunOptions
    data: DataOptions
    model: ModelOptions
    optim: OptimOptions
    loss: LossOptions
    pretrain: PretrainOptions
    sequence: SequenceOptions
    results: ResultOptions
    attention: AttentionOptions
    video: VideoOptions


def defaults() -> dict[str, Any]:
    return {f.name: f.default for group in GROUPS.values() for f in fields(group)}
