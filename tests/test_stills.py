"""Single images of faces: every published form trains frame-expr, is scored, and starts a model of videos."""

import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.prepare.__main__ import main as prepare
from engine.config import read_command
from tests.support.drawn import AFFECTNET, QUICK, RAF_DB, flags, truth
from tests.support.scripts import run_script
from tests.support.tools import Run, error_of, run_main, run_ok
from utils.errors import UserError

STILLS = [*QUICK, "--model", "frame-expr", "--num-segments", "1"]
FER2013 = "anger disgust fear happiness sadness surprise neutral".split()
FER_PLUS = "neutral happiness surprise sadness anger disgust fear contempt".split()
LORA = ["--lora-rank", "2"]


def words_of(name, root, *more):
    return [f"@recipes/data/{name}.args", "--root-dir", str(root), *STILLS, *more]


@pytest.fixture(scope="module")
def fer2013(drawn, tmp_path_factory):
    """The images of the drawn CSV of pixels, and the votes of FER+ beside their list."""
    root = tmp_path_factory.mktemp("pixels") / "set"
    assert prepare([str(drawn("fer2013") / "fer2013.csv"), "--out", str(root)]) == 0
    shutil.copy(drawn("fer2013") / "fer2013new.csv", root / "annotation")
    return root


@pytest.fixture(scope="module")
def still_run(drawn, tmp_path_factory):
    """A model of the stills of RAF-DB, whose tower has learnt."""
    words = words_of("raf_db", drawn("raf-db"), "--lr-image-encoder", "1e-3", "--seed", "5")
    return run_ok(words, tmp_path_factory.mktemp("stills") / "run")


def test_raf_db_trains_and_is_scored_again(still_run, drawn, tmp_path):
    assert still_run.labels == truth("raf_db", drawn("raf-db")) and still_run.metrics["classes"] == RAF_DB
    words = ["--mode", "eval", "--eval-checkpoint", str(still_run.folder / "best.pt"), "--device", "cpu"]
    assert run_ok(words, tmp_path / "eval").metrics == still_run.metrics


def test_affectnet_trains_and_pictures_without_a_face_are_counted(drawn, tmp_path):
    run = run_ok(words_of("affectnet", drawn("affectnet")), tmp_path / "run")
    assert run.labels == truth("affectnet", drawn("affectnet")) and run.metrics["classes"] == AFFECTNET
    assert len(re.findall(r"1 line left out, without a class or with a label that the set ignores", run.out)) == 2


@pytest.mark.parametrize(("name", "classes"), [("fer2013", FER2013), ("ferplus", FER_PLUS)])
def test_pixels_and_votes_of_the_same_pictures_train(name, classes, fer2013, drawn, tmp_path):
    run = run_ok(words_of(name, fer2013), tmp_path / "run")
    lines = (drawn("fer2013") / "fer2013.csv").read_text().splitlines()[1:]
    rows = [(number, int(line[0])) for number, line in enumerate(lines) if line.endswith(",PrivateTest")]
    assert run.labels == {f"fer{number:07d}.png": FER2013[label] for number, label in rows}
    assert run.metrics["classes"] == classes


def test_a_folder_for_each_class_trains(drawn, tmp_path):
    lists = "--train-annotation train --val-annotation validation --test-annotation test".split()
    root = drawn("fer2013")
    run = run_ok([*STILLS, "--dataset", "FER2013", "--root-dir", str(root), *lists], tmp_path / "run")
    names = dict(zip("angry disgust fear happy sad surprise neutral".split(), FER2013, strict=True))
    files = [path.relative_to(root) for path in (root / "test").glob("*/*")]
    assert run.labels == {path.as_posix(): names[path.parts[1]] for path in files} and len(files) >= 7


def test_the_pixels_are_those_of_the_rows(fer2013, drawn):
    lines = (drawn("fer2013") / "fer2013.csv").read_text().splitlines()[1:]
    for number in (0, 59):
        picture = cv2.imread(str(fer2013 / f"images/fer{number:07d}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(picture.ravel(), np.array(lines[number].split(",")[1].split(), int))


def test_a_model_of_stills_is_scored_on_another_set(still_run, drawn, tmp_path):
    words = ["--mode", "eval", "--eval-checkpoint", str(still_run.folder / "best.pt"), "--dataset", "FER2013"]
    words += ["--root-dir", str(drawn("fer2013")), "--test-annotation", "test", "--device", "cpu", "--workers", "0"]
    run = run_ok(words, tmp_path / "run")
    assert run.metrics["classes"] == RAF_DB and run.metrics["num_clips"] == len(list(drawn("fer2013").glob("test/*/*")))


def test_a_model_of_long_videos_is_scored_on_stills_by_the_names_of_its_classes(drawn, tmp_path):
    from tests.support.affect import write_frames, write_set  # noqa: PLC0415

    write_set(tmp_path / "videos")
    write_frames(tmp_path / "videos")
    first = run_ok([*STILLS, "--root-dir", str(tmp_path / "videos"), "--frame-step", "8"], tmp_path / "first")
    words = ["--mode", "eval", "--eval-checkpoint", str(first.folder / "best.pt"), "--device", "cpu", "--workers", "0"]
    run = run_ok([*words, "@recipes/data/raf_db.args", "--root-dir", str(drawn("raf-db"))], tmp_path / "run")
    expected = truth("raf_db", drawn("raf-db"))
    assert run.labels == {name: label.title() for name, label in expected.items()}


def test_a_picture_is_recognised(still_run, drawn, tmp_path):
    picture = next((drawn("raf-db") / "basic/Image/aligned").glob("test_*"))
    words = ["--mode", "predict", "--eval-checkpoint", str(still_run.folder / "best.pt"), "--input", str(picture)]
    run = run_ok([*words, "--device", "cpu", "--no-overlay"], tmp_path / "run")
    assert any(name in run.out for name in RAF_DB)


def tensors(run):
    return torch.load(run.folder / "best.pt", weights_only=True)["model"]


VIDEO = "--model dfer-clip --lr 0 --lr-image-encoder 0 --lr-prompt-learner 0 --select-on last --seed 6".split()


def test_a_video_model_starts_with_the_tower_of_stills(still_run, drawn, tmp_path):
    words = [*flags("ferv39k", drawn("ferv39k")), *VIDEO]
    started = run_ok([*words, "--init-from", str(still_run.folder / "best.pt")], tmp_path / "started")
    plain = run_ok(words, tmp_path / "plain")
    names = [name for name in tensors(started) if name.startswith("image_encoder.")]
    assert names and all(torch.equal(tensors(started)[name], tensors(still_run)[name]) for name in names)
    weights = "image_encoder.transformer.resblocks.0.attn.in_proj_weight"
    assert not torch.equal(tensors(started)[weights], tensors(plain)[weights])
    assert "trained with --normalize clip, not none" in started.out


@pytest.mark.parametrize("rank", ["2", "3"])
def test_lora_of_stills_is_taken_over_or_added_to_the_weights(rank, drawn, tmp_path):
    """Corrections of the same size go on learning. Otherwise they are added to the weights, and new ones start at 0."""
    stills = run_ok(words_of("raf_db", drawn("raf-db"), *LORA, "--lr-lora", "0.1"), tmp_path / "stills")
    words = [*flags("ferv39k", drawn("ferv39k")), *VIDEO, "--lora-rank", rank, "--lr-lora", "0"]
    video = run_ok([*words, "--init-from", str(stills.folder / "best.pt")], tmp_path / "video")
    name = "image_encoder.transformer.resblocks.0.attn.out_proj"
    up, before = tensors(video)[f"{name}.lora.up"].float(), tensors(stills)
    if rank == "2":
        assert torch.equal(up, before[f"{name}.lora.up"].float()) and up.any()
        return
    plain = run_ok([*flags("ferv39k", drawn("ferv39k")), *VIDEO, "--seed", "42"], tmp_path / "plain")
    correction = before[f"{name}.lora.up"].double() @ before[f"{name}.lora.down"].double() * (16 / 2)
    expected = tensors(plain)[f"{name}.weight"].double() + correction
    assert not up.any() and correction.any()
    assert torch.allclose(tensors(video)[f"{name}.weight"].double(), expected, atol=1e-5)


def test_the_linear_layer_is_taken_over_for_the_same_classes_alone(still_run, drawn, fer2013, tmp_path):
    same = [
        "--lr",
        "0",
        "--lr-image-encoder",
        "0",
        "--select-on",
        "last",
        "--init-from",
        str(still_run.folder / "best.pt"),
    ]
    first = run_ok(words_of("raf_db", drawn("raf-db"), *same), tmp_path / "same")
    assert torch.equal(tensors(first)["readout.weight"], tensors(still_run)["readout.weight"])
    other = [word for word in words_of("fer2013", fer2013, *same)]
    assert not tensors(run_ok(other, tmp_path / "other"))["readout.weight"].any()


def test_the_recipe_trains_both_and_the_video_model_starts_from_the_stills(drawn, tmp_path):
    """On named sets; with a folder for results alone the script draws them by itself."""
    words = [tmp_path / "out", drawn("raf-db"), "raf_db", drawn("ferv39k"), "ferv39k", *QUICK[:-3]]
    run = run_script(tmp_path / "screen", "recipes/stills_to_video.sh", *words, "--epochs", "1").ok()
    stills, video = (Run(0, tmp_path / "out" / name, "", "") for name in ("stills", "video"))
    assert stills.labels == truth("raf_db", drawn("raf-db")) and video.labels == truth("ferv39k", drawn("ferv39k"))
    assert f"--init-from {tmp_path}/out/stills/best.pt: " in run.out and "was trained with" not in run.out


# what is wrong


AFFECT_HEAD = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
VOTES_HEAD = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"


def labels_in(tmp_path, dataset, name, text, split, images):
    for image in images:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / image), np.zeros((8, 8), np.uint8))
    (tmp_path / name).write_text(text)
    classes = load_classes(dataset)
    return {
        clip.id: classes.names[clip.label] for clip in read_annotation(name, str(tmp_path), classes.of_split(split))
    }


def test_votes_count_by_the_rule_of_the_publishers(tmp_path):
    rows = [
        "Training,a.png,6,0,1,0,0,1,1,0,1,0",  # single votes do not count
        "Training,b.png,5,5,0,0,0,0,0,0,0,0",  # no majority
        "Training,c.png,0,0,0,4,3,0,0,0,3,0",  # the most, but not more than half
        "Training,d.png,0,0,0,0,0,0,0,0,8,2",  # nobody knew
        "Training,,0,0,0,0,0,0,0,0,0,10",  # not a face, and no image
        "PublicTest,e.png,0,9,0,0,0,0,0,0,1,0",
        "Training,f.png,0,0,0,2,0,0,0,1,1,0",
    ]
    images = [f"images/{name}.png" for name in "abcdef"]
    found = labels_in(tmp_path, "FERPlus", "fer2013new.csv", VOTES_HEAD + "\n".join(rows), "train", images)
    assert found == {"a.png": "neutral", "f.png": "sadness"}


def test_the_original_images_of_raf_db_are_read_where_there_are_no_aligned_ones(tmp_path):
    images = [
        "Image/original/train_00001.jpg",
        "Image/aligned/train_00002_aligned.jpg",
        "Image/original/train_00002.jpg",
    ]
    text = "train_00001.jpg 5\ntrain_00002.jpg 7\ntest_0001.jpg 1\n"
    assert labels_in(tmp_path, "RAF-DB", "list_patition_label.txt", text, "train", images) == {
        "train_00001.jpg": "sadness", "train_00002.jpg": "neutral",
    }  # fmt: skip
    (first, second) = read_annotation(
        "list_patition_label.txt", str(tmp_path), load_classes("RAF-DB").of_split("train")
    )
    assert (first.frames, second.frames) == (("train_00001.jpg",), ("train_00002_aligned.jpg",))


@pytest.mark.parametrize(
    ("dataset", "name", "text", "parts"),
    [
        ("RAF-DB", "l.txt", "train_00001.jpg 8\n", ("line 1", "outside 1..7")),
        ("RAF-DB", "l.txt", "train_00001.jpg\n", ("line 1", "image label")),
        ("RAF-DB", "l.txt", "test_0001.jpg 1\n", ("no clip of train", "marked by train")),
        ("RAF-DB", "l.txt", "train_00001.jpg 1\n", ("line 1", "no image")),
        ("AffectNet", "t.csv", AFFECT_HEAD + "1/a.jpg,0,0,1,1,,11,0,0\n", ("line 2", "outside 0..7")),
        ("AffectNet", "t.csv", AFFECT_HEAD + "1/a.jpg,0,0,1,1,,1\n", ("line 2", "9 columns")),
        ("AffectNet", "t.csv", "file,expression\n", ("line 1", "no column 'subDirectory_filePath'")),
        ("FERPlus", "v.csv", "Usage,Image name,neutral\n", ("line 1", "no column 'happiness' with its votes")),
        ("FERPlus", "v.csv", VOTES_HEAD + "Training,a.png,x,0,0,0,0,0,0,0,0,0\n", ("line 2, neutral", "'x'")),
        ("FERPlus", "v.csv", VOTES_HEAD + "Training,,9,0,0,0,0,0,0,0,0,0\n", ("line 2", "Image name and votes")),
        ("FER2013", "f.csv", "emotion,pixels,Usage\n", ("line 1", "dataloader.prepare")),
        ("FER2013", "f.csv", "Image name,emotion,Usage\na.png,7,Training\n", ("line 2", "outside 0..6")),
    ],
)  # fmt: skip
def test_a_wrong_list_is_one_line_with_file_and_line(dataset, name, text, parts, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        read_annotation(name, str(tmp_path), load_classes(dataset).of_split("train"))
    assert name in str(error.value) and all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("emotion,Usage\n0,Training\n", ("line 1", "emotion, pixels and Usage")),
        ("emotion,pixels,Usage\n0,1 2 3,Training\n", ("line 2", "3 numbers")),
        ("emotion,pixels,Usage\n0,1 2 3 256,Training\n", ("line 2", "'256'", "0 to 255")),
        ("emotion,pixels,Usage\n0,1 2 3 4\n", ("line 2", "complete")),
        ("emotion,pixels,Usage\n", ("no row of pixels",)),
    ],
)
def test_wrong_pixels_are_one_line(text, parts, tmp_path, capsys):
    (tmp_path / "fer2013.csv").write_text(text)
    assert prepare([str(tmp_path / "fer2013.csv"), "--out", str(tmp_path / "set")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "fer2013.csv" in message and all(part in message for part in parts), message


def test_options_that_stills_do_not_have_are_one_line(drawn, tmp_path, capsys):
    words = [*words_of("raf_db", drawn("raf-db")), "--output-dir", str(tmp_path / "run")]
    assert "--frame-step 2 is for the frames of long videos" in error_of([*words, "--frame-step", "2"], capsys)
    assert "--temporal-layers 2 is not used by --model frame-expr" in error_of(
        [*words, "--temporal-layers", "2"], capsys
    )
    assert "holds {fold}" in error_of([*words, "--fold", "3"], capsys)
    assert read_command([*words, "--select-on", "test"])[1].optim.select_on == "test"


def test_a_new_set_of_stills_needs_one_file_and_no_code(drawn, tmp_path):
    """Another CSV with names of classes and one column for the split."""
    root = drawn("fer2013")
    pictures = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*/*.png"))
    rows = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in pictures]
    (tmp_path / "mine.csv").write_text("\n".join(["picture,mood,part", *rows]))
    names = "angry disgust fear happy neutral sad surprise".split()
    (tmp_path / "classes.json").write_text(
        '{"layout": "images", "csv_clip_column": "picture", "csv_label_column": "mood", "split_column": "part", '
        '"splits": {"train": ["train"], "val": ["validation"], "test": ["test"]}, "classes": ['
        + ", ".join(f'{{"name": "{name}"}}' for name in names) + "]}"
    )  # fmt: skip
    lists = [word for part in ("train", "val", "test") for word in (f"--{part}-annotation", str(tmp_path / "mine.csv"))]
    words = [*STILLS, "--class-texts", str(tmp_path / "classes.json"), "--dataset", "mine", "--root-dir", str(root)]
    run = run_main([*words, *lists], tmp_path / "run").ok()
    assert run.labels == {path: path.split("/")[1] for path in pictures if path.startswith("test/")}
    assert run.metrics["classes"] == names
