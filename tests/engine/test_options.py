"""The command line: names, defaults, aliases, folds, seeds and grids, and the combinations that are refused."""

import dataclasses
import json
import shlex

import pytest

from engine.config import make_config, read_command, warnings_of
from engine.options import GROUPS, options_by_name
from engine.series import is_series, read_grid, seeds_of
from tests.support.tools import flat
from utils.config import choices_of, flag_of, from_json, parse
from utils.errors import UserError

DEFAULTS = {  # as documented
    "seed": 42, "dry_run": False, "deterministic": False, "dataset": "RAER", "val_fraction": 0.2, "num_segments": 16,
    "duration": 1, "image_size": 224, "temporal_layers": 1, "contexts_number": 12, "slerp_weight": 0.5,
    "temperature": 0.07, "epochs": 50, "batch_size": 8, "lr_adapter": 1e-4, "mi_loss_weight": 0.5,
    "dc_loss_weight": 0.1, "mi_warmup": 0, "mi_ramp": 0, "dc_warmup": 0, "dc_ramp": 0, "logit_adj_tau": 1.0,
    "logit_adj": False, "class_balanced_loss": False, "use_weighted_sampler": False, "label_smoothing": 0.0,
    "focal_gamma": 0.0, "amp": "off", "grad_clip": 0.0, "accumulate": 1, "mode": "train", "device": "auto",
    "tune_prompts": True, "on_bad_frame": "error", "layer_decay": 1.0, "normalize": "none",
}  # fmt: skip
CHOICES = {
    "mode": "train eval zero-shot",
    "sampling": "whole published",
    "normalize": "none clip",
    "text_type": "class_names class_names_with_context class_descriptor prompt_ensemble",
    "class_token_position": "end middle front",
    "adapter": "none residual published",
    "iec_text": "descriptive soft both",
    "streams": "both face context",
    "optimizer": "SGD AdamW",
    "amp": "off fp16 bf16",
    "select_on": "val last test",
    "on_bad_frame": "error skip",
}
BOOLEANS = """dry_run deterministic shared_augmentation class_specific_contexts tune_prompts class_balanced_loss
logit_adj use_weighted_sampler crop_body""".split()
VALUES = {
    "exper_name": "x", "output_dir": "o", "workers": 3, "print_freq": 7, "root_dir": "r", "train_annotation": "a",
    "val_annotation": "b", "test_annotation": "c", "bounding_box_face": "f", "bounding_box_body": "g",
    "class_texts": "t.json", "clip_path": "ViT-B/16", "adapter_ratio": 0.3, "lr": 0.01, "lr_image_encoder": 0.0,
    "lr_prompt_learner": 0.02, "lr_adapter": 0.03, "weight_decay": 0.1, "momentum": 0.5, "gamma": 0.5,
    "accumulate": 4, "grad_clip": 1.0, "label_smoothing": 0.1, "focal_gamma": 2.0, "seed": 7, "slerp_weight": 0.0,
    "eval_batch_size": 3,
}  # fmt: skip
DRY = "--dry-run --test-annotation t --bounding-box-body b"  # some choices need these
FOLDS = "--train-annotation set_{fold}_train.txt --test-annotation set_{fold}_test.txt"
LISTS = "--train-annotation train.txt --test-annotation test.txt"
ABLATE = f"--mode ablate {LISTS}"
EVAL = "--mode eval --test-annotation t.txt --eval-checkpoint"


def read(command: str = ""):
    return read_command(shlex.split(command))[1]


SAMPLES = {bool: "False", int: "2", float: "0.25", str: "text"}  # allowed by every range but those of 0.001 and 16


def sample_of(field) -> str:
    """Return a value that the flag takes; the words of an option with choices are its own."""
    if choices := choices_of(field):
        return choices[-1]
    minimum = field.metadata["minimum"] or 0
    kind = next(part for part in (bool, int, float, str) if part.__name__ in str(field.type).replace("<class ", ""))
    return SAMPLES[kind] if kind in (bool, str) or minimum <= float(SAMPLES[kind]) else str(minimum)


@pytest.mark.parametrize("field", [f for f in options_by_name().values() if not f.metadata["positional"]])
def test_an_empty_value_takes_back_what_a_recipe_sets(field, tmp_path):
    """A list of numbers may be empty; every other flag counts as not given."""
    recipe, flag = tmp_path / "recipe.args", flag_of(field.name)
    recipe.write_text(f"{flag}={sample_of(field)}\n--epochs=3\n" if field.name != "epochs" else "--epochs=3\n")
    words = ["first", f"@{recipe}", f"{flag}=", "--seed" if field.name != "seed" else "--lr", "1"]
    assert field.name in parse(GROUPS, words[:2], "")
    values = parse(GROUPS, words, "")
    is_list = field.type == tuple[int, ...]
    assert values.get(field.name, "not named") == (() if is_list else "not named")
    assert values["files"] == ("first",) and len(values) == 3 + is_list - (field.name == "epochs")
    assert field.name in parse(GROUPS, [*words, f"{flag}={sample_of(field)}"], "")


def values_of(command: str = "") -> dict:
    return flat(read(command))


def test_defaults_are_the_documented_ones():
    assert {name: value for name, value in values_of().items() if name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_accepted_and_anything_else_is_refused(name):
    for choice in CHOICES[name].split():
        assert values_of(f"{DRY} {flag_of(name)} {choice}")[name] == choice
    assert_refused(f"{flag_of(name)} other", f"{flag_of(name)}|{CHOICES[name].split()[0]}")


@pytest.mark.parametrize("name", VALUES)
def test_values_have_the_type_of_their_option(name):
    assert values_of(f"{flag_of(name)} {VALUES[name]}")[name] == VALUES[name]


@pytest.mark.parametrize("name", BOOLEANS)
def test_booleans_are_flags_published_strings_or_switched_off(name):
    flag = flag_of(name)
    for words, value in ((flag, True), (f"{flag} True", True), (f"{flag} False", False), (f"--no-{flag[2:]}", False)):
        assert values_of(f"{DRY} {words}")[name] is value


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--lambda_mi 0.7", "mi_loss_weight", 0.7),
        ("--lambda-mi 0.7", "mi_loss_weight", 0.7),
        ("--lambda_dc 1.2", "dc_loss_weight", 1.2),
        ("--lambda-dc 1.2", "dc_loss_weight", 1.2),
        ("--load_and_tune_prompt_learner False", "tune_prompts", False),
        ("--load_and_tune_prompt_learner True", "tune_prompts", True),
        ("--use-amp", "amp", "fp16"),
        ("--use-amp True", "amp", "fp16"),
        ("--use-amp False", "amp", "off"),
        ("--gpu 0", "gpu", "0"),
        ("--gpu mps", "gpu", "mps"),
        ("--device cuda:1", "device", "cuda:1"),
        ("--milestones 10 15", "milestones", (10, 15)),
        ("--milestones", "milestones", ()),
        ("--lr 0.25", "lr_fusion", 0.25),
        ("--mode zero-shot --dry-run", "normalize", "clip"),
        ("--mode zero-shot --normalize none --dry-run", "normalize", "none"),
    ],
)
def test_aliases_short_forms_and_defaults_that_follow_others(words, name, value):
    assert values_of(words)[name] == value


def test_no_two_options_share_a_flag_and_each_has_a_help_text():
    fields = options_by_name().values()
    flags = [flag for f in fields for flag in (flag_of(f.name), *f.metadata["aliases"])]
    assert len(flags) == len(set(flags))
    assert all(len(field.metadata["help"]) > 5 for field in fields)


def test_the_whole_config_survives_json():
    words = "--lambda_mi 0.7 --milestones 3 9 --use-amp --no-shared-augmentation --bounding-box-body b --lr 0.5"
    given, config = read_command(words.split())
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert make_config(given, stored) == make_config({}, stored) == config
    assert from_json(GROUPS, stored)["milestones"] == (3, 9)
    assert make_config({"amp": "off"}, stored).optim.amp == "off"  # evaluated without mixed precision


@pytest.mark.parametrize("fold", ["1", "5", "10"])
def test_the_number_of_the_fold_is_filled_into_every_path(fold):
    paths = "--val-annotation v/{fold}/{fold}.txt --captions c{fold}.json --init-from outputs/{fold}/best.pt"
    options = values_of(f"{FOLDS} --model emoclip {paths} --output-dir o/{{fold}} --fold {fold}")
    assert {name: options[name] for name in "train_annotation test_annotation val_annotation captions".split()} == {
        "train_annotation": f"set_{fold}_train.txt",
        "test_annotation": f"set_{fold}_test.txt",
        "val_annotation": f"v/{fold}/{fold}.txt",
        "captions": f"c{fold}.json",
    }
    assert options["init_from"] == f"outputs/{fold}/best.pt" and options["output_dir"] == f"o/{fold}"
    several = values_of(f"--model sequence --features a/{{fold}} b{{fold}} c --fold {int(fold) % 5}")["features"]
    assert several == (f"a/{int(fold) % 5}", f"b{int(fold) % 5}", "c")
    assert values_of(f"{EVAL} o/{{fold}}/best.pt --fold {fold}")["eval_checkpoint"] == f"o/{fold}/best.pt"


def test_paths_without_a_placeholder_and_paths_of_a_dry_run_are_not_changed():
    config = read("--train-annotation a{b}.txt --test-annotation set_{fold}_test.txt --fold 2")
    assert config.data.train_annotation == "a{b}.txt"
    assert read(f"{FOLDS} --dry-run").data.train_annotation == "set_{fold}_train.txt"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"{FOLDS} --fold all", True),
        (f"{EVAL} o/{{fold}}/best.pt --fold all", True),
        (f"{FOLDS} --model emoclip --fold all --leave-out Fatigue", True),
        (f"{FOLDS} --model emoclip --fold 2 --leave-out all", True),
        ("--model emoclip --leave-out all", True),
        (f"{LISTS} --seeds 2", True),
        (f"{FOLDS} --fold 2", False),
        ("--model emoclip --leave-out Fatigue", False),
        (f"{LISTS} --seed 2", False),
        (f"{ABLATE} --drop-one --seeds 2", False),
    ],
)
def test_a_command_with_several_runs_is_a_series(command, expected):
    assert is_series(read(command)) is expected


def test_an_evaluated_fold_must_be_that_of_the_checkpoint_or_fill_a_path():
    """It is checked when the checkpoint is read, because only then its method is known."""
    flags = {"mode": "eval", "eval_checkpoint": "fold-1/best.pt", "fold": "2"}
    with pytest.raises(UserError, match="--fold 2"):
        make_config(flags, dataclasses.asdict(make_config({})))


def test_seeds_are_a_count_or_a_list():
    assert seeds_of("3", 42) == [42, 43, 44]
    assert seeds_of("1,2,7", 42) == [1, 2, 7]
    assert seeds_of("0,4294967295", 42) == [0, 4294967295]


@pytest.mark.parametrize("text", ["x", "0", "-1", "1,", ",1", "1.5", "1,1", "1 2", "1001", "4294967296,1", "²"])
def test_invalid_seeds_are_refused(text):
    with pytest.raises(UserError, match="--seeds"):
        seeds_of(text, 42)


def test_values_of_a_grid_have_the_type_of_their_option():
    [grid] = read_grid(["slerp_weight=0,0.5 --epochs=2", "logit-adj=off,True", "adapter=none", "milestones=10,10+15"])
    assert grid == {
        "slerp_weight": [0.0, 0.5],
        "epochs": [2],
        "logit_adj": [False, True],
        "adapter": ["none"],
        "milestones": [(10,), (10, 15)],
    }
    assert read_grid(["ema=0.9 |", "dropout=0,0.1 | lr=1"]) == [{"ema": [0.9]}, {"dropout": [0.0, 0.1]}, {"lr": [1.0]}]
    assert type(grid["slerp_weight"][0]) is float and type(grid["epochs"][0]) is int
    assert read_grid(["lambda_mi=0"]) == [{"mi_loss_weight": [0.0]}]  # an alias is its option


REFUSED = [  # command, fragments of the message, separated by |
    ("--slerp-weight 1", "--slerp-weight"),
    ("--slerp-weight -0.1", "--slerp-weight|at least 0"),
    ("--temperature 0", "--temperature|above 0"),
    ("--epochs 0", "--epochs"),
    ("--batch-size 0", "--batch-size"),
    ("--mode ablate --drop-one --init-from x.pt", "--init-from|--mode ablate"),
    ("--eval-batch-size 0", "--eval-batch-size"),
    ("--lr -1", "--lr"),
    ("--lr nan", "--lr"),
    ("--val-fraction 1.5", "--val-fraction"),
    ("--label-smoothing 1", "--label-smoothing"),
    ("--device gpu", "--device gpu|cuda:N"),
    ("--gpu first", "--gpu first"),
    ("--gpu ²", "--gpu"),
    ("--milestones 20 10", "--milestones|rise"),
    ("--gpu 0 --device cpu", "--gpu|--device"),
    ("--use-amp --amp bf16", "--use-amp|--amp"),
    ("--crop-body", "--crop-body|--bounding-box-body"),
    ("--mode eval", "--mode eval|--eval-checkpoint"),
    ("--eval-checkpoint x", "--eval-checkpoint|--mode train"),
    ("--val-annotation v --val-fraction 0.1", "--val-fraction|--val-annotation"),
    ("--val-fraction 0", "--select-on|--val-fraction"),
    ("--select-on test", "--select-on test|--test-annotation"),
    ("--streams context --adapter residual", "--adapter|--streams context"),
    ("--epoch 3", "unknown flag --epoch|did you mean --epochs"),
    ("--lambda_mii 3", "did you mean --lambda_mi"),
    # encoders that are frozen or cached
    ("--lr-image-encoder 0 --grad-checkpointing", "--lr-image-encoder is 0"),
    ("--lr-image-encoder 0 --layer-decay 0.5", "--lr-image-encoder is 0"),
    ("--lr-image-encoder 0 --compile --cache-features", "--cache-features runs only once"),
    ("--lr-image-encoder 1e-6 --cache-features", "--lr-image-encoder 0"),
    # options that need another one
    ("--adapter none --adapter-dropout 0.5", "--adapter-dropout 0.5|set --adapter as well"),
    ("--streams context --adapter-dropout 0.5", "--adapter-dropout 0.5|--streams context"),
    ("--drw-epoch 3", "--drw-epoch 3|set --class-balanced-loss as well"),
    ("--class-beta 0.9", "--class-beta 0.9|set --class-balanced-loss as well"),
    ("--ldam-margin 0.3", "--ldam-margin 0.3|set --ldam as well"),
    ("--smoothing-weights published", "--smoothing-weights published|set --label-smoothing as well"),
    ("--semantic-warmup 5", "--semantic-warmup 5|set --semantic-labels as well"),
    ("--adapter-dropout 1", "--adapter-dropout|at most 0.9"),
    ("--class-beta 1.1", "--class-beta|at most 1"),
    ("--ldam on", "--ldam|cosine"),
    ("--temporal-pool max", "--temporal-pool|class-token"),
    # one target for a clip
    ("--semantic-labels 0.1 --label-smoothing 0.1", "--semantic-labels 0.1 and --label-smoothing 0.1|keep one"),
    ("--ldam published --semantic-labels 0.1", "--ldam published|--semantic-labels 0.1"),
    # frames and augmentation
    ("--random-crop 0", "--random-crop"),
    ("--brightness 1.5", "--brightness"),
    ("--max-angle 181", "--max-angle"),
    ("--hue 0.6", "--hue|at most 0.5"),
    ("--contrast 1.5", "--contrast|at most 1"),
    ("--grayscale -0.1", "--grayscale|at least 0"),
    ("--random-erasing 2", "--random-erasing|at most 1"),
    ("--downsample 4", "--downsample 4"),
    ("--sampling published --downsample 2", "--downsample 2"),
    ("--sampling window --duration 2", "--duration 2"),
    ("--sampling window --downsample 0", "--downsample"),
    ("--augment device --cache-features --lr-image-encoder 0", "--augment device"),
    ("--mixup -1", "--mixup|at least 0"),
    ("--mixup 0.2 --batch-size 1", "--mixup 0.2|--batch-size 2"),
    ("--model emoclip --caption-source class --mixup 0.2", "--mixup 0.2|emoclip"),
    # results
    ("--mode zero-shot --calibrate", "--calibrate belongs to --mode train"),
    ("--mode predict --no-calibrate", "--calibrate belongs to --mode train, ablate, eval, not to"),
    ("--mode compare a b --abstain 0.5", "--abstain belongs to --mode train"),
    ("--mode cache --ci off", "--ci belongs to --mode train"),
    ("--mode cache --no-mistake-frames", "--mistake-frames belongs to --mode train"),
    ("--mode inspect x.pt --abstain 0.5", "--abstain belongs to --mode train"),
    ("--abstain 1.5", "at most 1"),
    ("--model sequence --ci clips", "whole videos"),
    ("--model sequence --calibrate", "--calibrate True is not used by --model sequence"),
    ("--ci all", "--ci"),
    # options without a meaning for a method
    ("--model dfer-clip --adapter residual", "--adapter"),
    ("--model dfer-clip --crop-body", "--crop-body"),
    ("--model dfer-clip --captions c.json", "--captions"),
    # folds
    *(
        (f"{FOLDS} '--fold={fold}'", f"--fold {fold}|number")
        for fold in "x|-1|1.5|one|ALL|1/2|²|٣|1 2|99999".split("|")
    ),
    ("--train-annotation train.txt --fold 2", "--fold 2"),
    (f"{FOLDS} --fold ''", "--fold"),
    (FOLDS, "--train-annotation|{fold}|--fold"),
    ("--bounding-box-face {fold}.json", "--bounding-box-face|{fold}|--fold"),
    ("--mode eval --eval-checkpoint o/{fold}.pt", "--eval-checkpoint|{fold}|--fold"),
    ("--init-from o/{fold}.pt", "--init-from|{fold}|--fold"),
    ("--output-dir o/{fold}", "--output-dir|{fold}|--fold"),
    ("--train-annotation train.txt --fold all", "--fold all|{fold}"),
    ("--fold all", "--fold all|{fold}"),
    ("--output-dir o/{fold} --fold all", "--fold all|{fold}"),
    (f"{EVAL} best.pt --fold all", "--fold all|{fold}"),
    # one series at a time
    (f"--model emoclip {FOLDS} --fold all --leave-out all", "--fold all|--leave-out all"),
    (f"{LISTS} --seeds 2 --fold all --bounding-box-face {{fold}}.json", "--fold all|one series at a time"),
    (f"{LISTS} --seeds 2 --model emoclip --leave-out all", "--seeds|--leave-out all"),
    # targets are numbers, which are scored by themselves
    *(
        (f"--model emoclip {words} --targets scores{{fold}}.csv {flag} all", f"{flag} all")
        for words in ("--mode eval --eval-checkpoint b.pt", "--task regression")
        for flag in ("--fold", "--leave-out")
    ),
    # seeds
    (f"{LISTS} --seeds 1", "--seeds 1|one run has no spread"),
    (f"{LISTS} --seeds 7,", "--seeds 7,"),
    (f"{LISTS} --seeds 2 --mode eval --eval-checkpoint x.pt", "--seeds|--mode eval"),
    (f"{LISTS} --seeds 2 --mode zero-shot", "--seeds|--mode zero-shot"),
    (f"{LISTS} --seeds 2 --model emoclip --task regression --targets t.csv", "--seeds|regression"),
    (f"{LISTS} --seeds 2 --seed 4294967295", "--seeds|4294967296"),
    # ablations
    ("--mode ablate", "--grid|--drop-one"),
    ("--mode ablate --grid |", "--grid|--drop-one"),
    ("--grid lr=1", "--grid|--mode ablate"),
    ("--mode eval --eval-checkpoint x.pt --drop-one", "--drop-one|--mode ablate"),
    ("--mode ablate --drop-one --model sequence", "sequence|clip by clip"),
    ("--mode ablate --drop-one --model frame-expr", "frame-expr"),
    ("--mode ablate --drop-one --leave-out all --model emoclip", "--leave-out all"),
    ("--mode ablate --drop-one --seeds x", "--seeds x"),
    (f"{ABLATE} --drop-one --adapter residual --streams context", "--adapter residual"),
    # grids
    (f"{ABLATE} --grid slerp_weight", "slerp_weight|NAME=VALUE"),
    (f"{ABLATE} --grid slerp_weight=", "--grid|NAME=VALUE"),
    (f"{ABLATE} --grid slerp_weight=0,,1", "--grid|NAME=VALUE"),
    (f"{ABLATE} --grid =1", "--grid|NAME=VALUE"),
    (f"{ABLATE} --grid slerp_wieght=0", "slerp_wieght|did you mean slerp_weight"),
    (f"{ABLATE} --grid slerp_weight=two", "--grid|slerp_weight=two|expected a number"),
    (f"{ABLATE} --grid slerp_weight=2", "--grid|must be at most 0.999"),
    (f"{ABLATE} --grid adapter=no", "--grid|adapter=no|none|residual"),
    (f"{ABLATE} --grid epochs=1.5", "--grid|whole number"),
    (f"{ABLATE} --grid epochs=0", "--grid|at least 1"),
    (f"{ABLATE} --grid logit_adj=maybe", "--grid|True or False"),
    (f"{ABLATE} --grid 'slerp_weight=0 slerp-weight=0.5'", "--grid|named twice"),
    (f"{ABLATE} --grid seed=1,2", "--grid|--seeds"),
    (f"{ABLATE} --grid test_annotation=other.txt", "--grid|test_annotation|cannot differ"),
    (f"{ABLATE} --grid workers=0,2", "--grid|workers|no option of"),
]


@pytest.mark.parametrize(("command", "fragments"), REFUSED)
def test_contradictions_and_wrong_values_are_refused_in_one_line(command, fragments):
    assert_refused(command, fragments)


def assert_refused(command: str, fragments: str) -> None:
    with pytest.raises(UserError) as caught:
        read(command)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in fragments.split("|")), message


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("--use-weighted-sampler --logit-adj", "twice"),
        ("--use-weighted-sampler --class-balanced-loss", "twice"),
        ("--logit-adj --class-balanced-loss", "twice"),
        ("--ldam cosine --logit-adj", "--logit-adj and --ldam cosine both correct"),
        ("--ldam cosine --use-weighted-sampler", "twice"),
        ("--ldam cosine --class-balanced-loss", "twice"),
        ("--ldam cosine --class-balanced-loss --drw-epoch 40", None),
        ("--class-balanced-loss --drw-epoch 40 --logit-adj", "twice"),
        ("--ldam cosine --label-smoothing 0.1", None),
        ("--class-balanced-loss --drw-epoch 50", "never begin in 50 epochs"),
        ("--semantic-labels 0.1 --semantic-warmup 50", "never begins in 50 epochs"),
        ("--semantic-labels 0.1 --semantic-warmup 5 --class-balanced-loss --focal-gamma 2", None),
        ("--select-on test --test-annotation t", "optimistic"),
        ("--mi-loss-weight 0 --dc-loss-weight 0", "learnable prompts"),
        ("", None),
        ("--label-smoothing 0.1 --class-balanced-loss", None),
    ],
)
def test_doubtful_combinations_cause_a_warning_and_others_do_not(words, fragment):
    warnings = warnings_of(read(words))
    assert warnings == [] if fragment is None else any(fragment in warning for warning in warnings)


IDLE = [  # (a flag without an effect, what makes it so, what would give it one)
    ("--val-fraction 0.3", "--select-on last", "pass --select-on val"),
    ("--momentum 0.5", "--optimizer AdamW", "pass --optimizer SGD"),
    ("--logit-adj-tau 0.5", "", "set --logit-adj as well"),
    ("--iec-text soft", "--slerp-weight 0", "set --slerp-weight as well"),
    ("--adapter-ratio 0.3", "--adapter published", "pass --adapter residual"),
    ("--lr-adapter 0.1", "--adapter none", "set --adapter as well"),
    ("--mi-warmup 3", "--mi-loss-weight 0", "set --mi-loss-weight as well"),
    ("--dc-ramp 3", "--dc-loss-weight 0", "set --dc-loss-weight as well"),
    ("--cache-variants 2", "", "set --cache-features as well"),
    ("--lr-prompt-learner 0.1", "--no-tune-prompts", "set --tune-prompts as well"),
]


@pytest.mark.parametrize(("flag", "cause", "advice"), IDLE)
def test_a_flag_without_an_effect_is_refused_and_one_of_a_recipe_is_not(flag, cause, advice, tmp_path):
    with pytest.raises(UserError) as error:
        read(f"{LISTS} {flag} {cause}")
    assert str(error.value).startswith(f"{flag} is not used with ") and advice in str(error.value)
    (tmp_path / "recipe.args").write_text(flag)
    recipe = f"{LISTS} @{tmp_path}/recipe.args {cause}"
    (name, value), options = flag[2:].replace("-", "_").split(), values_of(recipe)
    assert str(options[name]) == value  # as in earlier versions, so that the hash of a run stays
