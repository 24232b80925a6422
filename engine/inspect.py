"""``--mode inspect``: print what a checkpoint holds, or which CLIP a file is."""

from collections import Counter
from pathlib import Path
from typing import Any

from analysis.calibration import RAW, stored_calibration
from analysis.metrics import SCORES
from engine.checkpoints import Opened, open_checkpoint, rebuild
from engine.options import Config, options_by_name, value_of
from models.clip_backbone import clip_from_content
from models.clip_files import files_of, is_clip, recognise
from models.clip_towers import ClipShape
from models.lora import describe_lora
from utils.checkpoint import is_checkpoint_folder, read_checkpoint
from utils.config import flag_of, written
from utils.errors import about, one_line
from utils.hub import is_folder, local_folder


def inspect(config: Config, flags: dict[str, Any]) -> None:
    """Print the method, sizes, classes, texts, keys and options of a checkpoint, or the sizes of a CLIP."""
    path = Path(config.run.files[0])
    place = local_folder(path) if is_folder(path) else path
    is_clip_folder = place.is_dir() and not is_checkpoint_folder(place)
    config_file, weights = files_of(place, str(path)) if is_clip_folder else (None, place)
    content = read_checkpoint(weights)
    if is_clip_folder or is_clip(content):
        options = config.model
        clip = recognise(content, str(path), weights, config_file, options.clip_activation, options.clip_head_width)
        shape = clip_from_content(clip, str(path)).shape
        lines = [str(path), f"family      CLIP alone ({clip.kind}): for --clip-path", describe_towers(shape)]
        for name, value in shape.settings.items():
            lines.append(
                f"setting     {name} {value}, from {clip.origins.get(name, 'the usual value (no file states it)')}"
            )
        print("\n".join(one_line(part) for line in lines for part in line.split("\n")))
        return
    opened = open_checkpoint(path, {"allow_partial": True} | flags)
    with about(path):
        print(f"{path}\n{describe(opened, flags)}")


def describe(opened: Opened, flags: dict[str, Any]) -> str:
    """Return the lines of ``--mode inspect`` on a checkpoint."""
    content, method, report = opened.content, opened.method, opened.report
    title = f"{content['family']} (a checkpoint of this project)"
    if report is not None:
        keys = sum(map(len, (report.loaded, report.dropped, report.unexpected, report.unsupported)))
        title = f"{method.published[report.family].title} (published layout, {keys} keys)"
    lines = [
        f"family      {title}",
        f"trained     {content['epoch'] or 'an unknown number of'} epochs; best by: {content['selected_on']}"
        f"{score_of(content)}",
    ]
    lines += [f"            the mean of {name}" for name in content.get("averaged", [])[:1]]
    lines += [f"            and {name}" for name in content.get("averaged", [])[1:]]
    if note := one_line(content.get("trained_on", "")):
        lines.append(f"            on a data set with this note: {note}")
    if width := content.get("face_width"):
        lines.append(f"            on faces around {width:.0f} pixels wide")
    if method.reads_features:
        lines += method.describe(rebuild(content, opened.config), opened.config, content)
    else:
        lines.append(describe_towers(opened.shape))
        sizes = opened.shape.as_dict()
        lines += [f"setting     {name} {sizes[name]}, stored" for name in opened.shape.settings if name in sizes]
    if correction := describe_lora(content["model"]):
        lines.append(f"LoRA        {correction}, --lora-alpha {opened.config.optim.lora_alpha:g}")
    if content.get("left_out"):
        lines.append(
            f"towers      not in the file: {', '.join(sorted(content['left_out']))} of --clip-path "
            f"{opened.config.model.clip_path}"
        )
    numbers = sum(tensor.numel() for tensor in content["model"].values())
    lines += [
        f"tensors     {len(content['model'])}, {numbers / 1e6:.2f} M numbers",
        f"classes     {len(content['classes'])}: {', '.join(content['classes'])}",
    ]
    if opened.unnamed:
        lines.append(f"            {opened.unnamed}")
    if (calibration := stored_calibration(content, opened.path)) != RAW:
        fitted = f"fitted on {calibration.clips} {calibration.fitted_on} clips"
        lines.append(f"temperature {calibration.temperature:.3f}, {fitted}")
    if report is not None:
        lines.append(describe_published(opened, flags))
    else:
        lines += [f"option      {flag_of(n)} {written(value_of(opened.config, n))}" for n in model_options(opened)]
    return "\n".join(one_line(part) for line in lines for part in line.split("\n"))


def score_of(content: dict[str, Any]) -> str:
    """Return the score that chose the epoch of a checkpoint, with its value; empty where none did."""
    scores = {name: value for name, value in content.get("best", {}).items() if name in SCORES and value >= 0}
    return "".join(f", {SCORES[name]} {value:.2f}" for name, value in scores.items())


def describe_towers(shape: ClipShape) -> str:
    image = (
        f"image tower {shape.image_width} wide, {shape.image_layers} blocks, patches of {shape.patch_size}, "
        f"pictures of {shape.image_size}, features of {shape.embed_dim}"
    )
    text = f"{shape.text_width} wide, {shape.text_layers} blocks" if shape.text_layers else "none"
    return f"{image}\ntext tower  {text}"


def describe_published(opened: Opened, flags: dict[str, Any]) -> str:
    """Return lines on recovered texts, on what became of every key, and on options that the tensors do not show."""
    report, config = opened.report, opened.config
    lines = [f"prompt      {text}" for text in report.prompts]
    lines += [f"descriptive {text}" for text in report.descriptive]
    lines.append(f"keys        {len(report.loaded)} loaded")
    dropped = Counter(f"{key.split('.')[0]}.* ({reason})" for key, reason in report.dropped.items())
    lines += [f"            {count} dropped: {keys}" for keys, count in dropped.items()]
    for title, keys in (
        ("missing", report.missing),
        ("unexpected", report.unexpected),
        ("unequal copies", report.differing),
        ("layers that do not exist here", report.unsupported),
    ):
        lines.append(f"            {len(keys)} {title}" + (f": {', '.join(keys)}" if keys else ""))
    lines.append("run with    (not in the tensors: from the published recipe or from your flags)")
    for name in opened.method.unknown_to_tensors():
        value = value_of(config, name)
        if value is not None:
            lines.append(f"            {flag_of(name)} {value}" + ("   (yours)" if name in flags else ""))
    if config.model.slerp_weight > 0 and not report.descriptive:
        lines.append("            (no hand-written texts in it: IEC uses the class texts without context vectors)")
    if config.data.crop_body is None and config.model.streams == "both":
        lines.append("            context: the body box where --bounding-box-body is given")
    return "\n".join(lines)


def model_options(opened: Opened) -> list[str]:
    """Return the names of the options that the model was built with or is evaluated with."""
    return [
        name
        for name, field in options_by_name().items()
        if field.metadata["part"] in opened.method.reads
        and (field.metadata["in_hash"] or value_of(opened.config, name) != field.default)
        and (field.metadata["checkpoint"] or ("eval" in field.metadata["modes"] and not field.metadata["free"]))
    ]
