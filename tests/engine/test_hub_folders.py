"""Folders for the Hugging Face hub: the same answers as the checkpoint, a card, and one line on every damage."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants
from safetensors import safe_open
from safetensors.torch import save_file

from engine.checkpoints import open_checkpoint
from engine.config import read_command
from engine.run_hash import run_hash
from main import main
from tests.support import affect, published
from tests.support.containers import write_container
from tests.support.exported import write_checkpoint
from tests.support.published import Recipe, write_class_texts
from tests.support.tiny import NAMES
from tests.support.tools import FAST, ROOT, call, one_line, run_main, run_ok
from tests.support.watched import film
from utils.checkpoint import AGAIN

FILES = {"config.json", "classes.json", "model.safetensors", "README.md"}
NAME = "org/emotions"


def convert(source: Path, folder: Path, *flags: str | Path) -> Path:
    call("--mode", "convert", source, "--format", "hub", "--output-dir", folder, *flags).ok()
    return folder


def evaluate(checkpoint: Path | str, arguments: list[str], folder: Path) -> bytes:
    run = run_ok(["--mode", "eval", "--eval-checkpoint", str(checkpoint), *arguments], folder)
    return (run.folder / "predictions.csv").read_bytes()


@pytest.fixture(scope="module")
def best(trained) -> Path:
    return trained.ok().folder / "best.pt"


@pytest.fixture(scope="module")
def folder(best, tmp_path_factory) -> Path:
    return convert(best, tmp_path_factory.mktemp("hub") / "emotions")


@pytest.fixture(scope="module")
def evaluation(tiny_arguments) -> list[str]:
    """What an evaluation of the tiny set needs; the checkpoint says the rest."""
    words = tiny_arguments[len(FAST) :]
    train = words.index("--train-annotation")
    return [*words[:train], *words[train + 2 :], "--workers", "0", "--device", "cpu"]


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture
def cache(folder, tmp_path, monkeypatch) -> Path:
    """A cache of the hub that holds the folder, and no network."""
    snapshot = tmp_path / f"cache/models--{NAME.replace('/', '--')}/snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return snapshot


# -- the same model -------------------------------------------------------------------------------------------------


def test_a_folder_scores_as_its_checkpoint_to_the_last_digit(best, folder, evaluation, cache, tmp_path):
    expected = evaluate(best, evaluation, tmp_path / "before")
    assert len(expected.splitlines()) == 21  # 20 test clips
    for number, name in enumerate((folder, f"hf-hub:{NAME}")):
        assert evaluate(name, evaluation, tmp_path / str(number)) == expected


def test_the_tensors_are_those_of_the_safetensors_conversion(best, folder, tmp_path):
    call("--mode", "convert", best, "--output-dir", tmp_path).ok()
    with (
        safe_open(tmp_path / "best.safetensors", "pt") as first,
        safe_open(folder / "model.safetensors", "pt") as second,
    ):
        assert [*first.keys()] == [*second.keys()] and len([*first.keys()]) > 50
        for name in first.keys():
            a, b = first.get_tensor(name), second.get_tensor(name)
            assert a.dtype == b.dtype and torch.equal(a, b), name
    assert {file.name for file in folder.iterdir()} == FILES


def test_a_folder_that_is_called_by_a_dot_gives_its_name(copy, monkeypatch):
    monkeypatch.chdir(copy)
    call("--mode", "convert", ".").ok()
    assert {file.name for file in (copy / "outputs/converted").iterdir()} == {"copy.pt", "copy.safetensors"}
    call("--mode", "convert", ".", "--format", "hub").ok()
    assert {file.name for file in (copy / "outputs/hub/copy").iterdir()} == FILES


def test_what_describes_the_model_is_plain_json_without_folders_of_the_machine(best, folder, trained):
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stored = torch.load(best, weights_only=True)
    for name in ("format", "family", "classes", "label_base", "clip_shape", "epoch", "best", "selected_on"):
        expected = json.loads(json.dumps(stored[name]))
        assert content[name] == expected, name
    assert content["config"]["model"] == json.loads(json.dumps(stored["config"]["model"]))
    root = stored["config"]["data"]["root_dir"]
    assert root.startswith("/") and content["config"]["data"]["root_dir"] == Path(root).name
    for file in FILES - {"model.safetensors"}:
        text = (folder / file).read_text(encoding="utf-8")
        assert root not in text and str(trained.folder) not in text, file
    shipped = json.loads((ROOT / "annotation/RAER/classes.json").read_text(encoding="utf-8"))
    assert json.loads((folder / "classes.json").read_text(encoding="utf-8"))["classes"] == shipped["classes"]


def test_every_mode_takes_the_folder(best, folder, evaluation, cache, tmp_path, eyes):
    lines = Path(evaluation[1], evaluation[evaluation.index("--test-annotation") + 1]).read_text().splitlines()
    (tmp_path / "two.txt").write_text("\n".join(lines[:2]))
    evaluation = [*evaluation, "--test-annotation", str(tmp_path / "two.txt")]
    name = f"hf-hub:{NAME}"
    for place in (folder, name):
        out = call("--mode", "inspect", place).ok().out
        assert out.startswith(f"{place}\nfamily      clip-caer (a checkpoint of this project)")
        assert out.splitlines()[1:] == call("--mode", "inspect", best).ok().out.splitlines()[1:]
    video, timelines = film(tmp_path / "film.mp4", [(1, 2.0), (3, 2.0)]), []
    for number, place in enumerate((best, folder, name)):
        words = ["--mode", "predict", "--eval-checkpoint", str(place), "--input", str(video), "--no-overlay"]
        run = run_ok([*words, "--seconds", "1", "--device", "cpu"], tmp_path / f"predict-{number}")
        timelines.append((run.folder / "timeline.csv").read_bytes())
    assert timelines[0] == timelines[1] == timelines[2] and len(timelines[0].splitlines()) > 3
    words = ["--mode", "attention", "--eval-checkpoint", str(folder), *evaluation]
    assert run_main(words, tmp_path / "attention").status == 0
    call("--mode", "convert", name, "--output-dir", tmp_path / "back").ok()
    assert evaluate(tmp_path / "back/emotions.pt", evaluation, tmp_path / "1") == evaluate(
        best, evaluation, tmp_path / "2"
    )


def test_a_folder_is_exported_under_its_name(folder, best, tmp_path):
    for number, place in enumerate((folder, best)):
        run_ok(["--mode", "export", "--eval-checkpoint", str(place)], tmp_path / str(number))
    import onnx

    graphs = [onnx.load(tmp_path / name).graph for name in ("0/emotions.onnx", "1/best.onnx")]
    assert graphs[0].SerializeToString() == graphs[1].SerializeToString()


def test_a_training_starts_from_a_folder_as_from_its_checkpoint(best, folder, cache, tiny_arguments, tmp_path):
    states = []
    for number, place in enumerate((best, folder, f"hf-hub:{NAME}")):
        still = ["--epochs", "1", "--milestones", "--lr", "0", "--lr-image-encoder", "0", "--select-on", "last"]
        run = run_ok([*tiny_arguments, *still, "--init-from", str(place), "--seed", "9"], tmp_path / str(number))
        assert f"--init-from {place}: " in run.out
        states.append(torch.load(run.folder / "best.pt", weights_only=True)["model"])
    taken = [name for name in states[0] if "temporal" in name]
    for state in states[1:]:
        assert taken and all(torch.equal(state[name], states[0][name]) for name in states[0])


def test_the_hash_of_a_run_holds_the_weights_that_it_starts_from(folder, copy):
    def hash_of(place: Path | str) -> str:
        return run_hash(
            read_command(["--train-annotation", "gone.txt", "--init-from", str(place), "--device", "cpu"])[1]
        )

    assert hash_of(folder) == hash_of(copy)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1  # the same size, other weights
    (copy / "model.safetensors").write_bytes(data)
    assert hash_of(folder) != hash_of(copy)
    assert hash_of("hf-hub:org/one") != hash_of("hf-hub:org/two")


def test_features_of_a_sequence_model_come_from_a_folder_and_not_from_a_clip_beside_it(folder, best):
    from apps.predict.torch_runner import open_image_encoder

    keys = []
    for place in (best, folder):
        _, config = read_command(
            ["--mode", "predict", "--input", "x.mp4", "--eval-checkpoint", "y", "--encoder", str(place)]
        )
        keys.append(open_image_encoder(config, {}).key)
    assert keys[0] == keys[1]


@pytest.mark.parametrize("model", ["clip-caer", "dfer-clip", "emoclip", "frame-expr"])
def test_every_family_is_rebuilt_with_the_same_logits(model, tmp_path):
    options = {"model": model, "normalize": "clip"} | ({"num_segments": 1} if model == "frame-expr" else {})
    calibration = {"temperature": 1.5, "fitted_on": "val", "clips": 9}
    path = write_checkpoint(tmp_path / "best.pt", options, calibration=calibration, face_width=60.0)
    folder, logits = convert(path, tmp_path / "hub"), []
    for place in (path, folder):
        opened = open_checkpoint(place, {})
        config, network = opened.load({})
        assert opened.content["calibration"] == calibration and opened.content["face_width"] == 60.0
        assert config.data.normalize == "clip"
        T = config.data.num_segments * config.data.duration
        pixels = torch.rand(2, 2, T, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        batch = {"face": pixels[0], "context": pixels[1]}
        with torch.no_grad():
            logits.append(opened.method.task(network.eval(), tuple(opened.content["classes"])).forward(batch).logits)
    assert torch.equal(*logits) and logits[0].std() > 0


def test_a_sequence_model_is_rebuilt_and_its_card_has_its_scores(tmp_path):
    small = "--model sequence --window 20 --stride 20 --transformer-layers 1 --tcn-channels 8 --device cpu --epochs 1"
    flags = affect.write_set(tmp_path / "set")
    run = run_ok([*small.split(), *flags], tmp_path / "run")
    folder = convert(run.folder / "best.pt", tmp_path / "hub")
    words, scores = ["--mode", "eval", *flags, "--device", "cpu", "--eval-checkpoint"], []
    for name, place in (("folder", folder), ("file", run.folder / "best.pt")):
        scores.append(run_ok([*words, str(place)], tmp_path / name).metrics)
    assert scores[0] == scores[1] and "va" in scores[0]
    results = {r.metric_type: r.metric_value for r in ModelCard.load(folder / "README.md").data.eval_results}
    assert results["ccc"] == round(run.metrics["va"]["ccc"], 3)


# -- classes and cards ----------------------------------------------------------------------------------------------


def test_texts_of_ones_own_are_in_the_folder_and_read_from_it(best, evaluation, tiny_arguments, tmp_path):
    texts = write_class_texts(tmp_path / "own.json", [f" {NAMES[0]} ", *NAMES[1:]], label_base=1)
    words = ["--class-texts", str(texts), "--epochs", "1", "--milestones", "--select-on", "last"]
    run = run_ok([*tiny_arguments, *words], tmp_path / "run")
    folder = convert(run.folder / "best.pt", tmp_path / "hub")
    expected = evaluate(run.folder / "best.pt", evaluation, tmp_path / "before")
    own = json.loads(texts.read_text(encoding="utf-8"))
    own["classes"][0]["name"] = NAMES[0]  # blanks around a name are none of it
    written = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    assert written["classes"] == own["classes"] and written["label_base"] == 1
    named = [*evaluation, "--class-texts", str(texts)]
    assert evaluate(folder, named, tmp_path / "named") == expected  # the same texts, in another file
    texts.unlink()
    assert open_checkpoint(folder, {}).config.data.class_texts == str(folder / "classes.json")
    assert evaluate(folder, evaluation, tmp_path / "after") == expected
    again = convert(run.folder / "best.pt", tmp_path / "again")  # whose texts are gone
    names = json.loads((again / "classes.json").read_text(encoding="utf-8"))
    assert names == {"label_base": 1, "classes": [{"name": name} for name in NAMES]}


def test_the_card_holds_the_scores_of_the_run(folder, trained, best, tmp_path):
    card, metrics = ModelCard.load(folder / "README.md"), trained.metrics
    assert card.data.license == "other" and card.data.pipeline_tag == "video-classification"
    assert card.data.datasets == ["raer"] and "clip-caer" in card.data.tags
    results = {result.metric_type: result for result in card.data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        "recall": round(metrics["uar"], 2), "accuracy": round(metrics["war"], 2), "f1": round(metrics["macro_f1"], 2),
    }  # fmt: skip
    low, high = metrics["intervals"]["uar"]
    assert f"95 % interval {low:.2f} – {high:.2f}" in results["recall"].metric_name
    assert results["recall"].dataset_name == "RAER" and results["recall"].dataset_split == "test"
    assert "These weights: not stated" in card.text and "--eval-checkpoint hf-hub:ORG/NAME" in card.text
    shutil.copy(best, tmp_path / "alone.pt")  # no run folder, no scores
    card = ModelCard.load(convert(tmp_path / "alone.pt", tmp_path / "alone", "--license", "cc-by-nc-4.0") / "README.md")
    assert card.data.license == "cc-by-nc-4.0" and not card.data.eval_results
    assert "Scores: unknown" in card.text and "UAR is" not in card.text


def test_scores_of_another_epoch_are_not_those_of_the_weights(trained, tmp_path):
    run = Path(shutil.copytree(trained.folder, tmp_path / "run"))
    content = torch.load(run / "best.pt", weights_only=True)
    torch.save(content | {"epoch": content["epoch"] + 1}, run / "best.pt")
    assert not ModelCard.load(convert(run / "best.pt", tmp_path / "hub") / "README.md").data.eval_results


def test_the_card_of_drawn_people_says_so(tmp_path):
    card = ModelCard.load(convert(ROOT / "weights/demo_best.pt", tmp_path / "hub") / "README.md")
    assert "simulated-data" in card.data.tags and card.data.datasets == ["simulated-people-in-the-layout-of-raer"]
    assert "**Note of the data set: Drawings of simulated students" in card.text


def test_a_published_file_becomes_a_folder_without_claims(tmp_path):
    path = write_container(tmp_path / "model_best.pth", published.clip_caer(Recipe()))
    folder = convert(path, tmp_path / "hub")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Seed unknown" in text and "started from | unknown" in text
    assert open_checkpoint(folder, {}).content["classes"] == [*NAMES]


# -- what is refused ------------------------------------------------------------------------------------------------


def edited(folder: Path, name: str, **changes) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    for path, value in changes.items():
        table = content
        *above, last = path.split("__")
        for part in above:
            table = table[part]
        if value is ...:
            del table[last]
        else:
            table[last] = value
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def refusal(folder: Path | str, mode: str = "inspect") -> str:
    return one_line(call("--mode", mode, folder, *(["--output-dir", "nothing"] if mode == "convert" else [])))


@pytest.mark.parametrize("name", ["format", "family", "config", "classes", "label_base", "epoch", "selected_on"])
def test_a_field_that_is_missing_is_named(copy, name):
    edited(copy, "config.json", **{name: ...})
    message = refusal(copy)
    assert f"{copy}/config.json: " in message and f"lacks {name!r}" in message.replace(
        f"(lacks {name})", f"lacks {name!r}"
    )
    assert message.endswith(AGAIN)


BAD_VALUES = {
    "format": [99, "1", 1.5],
    "family": ["a CoCa", "dfer-clip", 3],
    "epoch": ["many", -1, 10**30, 10**400],
    "classes": [[], [1], "a"],
    "label_base": [True, "1", 10**9],
    "config": [[], "x"],
    "config__model": [3],
    "config__model__temperature": ["warm", 0, 10**400, float("inf"), float("nan")],
    "config__data__num_segments": [10**12, 2.5, None],
    "config__optim__batch_size": [10**400, -3],
    "clip_shape__image_size": [10**400, None],
    "clip_shape__mean": [["a", "b", "c"]],
    "face_width": [0, 10**400, "wide"],
    "selected_on": [None],
    "best__uar": ["good", 10**400],
    "calibration": [{"temperature": -1.0}],
    "weights_checksum": [7, "0" * 16],
}


@pytest.mark.parametrize(("field", "value"), [(f, value) for f, values in BAD_VALUES.items() for value in values])
def test_a_wrong_value_is_one_line_with_file_and_field(copy, field, value):
    edited(copy, "config.json", **{field: value})
    message, word = refusal(copy), field.rpartition("__")[2]
    assert str(copy) in message and "config.json" in message and message.endswith(AGAIN)
    is_classes = field == "classes" and "classes.json: its names" in message
    assert is_classes or any(name in message for name in (word, f"--{word.replace('_', '-')}", "table of options"))


@pytest.mark.parametrize("file", ["config.json", "classes.json"])
@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe{}", b"[" * 100_000, b'{"format": 1', b'{"a": 1, "a": 2}',
        b'{"epoch": ' + b"9" * 5000 + b"}", b'{"family": "\\ud800"}', '{"\u00e9": 1}'.encode("latin-1"),
        b"version https://git-lfs.github.com/spec/v1\n", b" " * 5_000_000,
    ],
    ids=range(13),
)  # fmt: skip
def test_json_that_is_none_is_one_line(copy, file, data):
    (copy / file).write_bytes(data)
    message = refusal(copy)
    assert f"{copy}/{file}" in message and message.endswith(AGAIN)


def test_weights_that_were_cut_changed_or_exchanged_are_refused(copy, best, tmp_path):
    path = copy / "model.safetensors"
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    for damaged in (b"", data[:100], data[: len(data) // 2], data[:-1], bytes(flipped), data + b"\0"):
        path.write_bytes(damaged)
        message = refusal(copy)
        assert f"{path}: " in message and message.endswith(AGAIN)
    path.write_bytes(data)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    save_file(tensors, path)  # the same tensors, without what tells their damage
    assert "not the weights that config.json was written for" in refusal(copy)


@pytest.mark.parametrize(
    "names", [["model.safetensors"], ["config.json"], ["classes.json"], ["classes.json", "config.json"]]
)
def test_a_folder_with_some_of_the_files_is_refused(copy, names):
    for name in names:
        (copy / name).unlink()
    message = one_line(call("--mode", "eval", "--test-annotation", "x", "--eval-checkpoint", copy))
    assert any(f"{copy / name}: no such file" in message for name in names) and message.endswith(AGAIN)
    assert str(copy) in refusal(copy)


def test_a_card_is_not_needed(copy):
    (copy / "README.md").unlink()
    call("--mode", "inspect", copy).ok()


def test_a_run_folder_is_no_checkpoint_and_says_which_file_is(trained):
    for words in (["--mode", "inspect"], ["--mode", "export", "--eval-checkpoint"]):
        assert f"name the checkpoint in it, {trained.folder}/best.pt" in one_line(call(*words, trained.folder))


def test_an_empty_folder_is_refused(tmp_path):
    assert f"{tmp_path}/config.json: no such file" in one_line(call("--mode", "export", "--eval-checkpoint", tmp_path))
    assert f"{tmp_path}: a folder without a CLIP" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config__data__image_size": 128}, "say --image-size 128, its tensors read 64"),
        ({"config__data__num_segments": 9}, "9 frames, but the checkpoint has positions for 4"),
        ({"clip_shape__patch_size": 8}, "patch_size 8, its tensors have 16"),
        ({"config__model__adapter": "none"}, "options say --adapter none, but its tensors have an adapter"),
        ({"config__model__streams": "face"}, "say --streams face, the streams in its tensors are: face and context"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_the_tensors_is_refused(copy, changes, words):
    edited(copy, "config.json", **changes)
    message = one_line(call("--mode", "export", "--eval-checkpoint", copy, "--output-dir", copy / "out"))
    assert str(copy) in message and words in message


def test_classes_must_be_those_of_the_config(copy):
    edited(copy, "classes.json", label_base=0)
    assert f"{copy}/classes.json: its names and label_base are not those in config.json" in refusal(copy)
    edited(copy, "classes.json", label_base=1, classes=[{"name": name} for name in NAMES[::-1]])
    assert f"{copy}/classes.json: its names" in refusal(copy)


def test_a_file_that_is_there_is_not_overwritten(best, folder):
    message = one_line(call("--mode", "convert", best, "--format", "hub", "--output-dir", folder))
    assert "model.safetensors already exists" in message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--mode export --eval-checkpoint x --format hub", "--format hub belongs to --mode convert"),
        ("--mode convert x --format onnx", "--format onnx belongs to --mode export"),
        ("--mode convert x --license mit", "--license mit is for the card of --format hub"),
        ("--mode convert x --format hub --license MIT:x", "expected the hub's name of a licence"),
        ("--mode eval --eval-checkpoint x --format hub", "--format belongs to --mode export, convert"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words, expected):
    assert expected in one_line(call(*words.split()))


def test_a_name_of_the_hub_without_network_cache_or_package_is_one_line(cache, monkeypatch):
    for name in ("hf-hub:org/gone", "hf-hub:../x", "hf-hub:"):
        for mode in ("inspect", "convert"):
            message = refusal(name, mode)
            assert f"{name}: cannot be downloaded" in message and "name a local folder instead" in message
    (cache / "model.safetensors").unlink()
    assert f"{cache}/model.safetensors: no such file" in refusal(f"hf-hub:{NAME}")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert f"hf-hub:{NAME}: needs huggingface_hub (pip install huggingface_hub)" in refusal(f"hf-hub:{NAME}")


def test_a_value_that_no_float_holds_is_refused_on_the_command_line(capsys):
    assert main(["--batch-size", "9" * 30, "--dry-run"]) == 2
    assert "--batch-size: must be at most" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--format", "hub"], []])
@pytest.mark.parametrize("value", [torch.zeros(2), b"bytes", float("nan"), "\ud800"])
def test_a_checkpoint_with_more_than_plain_data_is_not_converted(best, tmp_path, flags, value):
    """Its reader looks at the entries that it knows."""
    content = torch.load(best, weights_only=True)
    content["calibration"] = {"temperature": 1.5, "fitted_on": "val", "clips": 9, "more": value}
    torch.save(content, tmp_path / "odd.pt")
    message = one_line(call("--mode", "convert", tmp_path / "odd.pt", *flags, "--output-dir", tmp_path / "out"))
    assert "odd.pt: cannot be converted" in message and not [*(tmp_path / "out").iterdir()]
