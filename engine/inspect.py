"""``--mode inspect``: print what a checkpoint holds. ``--mode convert``: write it as a checkpoint of this project."""

from collections import Counter
from pathlib import Path
from typing import Any

from analysis.calibration import RAW, stored_calibration
from engine.checkpoints import KEYS, Opened, open_checkpoint, rebuild
from engine.options import Config, options_by_name, value_of
from models.clip_backbone import clip_from_content
from models.clip_files import files_of, is_clip, recognise
from models.clip_towers import ClipShape
from utils.checkpoint import halve_where_exact, read_checkpoint, save_checkpoint, save_safetensors
from utils.config import flag_of, written
from utils.errors import UserError, about, one_line
from utils.runlog import require_new

CONVERTED = (*KEYS, "clip_shape", "best", "unnamed", "thresholds", "calibration", "trained_on", "face_width")


def inspect(config: Config, flags: dict[str, Any]) -> None:
    """Print the method, sizes, classes, texts, keys and options of a checkpoint, or the sizes of a CLIP file."""
    path = Path(config.run.files[0])
    config_file, weights = files_of(path, str(path)) if path.is_dir() else (None, path)
    content = read_checkpoint(weights)
    if config_file is not None or is_clip(content):
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


def convert(config: Config, flags: dict[str, Any]) -> None:
    """Write the checkpoint in our format, as a torch file of plain tensors and as safetensors."""
    source = Path(config.run.files[0])
    opened = open_checkpoint(source, flags)
    if opened.unnamed and not opened.method.takes_any_texts:
        raise UserError(f"{source}: {opened.unnamed}")
    _, model = opened.load(flags)  # checks that the model can be built
    folder = Path(config.run.output_dir or "outputs/converted")
    targets = [folder / f"{source.stem}.pt", folder / f"{source.stem}.safetensors"]
    require_new(folder, targets)
    content = {key: value for key, value in opened.content.items() if key in CONVERTED}
    content["model"] = halve_where_exact(model.state_dict())
    print(describe(opened, flags))
    save_checkpoint(content, targets[0])
    save_safetensors(content, targets[1])
    print("\n".join(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)" for target in targets))


def describe(opened: Opened, flags: dict[str, Any]) -> str:
    """Return the lines of ``--mode inspect`` on a checkpoint."""
    content, method, report = opened.content, opened.method, opened.report
    title = f"{content['family']} (a checkpoint of this project)"
    if report is not None:
        keys = sum(map(len, (report.loaded, report.dropped, report.unexpected, report.unsupported)))
        title = f"{method.published[report.family].title} (published layout, {keys} keys)"
    lines = [
        f"family      {title}",
        f"trained     {content['epoch'] or 'an unknown number of'} epochs; best by: {content['selected_on']}",
    ]
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
        and (field.metadata["checkpoint"] or ("eval" in field.metadata["modes"] and not field.metadata["free"]))
    ]
