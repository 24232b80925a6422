"""The defaults of each method, the flags that it does not read, and the learning rates of fine-tuned towers."""

import pytest

from engine.config import make_config, read_command, warnings_of
from models.build import build_temporal
from tests.engine.test_options import flat
from utils.errors import UserError

CLIP_CAER = {
    "streams": "both", "adapter": "residual", "slerp_weight": 0.5, "mi_loss_weight": 0.5, "dc_loss_weight": 0.1,
    "dropout": 0.1, "temperature": 0.07, "contexts_number": 12, "num_segments": 16, "sampling": "whole",
    "normalize": "none", "temporal_layers": 1, "select_on": "val", "lr_image_encoder": 1e-6,
}  # fmt: skip
ONE_STREAM = {"streams": "face", "adapter": "none", "slerp_weight": 0, "mi_loss_weight": 0, "dc_loss_weight": 0}
DEFAULTS = {
    "clip-caer": CLIP_CAER,
    "dfer-clip": CLIP_CAER | ONE_STREAM | {"dropout": 0, "temperature": 0.01, "contexts_number": 8},
    "emoclip": ONE_STREAM | {
        "dropout": 0, "num_segments": 32, "sampling": "window", "normalize": "clip", "lr_image_encoder": 0,
        "lr_text_encoder": 0, "temporal_layers": 2, "select_on": "last", "caption_source": "clip",
        "merge_positives": True, "swapped_heads": False, "task": "classification",
    },
}  # fmt: skip
TWO_STREAMS = [
    "--streams both", "--streams context", "--adapter residual", "--adapter published", "--adapter-ratio 0.3",
    "--slerp-weight 0.5", "--iec-text soft", "--lr-adapter 0.1", "--lr-fusion 0.1", "--mi-loss-weight 0.5",
    "--lambda_mi 0.5", "--mi-warmup 3", "--mi-ramp 3", "--dc-loss-weight 0.1", "--dc-warmup 2", "--dc-ramp 2",
    "--adapter-dropout 0.5",
]  # fmt: skip
CAPTIONS = [
    "--captions FILE", "--caption-source class", "--no-merge-positives", "--leave-out Fatigue", "--leave-out all",
    "--swapped-heads", "--lr-text-encoder 1e-6", "--finetune-visual", "--finetune-text", "--targets FILE",
    "--text-blocks 1", "--subject-folds 3", "--regression-loss ccc",
]  # fmt: skip
PROMPTS = [
    "--contexts-number 4", "--class-token-position front", "--no-class-specific-contexts", "--no-tune-prompts",
    "--lr-prompt-learner 0.1", "--class-balanced-loss", "--logit-adj", "--logit-adj-tau 0.5", "--label-smoothing 0.1",
    "--focal-gamma 2", "--temperature 0.5", "--ldam cosine", "--ldam-margin 0.3", "--class-beta 0.9", "--drw-epoch 3",
    "--smoothing-weights published", "--semantic-labels 0.1", "--semantic-warmup 5",
    "--mixup 0.2",
]  # fmt: skip
MEANINGLESS = [("clip-caer", words) for words in CAPTIONS]
MEANINGLESS += [("dfer-clip", words) for words in TWO_STREAMS + CAPTIONS]
MEANINGLESS += [("emoclip", words) for words in TWO_STREAMS + PROMPTS]
MEANINGLESS += [(model, "--temporal-pool mean") for model in ("frame-expr", "sequence")]
MEANINGLESS += [("frame-expr", words) for words in ("--ldam cosine", "--semantic-labels 0.1")]
MEANINGLESS += [("sequence", words) for words in ("--class-beta 0.9", "--drw-epoch 3", "--ldam cosine")]
MEANINGLESS += [("sequence", words) for words in ("--hue 0.1", "--mixup 0.2")]
REGRESSION = "--task regression --targets t.csv --init-from best.pt"
ACCEPTED = [
    # flags that repeat the default
    ("dfer-clip", "--streams face --adapter none --slerp-weight 0 --mi-loss-weight 0 --dc-loss-weight 0"),
    ("emoclip", "--streams face --adapter none --slerp-weight 0 --lambda_mi 0 --lambda_dc 0 --label-smoothing 0"),
    ("emoclip", "--no-logit-adj --no-class-balanced-loss --focal-gamma 0"),
    ("clip-caer", "--lr-text-encoder 0 --no-finetune-text --no-swapped-heads --caption-source clip"),
    ("dfer-clip", "--no-finetune-visual --merge-positives"),
    # flags that have an effect
    ("dfer-clip", "--label-smoothing 0.1 --logit-adj --focal-gamma 2 --no-tune-prompts --class-token-position front"),
    ("dfer-clip", "--contrast 0.5 --saturation 0.5 --hue 0.2 --grayscale 0.2 --random-erasing 0.2"),
    ("emoclip", "--hue 0.2 --random-erasing 0.2"),
    ("frame-expr", "--duration 1 --no-cache-features --sampling whole --num-segments 1"),
    ("frame-expr", "--hue 0.2 --grayscale 0.2 --mixup 0.2"),
    (
        "clip-caer",
        "--mixup 0.2 --ldam cosine --class-balanced-loss --drw-epoch 3 --cache-features --lr-image-encoder 0",
    ),
    ("clip-caer", "--hue 0.2 --random-crop 0.5 --brightness 0.2 --cache-features --lr-image-encoder 0"),
    ("dfer-clip", "--ldam cosine --class-balanced-loss --class-beta 0.99 --drw-epoch 3 --temporal-pool mean"),
    ("frame-expr", "--class-balanced-loss --class-beta 0.99 --drw-epoch 3"),
    ("emoclip", "--use-weighted-sampler --leave-out Fatigue --captions c.json --swapped-heads --no-merge-positives"),
    ("emoclip", "--temporal-pool attention"),
    ("emoclip", f"{REGRESSION} --subject-folds 3 --regression-loss ccc"),
]
NOT_READ_BY_REGRESSION = [
    "--train-annotation t.txt", "--normalize none", "--num-segments 8", "--cache-features", "--grad-clip 1",
    "--grayscale 0.2", "--pack p", "--select-on val", "--finetune-visual",
]  # fmt: skip


def read(model, words=""):
    return flat(read_command(["--model", model, *words.split()])[1])


@pytest.mark.parametrize("model", DEFAULTS)
def test_the_defaults_of_a_method(model):
    options = read(model)
    assert {name: options[name] for name in DEFAULTS[model]} == DEFAULTS[model]
    if model == "clip-caer":
        assert options == flat(read_command([])[1])  # the default method


def test_options_of_the_user_override_the_defaults_of_a_method():
    options = read("emoclip", "--num-segments 8 --sampling whole --normalize none --temporal-layers 1 --dropout 0.3")
    assert (options["num_segments"], options["sampling"], options["normalize"]) == (8, "whole", "none")
    assert (options["temporal_layers"], options["dropout"]) == (1, 0.3)
    assert read("dfer-clip", "--contexts-number 12 --temperature 0.07")["contexts_number"] == 12


def test_a_stored_run_keeps_its_method_and_its_options():
    layers = {group: vars(part) for group, part in vars(make_config({"model": "emoclip", "num_segments": 8})).items()}
    again = make_config({}, layers)
    assert again.model.model == "emoclip" and again.data.num_segments == 8 and again.data.sampling == "window"


@pytest.mark.parametrize(("model", "words"), MEANINGLESS)
def test_a_flag_that_a_method_does_not_read_is_refused_by_its_name(model, words):
    flag = words.split()[0].replace("--no-", "--").replace("--lambda_mi", "--mi-loss-weight")
    with pytest.raises(UserError, match=rf"\A.*{flag}.*{model}.*\Z"):  # in one line
        read(model, words)


@pytest.mark.parametrize(("model", "words"), ACCEPTED)
def test_other_flags_are_accepted(model, words):
    assert read(model, words)["model"] == model


@pytest.mark.parametrize("words", NOT_READ_BY_REGRESSION)
def test_regression_refuses_options_that_it_does_not_read(words):
    with pytest.raises(UserError, match=rf"(?=.*{words.split()[0]}).*--task regression"):
        read("emoclip", f"{REGRESSION} {words}")


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("--mode eval --eval-checkpoint b.pt --init-from a.pt", "--init-from"),
        ("--mode zero-shot --targets t.csv", "--targets"),
        ("--model emoclip --captions c.json --caption-source class", "--captions c.json"),
    ],
)
def test_flags_that_nothing_reads_are_refused(words, flag):
    with pytest.raises(UserError, match=flag):
        read_command(words.split())


@pytest.mark.parametrize(
    ("words", "image", "text"),
    [
        ("", 0, 0),
        ("--finetune-visual", 1e-6, 0),
        ("--finetune-text", 0, 1e-6),
        ("--finetune-text --finetune-visual --lr 0.02", 2e-5, 2e-5),
        ("--finetune-visual --lr-image-encoder 3e-7", 3e-7, 0),
        ("--finetune-text --lr-text-encoder 3e-7", 0, 3e-7),
        ("--no-finetune-visual --no-finetune-text", 0, 0),
    ],
)
def test_fine_tuned_towers_learn_at_a_thousandth_of_the_rate(words, image, text):
    options = read("emoclip", words)
    assert options["lr_image_encoder"] == pytest.approx(image) and options["lr_text_encoder"] == pytest.approx(text)


def test_blocks_of_a_frozen_text_tower_are_refused():
    with pytest.raises(UserError, match="--text-blocks 2 is not used with --lr-text-encoder 0"):
        read("emoclip", "--text-blocks 2")


def test_methods_without_swapped_heads_have_heads_of_64():
    block = build_temporal(512, layers=1, dropout=0.0, max_frames=16).blocks[0]
    assert block.attention.to_qkv.weight.shape == (1536, 512) and block.attention.heads == 8
    assert block.feed_forward[0].weight.shape == (1024, 512)


def test_boxes_that_a_single_stream_does_not_read_cause_a_warning():
    config = read_command("--model dfer-clip --bounding-box-body body.json".split())[1]
    assert any("--bounding-box-body" in line for line in warnings_of(config))
