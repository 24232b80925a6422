"""Every option of main.py. One field is one flag and holds every fact about it.

To add an option, add a field. Functions such as ``clip_option`` set facts that many options share. The facts are:

``modes``             the modes that read it: ``--mode MODE --help`` lists it there
``belongs``           every other mode refuses it; without it they ignore it. Training refuses all that it does not read
``part``              the part of a method that reads it; a method lists the parts that it has (``Method.reads``)
``checkpoint``        ``fixed``: a checkpoint's tensors were made with it, so it cannot change; ``fixed classes``: the
                      same, except in zero-shot, where the classes are new; ``warn``: a change gives a warning
``free``              a resumed run may have another value, and the hash of a run leaves it out. This holds for every
                      option that training does not read
``affects_results``   False: no result depends on it, so comparisons of runs leave it out; it is also free
``of_dataset``        it describes the data set of a run and does not apply to another data set
``below_root``        it names a file; a relative path starts from --root-dir, and a run's hash holds the content
``in_grid``           False: variants of an ablation cannot differ in it
``in_tensors``        False: the tensors of a published checkpoint do not show it; its layout or the user states it
``common``            ``--help`` without a mode lists it
``in_hash``           False: younger than the hashes of stored runs, which leave it out where it has its default
``hash_group``        the group that hashes of stored runs count it in, if it has moved to another one since
``needs``             {option: values}: training reads it only if that option has such a value; ``ON``: any but off
"""

import dataclasses
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal

from engine.registry import method_names
from utils import config
from utils.config import ON

MODES = {
    "train": "train a model and score its best epoch",
    "eval": "score a checkpoint on a test list",
    "zero-shot": "score plain CLIP or a caption model on classes that it was not trained on",
    "predict": "recognise emotions in a video, a camera or pictures",
    "serve": "the same as a web page with an HTTP API",
    "attention": "show which pixels and frames a model looks at",
    "export": "write a model as one ONNX file",
    "compare": "test whether two runs differ by more than chance",
    "ablate": "train variants of a method and compare them",
    "report": "write a report of one or more runs",
    "cache": "store the frame features of long videos",
    "inspect": "print what a checkpoint holds",
    "convert": "write a checkpoint, published or ours, as two files of ours or as a folder for the Hugging Face hub",
    "pretrain-clip": "make a small CLIP from drawn pictures",
}
TRAINING = ("train", "ablate")
SCORING = (*TRAINING, "eval", "zero-shot")
LISTS = (*SCORING, "attention")  # modes that read lists of clips
VIDEOS = ("predict", "serve")
MODELS = (*LISTS, *VIDEOS, "export")  # modes that run a model
COMPUTING = (*MODELS, "cache", "pretrain-clip")
CHECKPOINTS = ("eval", "zero-shot", "cache", *VIDEOS, "attention", "export")  # modes that can read one
FILES = ("compare", "report", "inspect", "convert")  # modes that take files without a flag


FACTS = {  # with the value that they have where a field does not name them
    "modes": TRAINING,
    "belongs": False,
    "part": None,
    "checkpoint": None,
    "free": False,
    "affects_results": True,
    "of_dataset": False,
    "below_root": False,
    "in_grid": True,
    "in_tensors": True,
    "common": False,
    "in_hash": True,
    "hash_group": None,
}


def option(default: Any, help: str, **settings: Any) -> Any:
    """Return a field with the facts of this file's head; the other ``settings`` go to ``utils.config.option``."""
    facts = {name: settings.pop(name, usual) for name, usual in FACTS.items()}
    if set(facts["modes"]).isdisjoint(TRAINING):
        facts |= {"belongs": True, "free": True}
    facts["free"] |= not facts["affects_results"]
    return config.option(default, help, facts=facts, **settings)


listed_file = partial(
    option, part="clip lists", free=True, of_dataset=True, below_root=True, common=True, metavar="FILE"
)
every_mode = partial(option, modes=tuple(MODES), affects_results=False, common=True)
clip_option = partial(option, part="clip lists")
caption_option = partial(option, part="captions")
pixel_option = partial(option, part="pixels")
prompt_option = partial(option, part="prompts")
stream_option = partial(option, part="two streams")
mi_option = partial(stream_option, needs={"mi_loss_weight": ON})
dc_option = partial(stream_option, needs={"dc_loss_weight": ON})
window_option = partial(option, part="windows", modes=(*TRAINING, "eval", *VIDEOS))
window_layer = partial(option, part="windows", checkpoint="fixed classes")
lora_option = partial(option, part="pixels", in_hash=False, needs={"lora_rank": ON})
rate_option = partial(option, part="rate steps")
result_option = partial(option, belongs=True, free=True)
video_option = partial(option, modes=VIDEOS)
server_option = partial(option, modes=("serve",))
attention_option = partial(option, modes=("attention",))
pretraining_option = partial(option, modes=("pretrain-clip",))

# fmt: off

@dataclass(frozen=True)
class RunOptions:
    mode: str = every_mode("train", "What to do.", choices=tuple(MODES), metavar="MODE")
    files: tuple[str, ...] = option(
        (),
        "The checkpoint that --mode inspect and convert read (a file, a folder or `hf-hub:ORG/NAME`), or the run "
        "folders of compare and report.",
        modes=FILES, affects_results=False, metavar="FILE", positional=True
    )
    exper_name: str | None = every_mode(
        None,
        "Name of the experiment; the run folder is outputs/<name>-<time> (default: the names of the recipes, or of "
        "the model).",
        metavar="NAME"
    )
    output_dir: str | None = every_mode(None, "The run folder, instead of one made from the name.", metavar="DIR")
    eval_checkpoint: str | None = option(
        None,
        "Checkpoint to read: a file of ours or a published one, a folder of --mode convert --format hub, or "
        "`hf-hub:ORG/NAME`.",
        modes=CHECKPOINTS, part="training", common=True, metavar="FILE"
    )
    allow_partial: bool = option(
        False, "Load a published checkpoint although keys are missing, unknown or differ.",
        modes=(*CHECKPOINTS, "train", "inspect", "convert"), part="class lists", free=True
    )
    merge: bool = option(
        False, "Add LoRA to the weights that it corrects: the written model computes the same with nothing extra.",
        modes=("convert",)
    )
    average: tuple[str, ...] = option(
        (), "Checkpoints of one model, two or more, whose weights are averaged into one checkpoint.",
        modes=("convert",), metavar="FILE"
    )
    resume: str | None = option(
        None, "Continue a run: its folder, its last.pt, or `auto` for the newest run of this experiment.",
        belongs=True, affects_results=False, common=True, metavar="PATH|auto"
    )
    save_every_minutes: float = option(
        10.0, "Minutes between two saves of last.pt inside an epoch; 0 saves after epochs only.",
        affects_results=False, minimum=0
    )
    device: str = option(
        "auto", "Device: auto, cpu, cuda, cuda:N or mps.",
        modes=COMPUTING, affects_results=False, common=True, metavar="DEVICE"
    )
    gpu: str | None = option(
        None, "N or mps, short for --device cuda:N or mps; the CPU is used where there is none.",
        modes=COMPUTING, affects_results=False
    )
    seed: int = option(
        42, "Random seed for weights, sample order and augmentation.",
        modes=COMPUTING, common=True, minimum=0, maximum=2**32 - 1
    )
    deterministic: bool = option(
        False, "Make repeated runs equal to the last bit; this costs some speed.",
        modes=(*LISTS, "cache", "pretrain-clip")
    )
    workers: int | None = option(
        None, "Processes that decode frames; 0 decodes in the main process, auto starts one per core, 32 at most.",
        modes=(*LISTS, "cache", "pretrain-clip"), affects_results=False, words={"auto": None}, minimum=0, maximum=256,
        metavar="N|auto"
    )
    print_freq: int = option(
        10, "Steps between log lines where there is no progress bar.",
        modes=(*TRAINING, "pretrain-clip"), affects_results=False, minimum=1
    )
    dry_run: bool = every_mode(False, "Print every resolved option and stop, without loading a model or reading data.")


@dataclass(frozen=True)
class DataOptions:
    dataset: str = option(
        "RAER", "Data set; names annotation/<dataset>/classes.json with classes, label base and class texts.",
        in_tensors=False, modes=MODELS, part="class lists", in_grid=False, common=True
    )
    root_dir: str | None = option(
        None, "Folder that relative paths of clips and annotation files start from.",
        modes=(*LISTS, "cache"), free=True, in_grid=False, common=True, metavar="DIR"
    )
    train_annotation: str | None = listed_file(None, "List of training clips, a line `path frames label` per clip.")
    val_annotation: str | None = listed_file(
        None, "List of validation clips; without one, part of the training clips is held out."
    )
    test_annotation: str | None = listed_file(None, "List of test clips.", modes=LISTS, in_grid=False)
    fold: str | None = option(
        None,
        "Number that {fold} in a path stands for; all: one run per fold, scored together. For long videos "
        "(sequence, frame-expr without lists) the split: 0 is the official one, 1 to 4 are others.",
        modes=LISTS, of_dataset=True, in_grid=False, metavar="N|all"
    )
    leave_out: str | None = caption_option(
        None, "Train without this class and test only on it; all: one run per class.",
        modes=SCORING, of_dataset=True, in_grid=False, metavar="CLASS|all"
    )
    subject_folds: int = option(
        5, "Parts of the subjects of --targets, each predicted by a readout that was trained on the others.",
        part="targets", in_grid=False, minimum=2, maximum=1000
    )
    label_type: Literal["single", "compound"] = clip_option(
        "single", "One class per clip, or combinations of several as classes of their own (MAFW).",
        modes=SCORING, in_grid=False
    )
    captions: str | None = caption_option(
        None, "JSON with a sentence per clip, where the lists hold none.",
        of_dataset=True, below_root=True, metavar="FILE"
    )
    targets: str | None = option(
        None, "CSV of `clip,subject,` and numbers to predict, for --task regression.",
        modes=("train", "eval"), part="targets", below_root=True, in_grid=False, metavar="FILE"
    )
    val_fraction: float = clip_option(
        0.2, "Share of the training clips that is held out where no validation list is given.",
        needs={"select_on": ("val",)}, minimum=0, maximum=0.9
    )
    bounding_box_face: str | None = listed_file(
        None, "JSON with one face box per frame.", modes=LISTS, part="class lists"
    )
    bounding_box_body: str | None = listed_file(None, "JSON with one body box per clip.", modes=LISTS)
    crop_body: bool | None = clip_option(
        None, "The context is the body box instead of the whole frame (default: if boxes are given).",
        in_tensors=False, modes=MODELS, checkpoint="warn"
    )
    missing_face: Literal["nearest", "frame"] = clip_option(
        "nearest", "A frame without a face box takes the box of the nearest frame, or the whole frame (published).",
        in_tensors=False, modes=LISTS, checkpoint="warn"
    )
    num_segments: int = clip_option(
        16, "Frames taken from a clip.", modes=MODELS, checkpoint="fixed classes", minimum=1, maximum=1024
    )
    duration: int = clip_option(
        1, "Consecutive frames taken at each segment.", modes=MODELS, checkpoint="fixed classes", minimum=1, maximum=64
    )
    image_size: int = pixel_option(
        224, "Side of both crops in pixels; must be what the CLIP reads.",
        modes=MODELS, checkpoint="fixed", minimum=16, maximum=1024
    )
    sampling: Literal["whole", "published", "window"] = clip_option(
        "whole",
        "Training frames from the whole clip, by the published rule (frames 0-15 of most RAER clips), or a window of "
        "consecutive frames in training and evaluation.",
        in_tensors=False, modes=MODELS
    )
    normalize: Literal["none", "clip"] | None = pixel_option(
        None,
        "Pixels as [0, 1], or by CLIP's mean and deviation (default: none; clip in zero-shot and cache, and for "
        "emoclip and frame-expr).",
        in_tensors=False, modes=(*MODELS, "cache"), checkpoint="warn"
    )
    shared_augmentation: bool = clip_option(
        True, "Both views of a clip share one random augmentation; off is published."
    )
    random_crop: float = pixel_option(
        1.0,
        "Smallest share of the area that a random resized crop keeps in training, the same for all frames of a clip; "
        "1 is off. From a pack and on the device it is taken from the stored square: slightly softer.",
        minimum=0.01, maximum=1
    )
    brightness: float = pixel_option(
        0.0, "Training pixels are multiplied by a factor between 1 - N and 1 + N, one for each clip; 0 is off.",
        minimum=0, maximum=1
    )
    contrast: float = pixel_option(
        0.0, "The same factor for their distance to the mean grey of their frame.", in_hash=False, minimum=0, maximum=1
    )
    saturation: float = pixel_option(
        0.0, "The same factor for their distance to their own grey.", in_hash=False, minimum=0, maximum=1
    )
    hue: float = pixel_option(
        0.0, "The hue of a training clip moves by up to this share of the colour circle.",
        in_hash=False, minimum=0, maximum=0.5
    )
    grayscale: float = pixel_option(
        0.0, "Share of the training clips that lose their colours.", in_hash=False, minimum=0, maximum=1
    )
    random_erasing: float = pixel_option(
        0.0, "Share of the training clips in which a random rectangle of 2 to 33 % of the area is black.",
        in_hash=False, minimum=0, maximum=1
    )
    max_angle: float = pixel_option(4.0, "Training clips are rotated by up to N degrees.", minimum=0, maximum=180)
    flip: bool = pixel_option(True, "Half of the training clips are mirrored.")
    downsample: int = clip_option(
        1, "With --sampling window: every n-th frame is kept.", in_tensors=False, modes=MODELS, minimum=1, maximum=64
    )
    class_texts: str | None = option(
        None, "JSON with classes and texts of your own (annotation/README.md).",
        in_tensors=False, modes=MODELS, part="class lists", of_dataset=True, in_grid=False, metavar="FILE"
    )
    clip_column: str | None = clip_option(
        None, "Column of a CSV list that names the clip (default: as the data set's classes.json states).",
        in_tensors=False, modes=LISTS, of_dataset=True, in_grid=False, in_hash=False, metavar="NAME"
    )
    label_column: str | None = clip_option(
        None, "Column of a CSV list with the name of the class, or its number where classes.json states the first.",
        in_tensors=False, modes=LISTS, of_dataset=True, in_grid=False, in_hash=False, metavar="NAME"
    )
    pack: str | None = clip_option(
        None, "Read crops from this folder, made by python -m dataloader.pack; none: from frames.",
        modes=LISTS, of_dataset=True, metavar="DIR"
    )
    decode: Literal["exact", "scaled"] = pixel_option(
        "exact",
        "exact: every bit as published, in training and evaluation, which published weights need; scaled: large JPEG "
        "frames are decoded at 1/2 to 1/8 where both crops keep their size: faster, about 1/255 off on average. A "
        "checkpoint remembers it and is evaluated the same way.",
        modes=LISTS
    )
    augment: Literal["worker", "device"] = pixel_option(
        "worker",
        "Where training clips are turned and mirrored: each crop before it is resized, as published, in the decoding "
        "processes; or whole batches at their final size on the device: the same random numbers, less CPU work. Crops "
        "of a pack have that size already, so a GPU always does it for them."
    )
    cache_features: bool = clip_option(
        False, "Run a frozen image encoder once over all frames; needs --lr-image-encoder 0."
    )
    cache_variants: int = clip_option(
        6, "Variants of each frame in the cache: itself, and others, each augmented in its own way.",
        needs={"cache_features": ON}, minimum=1, maximum=18
    )
    cache_dir: str = clip_option(
        "outputs/features", "Folder of the feature caches.",
        modes=(*TRAINING, "cache"), affects_results=False, in_grid=False, metavar="DIR"
    )
    on_bad_frame: Literal["error", "skip"] = option(
        "error", "A frame that cannot be read stops the run, or is replaced by its nearest frame.",
        modes=(*LISTS, "cache"), part="frames"
    )


@dataclass(frozen=True)
class ModelOptions:
    model: str = option(
        "clip-caer",
        "The method. clip-caer: face and context stream; dfer-clip: one stream with learnable prompts; emoclip: "
        "video against any text; sequence: every frame of long videos from stored features; frame-expr: single "
        "frames of long videos, or the images of lists.",
        checkpoint="fixed", common=True, choices=method_names
    )
    task: Literal["classification", "regression", "va", "expr", "au", "multi"] = option(
        "classification",
        "regression: an MLP on the frozen video features of an emoclip checkpoint, subject by subject; va, expr, au "
        "or multi (all three): what --model sequence predicts.",
        checkpoint="fixed classes", in_grid=False
    )
    init_from: str | None = option(
        None, "Checkpoint (as of --eval-checkpoint) whose tensors training starts from, where they fit.",
        modes=("train",), belongs=True, part="class lists", free=True, metavar="FILE"
    )
    clip_path: str = pixel_option(
        "ViT-B/32",
        "An OpenAI name, a file or folder of OpenAI, open_clip, Hugging Face or FaRL, `open_clip:MODEL:TAG`, "
        "`hf-hub:ORG/NAME`; `random` for a tiny untrained CLIP.",
        modes=(*MODELS, "cache"), free=True, common=True
    )
    clip_activation: Literal["quick-gelu", "gelu"] | None = pixel_option(
        None, "Activation function of a CLIP, if its file and config do not state it.",
        modes=(*MODELS, "cache", "inspect"), free=True
    )
    clip_head_width: int | None = pixel_option(
        None, "Width of the heads of the image tower, if file and config do not state it (80 for ViT-H/14).",
        modes=(*MODELS, "cache", "inspect"), free=True, minimum=1, maximum=1024
    )
    text_type: Literal["class_names", "class_names_with_context", "class_descriptor", "prompt_ensemble"] = option(
        "class_descriptor", "Which class texts the prompts are built from.", part="clip models",
        in_tensors=False, modes=MODELS, checkpoint="fixed classes"
    )
    temporal_layers: int = option(
        1, "Blocks of each temporal transformer.", part="clip models", checkpoint="fixed classes", minimum=1,
        maximum=48
    )
    temporal_pool: Literal["class-token", "attention", "mean"] = option(
        "class-token",
        "Feature of a clip behind the temporal transformer: the row of a learned token, the frames weighted by learned "
        "scores (RAPT), or their mean.",
        part="clip models", checkpoint="fixed classes", in_hash=False
    )
    dropout: float = option(
        0.1, "Dropout of the temporal transformers in training.", part="dropout layers", minimum=0, maximum=0.9
    )
    swapped_heads: bool = caption_option(
        False,
        "The published temporal net of emoclip: 8 heads of 2048, a feed-forward of 512, 16 times the parameters.",
        checkpoint="fixed"
    )
    contexts_number: int = prompt_option(
        12, "Learnable context vectors before each class text.", checkpoint="fixed classes", minimum=1, maximum=64
    )
    class_token_position: Literal["end", "middle", "front"] = prompt_option(
        "end", "Where the class text stands among the context vectors.",
        in_tensors=False, modes=MODELS, checkpoint="fixed classes"
    )
    class_specific_contexts: bool = prompt_option(
        True, "Separate context vectors for every class.", checkpoint="fixed classes"
    )
    tune_prompts: bool = prompt_option(
        True, "Train the context vectors; off freezes them.", aliases=("--load_and_tune_prompt_learner",)
    )
    adapter: Literal["none", "residual", "published"] = stream_option(
        "residual", "Expression-aware adapter on face frames: x + r (f(x) - x), or f(x) alone as published.",
        modes=MODELS, checkpoint="fixed classes"
    )
    adapter_ratio: float = stream_option(
        0.2, "r of the residual adapter.", needs={"adapter": ("residual",)}, modes=MODELS, checkpoint="warn", minimum=0,
        maximum=1
    )
    adapter_dropout: float = stream_option(
        0.0, "Dropout behind both layers of the adapter in training; RAPT has 0.5.",
        needs={"adapter": ON}, in_hash=False, minimum=0, maximum=0.9
    )
    slerp_weight: float = stream_option(
        0.5, "Instance-enhanced classifier: how far texts move towards the video; 0 is off.",
        in_tensors=False, modes=MODELS, checkpoint="warn", minimum=0, maximum=0.999
    )
    iec_text: Literal["descriptive", "soft", "both"] = stream_option(
        "descriptive", "Texts that are moved towards the video: hand-written, learned, or both.",
        needs={"slerp_weight": ON}, in_tensors=False, modes=MODELS, checkpoint="warn"
    )
    temperature: float = prompt_option(
        0.07, "Divisor of cosine similarities.", in_tensors=False, modes=MODELS, checkpoint="warn", above=0
    )
    streams: Literal["both", "face", "context"] = stream_option(
        "both", "Views that the model sees.", modes=MODELS, checkpoint="fixed classes"
    )


@dataclass(frozen=True)
class OptimOptions:
    epochs: int = option(
        50, "Passes over the training clips.", modes=(*TRAINING, "pretrain-clip"), free=True, common=True, minimum=1
    )
    batch_size: int = option(8, "Clips per step.", modes=(*LISTS, "cache", "pretrain-clip"), common=True, minimum=1)
    accumulate: int = pixel_option(1, "Steps whose gradients are averaged into one update.", minimum=1)
    optimizer: Literal["SGD", "AdamW"] = option("SGD", "Update rule.")
    lr: float = option(
        3e-4, "Learning rate of new layers without a rate of their own; for sequence: of all layers.",
        modes=(*TRAINING, "pretrain-clip"), common=True, minimum=0
    )
    lr_image_encoder: float = pixel_option(
        1e-6, "Learning rate of CLIP's image tower; 0 freezes it.", common=True, minimum=0
    )
    layer_decay: float = pixel_option(
        1.0, "Each block of the image tower learns at this fraction of the rate of the next block.", above=0, maximum=1
    )
    lr_text_encoder: float = caption_option(
        0.0, "Learning rate of CLIP's text tower; 0 freezes it (emoclip).", minimum=0
    )
    finetune_visual: bool = caption_option(False, "Short for --lr-image-encoder at a thousandth of --lr (emoclip).")
    finetune_text: bool = caption_option(False, "Short for --lr-text-encoder at a thousandth of --lr (emoclip).")
    text_blocks: int = caption_option(
        0, "Only the last N blocks of the text tower learn, and nothing else in it; 0: all of it (emoclip).",
        needs={"lr_text_encoder": ON}, in_hash=False, minimum=0
    )
    lr_prompt_learner: float = prompt_option(
        1e-3, "Learning rate of the context vectors.", needs={"tune_prompts": ON}, minimum=0
    )
    lr_adapter: float = stream_option(1e-4, "Learning rate of the adapter.", needs={"adapter": ON}, minimum=0)
    lr_fusion: float | None = stream_option(
        None, "Learning rate of the layer that joins the streams (default: --lr).", minimum=0
    )
    lora_rank: int = pixel_option(
        0, "Rank of the corrections that a frozen tower learns (LoRA) in place of its own weights; 0 is off.",
        checkpoint="fixed", in_hash=False, minimum=0, maximum=1024
    )
    lora_alpha: float = lora_option(
        16.0, "Corrections are multiplied by --lora-alpha / --lora-rank.", checkpoint="fixed", above=0
    )
    lora_dropout: float = lora_option(
        0.0, "Share of a layer's input features that LoRA leaves out in a step.", minimum=0, maximum=0.9
    )
    lora_targets: Literal["attention", "mlp", "all"] = lora_option(
        "attention", "Layers of a block that LoRA corrects.", checkpoint="fixed"
    )
    lora_towers: Literal["image", "text", "both"] = lora_option(
        "image", "Towers of CLIP that LoRA corrects.", checkpoint="fixed"
    )
    lora_layers: int = lora_option(
        0, "LoRA corrects the last N blocks of a tower; 0: all.", checkpoint="fixed", minimum=0, maximum=1024
    )
    lr_lora: float = lora_option(
        1e-2, "Learning rate of LoRA. The default suits SGD; AdamW needs about a tenth.", minimum=0
    )
    weight_decay: float = option(
        1e-4, "Weight decay of every trainable tensor.", modes=(*TRAINING, "pretrain-clip"), minimum=0
    )
    momentum: float = option(0.9, "Momentum of SGD.", needs={"optimizer": ("SGD",)}, minimum=0, maximum=0.9999)
    schedule: Literal["milestones", "cosine"] = rate_option(
        "milestones",
        "How the learning rates change. milestones: after the epochs of --milestones; cosine: after each update, up "
        "in a line over --warmup-epochs, then down to 0 by half a cosine. For sequence the default is cosine.",
        in_hash=False
    )
    milestones: tuple[int, ...] = rate_option(
        (20, 35), "Epochs after which all rates are multiplied by --gamma.",
        needs={"schedule": ("milestones",)}, minimum=1
    )
    gamma: float = rate_option(
        0.1, "Factor of all rates at each of --milestones.", needs={"schedule": ("milestones",)}, above=0
    )
    warmup_epochs: float = rate_option(
        1.0, "Epochs in which the rates rise before --schedule cosine lets them fall.",
        needs={"schedule": ("cosine",)}, hash_group="sequence", minimum=0
    )
    ema: float = option(
        0.0, "Decay (0.999) of a moving average of the weights, which validation, test and best.pt use; 0 is off.",
        part="training", in_hash=False, minimum=0, maximum=0.99999
    )
    drop_last: bool = option(
        False, "Leave the last batch of an epoch out if it has fewer clips than --batch-size.",
        part="training", in_hash=False
    )
    amp: Literal["off", "fp16", "bf16"] = option("off", "Mixed precision.", modes=COMPUTING, common=True)
    use_amp: bool = option(False, "Same as --amp fp16, the name in the published code.", modes=COMPUTING)
    tf32: bool = option(
        False, "On a CUDA GPU, round the factors of float32 products to 10 bits: faster, less exact.", modes=COMPUTING
    )
    grad_clip: float = option(0.0, "Largest norm of all gradients together; 0 is off.", part="training", minimum=0)
    compile: bool = pixel_option(False, "Compile the image encoder to fused kernels; the first steps take minutes.")
    grad_checkpointing: bool = pixel_option(
        False,
        "Compute the activations of the image encoder's blocks again instead of keeping them: less memory, more "
        "time.",
        free=True
    )
    eval_batch_size: int | None = option(
        None, "Clips in one pass of an evaluation (default: --batch-size; on a CPU 2 if frames are read, on a CUDA GPU "
        "64, halved until it fits).",
        modes=LISTS, free=True, in_grid=False, minimum=1
    )
    select_on: Literal["val", "last", "test"] = option(
        "val", "What chooses best.pt: the best score there, or the last epoch.", part="training", common=True
    )
    select_by: Literal["uar", "war", "macro_f1"] = pixel_option(
        "uar", "The score that chooses best.pt. For frame-expr the default is macro_f1.",
        needs={"select_on": ("val", "test")}, in_hash=False
    )
    patience: int = option(
        0, "Epochs without a better score on the clips of --select-on after which training ends; 0: never.",
        part="training", needs={"select_on": ("val", "test")}, hash_group="sequence", minimum=0
    )

    def learns(self, tower: Literal["image", "text"]) -> bool:
        """Return whether the features of a tower of CLIP change in training."""
        return self.weights_learn(tower) or self.has_lora(tower)

    def weights_learn(self, tower: Literal["image", "text"]) -> bool:
        """Return whether a tower's own weights learn; a rate of 0 freezes them."""
        rates = {"image": self.lr_image_encoder, "text": self.lr_text_encoder}
        return rates[tower] > 0

    def has_lora(self, tower: Literal["image", "text"]) -> bool:
        return self.lora_rank > 0 and self.lora_towers in (tower, "both")


@dataclass(frozen=True)
class LossOptions:
    mi_loss_weight: float = stream_option(
        0.5, "Weight of the mutual-information loss between the two text views.",
        aliases=("--lambda_mi", "--lambda-mi"), minimum=0
    )
    dc_loss_weight: float = stream_option(
        0.1, "Weight of the decorrelation loss among learnable texts.",
        aliases=("--lambda_dc", "--lambda-dc"), minimum=0
    )
    mi_warmup: int = mi_option(0, "First epochs without the mutual-information loss.", minimum=0)
    mi_ramp: int = mi_option(0, "Epochs over which it then grows to --mi-loss-weight.", minimum=0)
    dc_warmup: int = dc_option(0, "First epochs without the decorrelation loss.", minimum=0)
    dc_ramp: int = dc_option(0, "Epochs over which it then grows to --dc-loss-weight.", minimum=0)
    class_balanced_loss: bool = option(
        False, "Weigh each class by the inverse of its training clips.", part="class losses"
    )
    class_beta: float = option(
        1.0, "With --class-balanced-loss, n clips count as (1 - N^n) / (1 - N); 1 counts each clip, 0.999 is usual.",
        part="class weights", needs={"class_balanced_loss": ON}, in_hash=False, minimum=0, maximum=1
    )
    drw_epoch: int = option(
        0, "First epochs without the weights of --class-balanced-loss (deferred re-weighting, DRW).",
        part="class weights", needs={"class_balanced_loss": ON}, in_hash=False, minimum=0
    )
    ldam: Literal["off", "cosine", "published"] = prompt_option(
        "off",
        "LDAM: the true class must win by a margin, larger for rarer classes. cosine: a margin of cosines, before "
        "--temperature; published (RAPT): of logits, which are then multiplied by 30.",
        in_hash=False
    )
    ldam_margin: float = prompt_option(
        0.5, "Margin of the rarest class for --ldam.", needs={"ldam": ON}, in_hash=False, above=0, maximum=2
    )
    logit_adj: bool = prompt_option(False, "Add the log prior to the logits, in training only.")
    logit_adj_tau: float = prompt_option(1.0, "Strength of --logit-adj.", needs={"logit_adj": ON}, minimum=0)
    use_weighted_sampler: bool = pixel_option(False, "Sample every class equally often.")
    label_smoothing: float = option(
        0.0, "Share of the target that is spread over all classes.", part="class losses", minimum=0, maximum=0.999
    )
    smoothing_weights: Literal["uniform", "published"] = prompt_option(
        "uniform", "Spread --label-smoothing over all classes, or over false ones by the fork's weights for RAER.",
        needs={"label_smoothing": ON}, in_hash=False
    )
    semantic_labels: float = prompt_option(
        0.0, "Spread targets over classes with similar texts: softmax of the texts' cosines / N (RAPT: 0.1); 0 is off.",
        in_hash=False, minimum=0, maximum=100
    )
    semantic_warmup: int = prompt_option(
        0, "First epochs without --semantic-labels (RAPT: 5).", needs={"semantic_labels": ON}, in_hash=False, minimum=0
    )
    caption_source: Literal["clip", "class"] = caption_option(
        "clip", "What a training clip is compared with: its own caption, or a text of its class (emoclip)."
    )
    merge_positives: bool = caption_option(
        True, "Equal captions of a batch are each other's positives; off, as published: only the clip's own caption is."
    )
    regression_loss: Literal["mse", "ccc"] = option(
        "mse", "Squared error, or 1 - concordance (--task regression).", part="targets"
    )
    mixup: float = option(
        0.0,
        "Mix the features and the loss of each clip with those of another clip of its batch; the share is drawn from "
        "Beta(N, N) for each step (RAPT: 0.2). 0 is off.",
        part="class weights", in_hash=False, minimum=0, maximum=100
    )
    focal_gamma: float = option(
        0.0, "Focal loss: weigh each clip by (1 - p)^gamma; 0 is off.", part="class losses", minimum=0
    )


@dataclass(frozen=True)
class PretrainOptions:
    """Options of --mode pretrain-clip only."""

    stills: int = pretraining_option(16000, "Pictures drawn to train on (about 100 KB of memory each).", minimum=64)
    attribute_weight: float = pretraining_option(
        3.0, "Weight of the losses on the attributes of the drawings; their layers are not saved.", minimum=0
    )
    clip_out: str | None = pretraining_option(
        None, "Where to copy the weights, besides the run folder.", metavar="FILE"
    )


@dataclass(frozen=True)
class SequenceOptions:
    """Options of methods for every frame of long videos, and of the features that they read."""

    features: tuple[str, ...] = window_option(
        (), "Folders of <video>.npy, frames x numbers each; several are joined side by side.",
        modes=(*TRAINING, "eval", "predict"), free=True, metavar="DIR"
    )
    window: int = window_option(300, "Frames that the model reads together.", minimum=1)
    stride: int = window_option(200, "Frames between the beginnings of two windows, at most --window.", minimum=1)
    tcn: bool = window_layer(True, "Use the temporal convolutions.")
    tcn_channels: tuple[int, ...] = window_layer((768, 256, 128), "Width of each block of the convolutions.", minimum=1)
    transformer: bool = window_layer(True, "Use the transformer encoder.")
    causal: bool = window_layer(True, "The convolutions read only earlier frames; off: frames on both sides.")
    positions: bool = window_layer(False, "Sinusoidal positions before the transformer.")
    transformer_layers: int = window_layer(8, "Blocks of the transformer encoder.", minimum=1, maximum=48)
    frame_step: int = option(
        1, "For frame-expr on long videos: every n-th training frame, since neighbours are alike.", part="frame step",
        minimum=1
    )
    smooth: int = window_option(
        1,
        "Odd number of frames over which predictions are smoothed: mean of VA, majority of EXPR; 1 is off. In --mode "
        "predict and serve: number of windows over which probabilities are averaged.",
        minimum=1
    )
    thresholds: Literal["0.5", "tuned"] = window_option(
        "0.5", "Probability from which an action unit is active; tuned: each unit's best on the training videos."
    )


@dataclass(frozen=True)
class ResultOptions:
    """Options of the evaluation of predictions, and of series of runs: intervals, calibration, seeds, ablations."""

    ci: Literal["auto", "persons", "clips", "off"] = result_option(
        "auto", "What is resampled for the 95 % intervals of all scores; auto: persons where known, else clips.",
        modes=(*SCORING, "compare"), affects_results=False
    )
    calibrate: bool = result_option(
        False, "Fit one temperature on the validation clips; best.pt stores it, and logits are divided by it.",
        modes=(*TRAINING, "eval"), part="pixels"
    )
    abstain: float | None = result_option(
        None, "Withhold answers below this confidence: coverage, and the scores of the rest.",
        modes=SCORING, part="pixels", affects_results=False, minimum=0, maximum=1
    )
    test_views: tuple[str, ...] = result_option(
        (), "Score also the mean probabilities over other views of each test clip: flip (mirrored), scales (the middle "
        "90 and 80 % of the pixels), offsets (frames a quarter of a segment earlier and later).",
        modes=SCORING, part="pixels", affects_results=False, choices=("flip", "scales", "offsets"), metavar="VIEW"
    )
    corrupt: tuple[str, ...] = result_option(
        (), "Score the checkpoint also on clips that are made worse, at three strengths: noise, blur, dark, occlusion, "
        "frames, no-face, no-context, or all.",
        modes=("eval",), part="pixels", affects_results=False,
        choices=("noise", "blur", "dark", "occlusion", "frames", "no-face", "no-context", "all"), metavar="KIND"
    )
    seeds: str | None = result_option(
        None, "A run for each seed, and their mean: how many (42 and on), or which: 1,2,3.",
        part="training", metavar="N|A,B,..."
    )
    grid: tuple[str, ...] = result_option(
        (), 'Options and their values, all combinations: "mi_loss_weight=0,0.5 adapter=none"; | begins another grid.',
        modes=("ablate",), part="clip lists", metavar="NAME=A,B"
    )
    drop_one: bool = result_option(
        False, "Leave out each part of the method that is on, in turn.", modes=("ablate",), part="clip lists"
    )
    mistake_frames: bool = result_option(
        True, "Frames of the most confident mistakes in the run folder, and in --mode report: pictures of people.",
        modes=(*SCORING, "report"), part="pixels", affects_results=False
    )


@dataclass(frozen=True)
class AttentionOptions:
    """Options of --mode attention."""

    clips: tuple[str, ...] = attention_option(
        (), "Clips of --test-annotation that are explained: paths as listed; default: one per class.", metavar="CLIP"
    )
    explain: str = attention_option(
        "predicted", "Class that is explained: predicted, label, or its name.", metavar="CLASS"
    )


@dataclass(frozen=True)
class VideoOptions:
    """Options of --mode predict, serve and export, which read videos without a list, and of --mode convert."""

    input: str | None = video_option(
        None, "A video, a picture, a folder of videos or of frames, or a camera's number.", metavar="FILE|DIR|N"
    )
    onnx: str | None = video_option(None, "A model of --mode export, run without torch.", metavar="FILE")
    face_model: str | None = video_option(
        None, "Face detector: yunet, OpenCV's cascades, or a file of a YuNet (default: yunet if it is installed).",
        metavar="yunet|cascades|FILE"
    )
    face_width: float | None = video_option(
        None,
        "Width in pixels of the faces that a model was trained on, as python -m dataloader.audit counts them "
        "(default: what the checkpoint says).",
        minimum=1
    )
    every: float | None = video_option(
        None,
        "Seconds between the beginnings of two windows (default: 1; for models of single frames 0.2; for sequence "
        "models every frame).",
        minimum=0.001
    )
    seconds: float = video_option(4.0, "Length of a window in seconds.", above=0)
    detect_every: float = video_option(
        0.2, "Seconds between two searches for faces; they are tracked in between.", above=0
    )
    threshold: float = video_option(0.0, "Answers below this confidence are shown as uncertain.", minimum=0, maximum=1)
    max_persons: int = video_option(
        1, "Most persons that are tracked in a video; large and confident faces come first.", minimum=1, maximum=32
    )
    overlay: bool = option(True, "Write overlay.mp4.", modes=("predict",))
    encoder: str | None = video_option(
        None, "For sequence models: the CLIP or the checkpoint whose features they were trained on.", metavar="FILE"
    )
    format: Literal["onnx", "hub"] | None = option(
        None,
        "What is written. --mode export: onnx, one graph (the default). --mode convert: hub, a folder for the Hugging "
        "Face hub with a model card (default: a torch file and safetensors).",
        modes=("export", "convert"), affects_results=False
    )
    license: str = option(
        "other",
        "Licence of the weights in the card of --format hub, by the hub's name: mit, cc-by-nc-4.0 ...; other: not "
        "stated.",
        modes=("convert",), affects_results=False, metavar="NAME"
    )
    host: str = server_option("127.0.0.1", "Address to listen on; with the default only this machine can connect.")
    port: int = server_option(8765, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65535)
    max_upload_mb: float = server_option(500.0, "Largest video that is accepted, in MB.", above=0, maximum=100_000)
    max_minutes: float = server_option(15.0, "Longest video that is accepted, in minutes.", above=0, maximum=1440)


# fmt: on
@dataclass(frozen=True)
class Config:
    """Every option of one run; nothing writes to it after parsing."""

    run: RunOptions = field(default_factory=RunOptions)
    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    pretrain: PretrainOptions = field(default_factory=PretrainOptions)
    sequence: SequenceOptions = field(default_factory=SequenceOptions)
    results: ResultOptions = field(default_factory=ResultOptions)
    attention: AttentionOptions = field(default_factory=AttentionOptions)
    video: VideoOptions = field(default_factory=VideoOptions)


GROUPS: dict[str, type] = {group.name: group.type for group in fields(Config)}


def options_by_name() -> dict[str, dataclasses.Field]:
    """Return the field of every option."""
    return {name: f for group in GROUPS.values() for name, f in group.__dataclass_fields__.items()}


def defaults() -> dict[str, Any]:
    """Return the default of every option, before those of a method."""
    return {name: f.default for name, f in options_by_name().items()}


def names_with(**facts: Any) -> list[str]:
    """Return the names of the options that have all of these facts, in the order of the groups."""
    return [n for n, f in options_by_name().items() if all(f.metadata[fact] == value for fact, value in facts.items())]


def group_of(name: str) -> str:
    """Return the name of the group that holds an option."""
    return next(group for group, kind in GROUPS.items() if name in kind.__dataclass_fields__)


def value_of(config: Config, name: str) -> Any:
    """Return the value of an option, which may be in any group."""
    return getattr(getattr(config, group_of(name)), name)
