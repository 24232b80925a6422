"""``--mode inspect``: what a checkpoint holds and how it would be run. ``--mode convert``: a file of ours out of it."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.calibration import RAW, stored_calibration
from engine.checkpoints import KEYS, Opened, model_config, open_checkpoint, rebuild
from engine.options import Config, options_by_name, value_of
from models.clip_backbone import clip_from_state
from models.clip_towers import ClipShape
from models.published import Published
from utils.checkpoint import halve_where_exact, read_checkpoint, save_checkpoint, save_safetensors
from utils.config import flag_of, written
from utils.errors import UserError, about, one_line
from utils.runlog import require_new

WRITTEN = (*KEYS, "clip_shape", "best", "unnamed", "thresholds", "calibration", "trained_on", "face_width")


def inspect(config: Config, given: dict[str, Any]) -> None:
    """Print all of it."""
    path = Path(config.run.files[0])
    content = read_checkpoint(path)
    if "visual.conv1.weight" in content:
        clip = clip_from_state(content, str(path))
        print(f"{path}\nfamily      CLIP alone: for --clip-path\n{describe_towers(clip.shape)}")
        return
    opened = open_checkpoint(path, {"allow_partial": True} | given)
    with about(path):
        print(f"{path}\n{describe(opened, given)}")


def convert(config: Config, given: dict[str, Any]) -> None:
    """Write the checkpoint as ours, as a torch file of plain tensors and as safetensors."""
    source = Path(config.run.files[0])
    opened = open_checkpoint(source, given)
    if opened.unnamed and not opened.method.takes_any_texts:
        raise UserError(f"{source}: {opened.unnamed}")
    with about(source):
        model = rebuild(opened.content, model_config(opened.content, given))  # what is written can be run
    folder = Path(config.run.output_dir or "outputs/converted")
    targets = [folder / f"{source.stem}.pt", folder / f"{source.stem}.safetensors"]
    require_new(folder, targets)
    content = {key: value for key, value in opened.content.items() if key in WRITTEN}
    content["model"] = halve_where_exact(model.state_dict())
    print(describe(opened, given))
    save_checkpoint(content, targets[0])
    save_safetensors(content, targets[1])
    print("\n".join(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)" for target in targets))


def describe(opened: Opened, given: dict[str, Any]) -> str:
    """Sizes, classes, texts, keys, options."""
    content = opened.content
    parameters = sum(tensor.numel() for tensor in content["model"].values())
    note, width = one_line(content.get("trained_on", "")), content.get("face_width")
    lines = [
        f"family      {_title(opened)}",
        f"trained     {content['epoch'] or 'an unknown number of'} epochs; best by: {content['selected_on']}",
        *([f"            on a set that says of itself: {note}"] if note else []),
        *([f"            on faces around {width:.0f} pixels wide"] if width else []),
        *(describe_own_parts(opened) or [describe_towers(opened.shape)]),
        f"tensors     {len(content['model'])}, {parameters / 1e6:.2f} M numbers",
        f"classes     {len(content['classes'])}: {', '.join(content['classes'])}",
    ]
    if opened.unnamed:
        lines.append(f"            {opened.unnamed}")
    if (calibrated := stored_calibration(content, opened.path)) != RAW:
        lines.append(
            f"temperature {calibrated.temperature:.3f}, fitted on {calibrated.clips} {calibrated.fitted_on} clips"
        )
    if opened.report is not None:
        lines.append(describe_published(opened, given))
    else:
        lines += [f"option      {line}" for line in _own_options(opened)]
    return "\n".join(one_line(part) for line in lines for part in line.split("\n"))


def describe_towers(shape: ClipShape) -> str:
    image = (
        f"image tower {shape.image_width} wide, {shape.image_layers} blocks, patches of {shape.patch_size}, "
        f"pictures of {shape.image_size}, features of {shape.embed_dim}"
    )
    text = f"{shape.text_width} wide, {shape.text_layers} blocks" if shape.text_layers else "none"
    return f"{image}\ntext tower  {text}"


def describe_own_parts(opened: Opened) -> list[str] | None:
    """Return lines on a model that has no CLIP towers."""
    if not opened.method.reads_features:
        return None
    return opened.method.describe(rebuild(opened.content, opened.config), opened.config, opened.content)


def describe_published(opened: Opened, given: dict[str, Any]) -> str:
    """Texts recovered, what became of every key, and the options that its tensors cannot tell."""
    report, config = opened.report, asdict(opened.config)
    lines = [f"prompt      {text}" for text in report.prompts]
    lines += [f"hand-made   {text}" for text in report.descriptive]
    lines.append(f"keys        {len(report.taken)} taken")
    lines += [f"            {count} dropped: {what}" for what, count in _dropped(report).items()]
    for what, keys in (
        ("missing", report.missing),
        ("unexpected", report.unexpected),
        ("unequal copies", report.differing),
        ("layers that do not exist here", report.unsupported),
    ):
        lines.append(f"            {len(keys)} {what}" + (f": {', '.join(keys)}" if keys else ""))
    lines.append("run with    (tensors do not tell: from the published recipe, or from your flags)")
    for name in opened.method.unknown_to_tensors():
        value = next(group[name] for group in config.values() if name in group)
        if value is not None:
            yours = "   (yours)" if name in given else ""
            lines.append(f"            {flag_of(name)} {value}{yours}")
    if config["model"]["slerp_weight"] > 0 and not report.descriptive:
        lines.append("            (no hand-made texts in the file: IEC takes its class texts without context vectors)")
    if config["data"]["crop_body"] is None and config["model"]["streams"] == "both":
        lines.append("            context: the body box where --bounding-box-body is given")
    return "\n".join(lines)


def _title(opened: Opened) -> str:
    if opened.report is None:
        return f"{opened.content['family']} (a checkpoint of this project)"
    report = opened.report
    total = len(report.taken) + len(report.dropped) + len(report.unexpected) + len(report.unsupported)
    return f"{opened.method.published[report.family].title} (published layout, {total} keys)"


def _dropped(report: Published) -> Counter:
    """By reason and by the first part of the name."""
    return Counter(f"{key.split('.')[0]}.* ({reason})" for key, reason in report.dropped.items())


def _own_options(opened: Opened) -> list[str]:
    """Return the options that the model was built with, as they would be typed."""
    reads, fields = opened.method.reads, options_by_name()
    evaluation = {n for n, f in fields.items() if "eval" in f.metadata["modes"] and not f.metadata["free"]}
    names = [
        n for n, f in fields.items() if f.metadata["part"] in reads and (f.metadata["checkpoint"] or n in evaluation)
    ]
    return [f"{flag_of(name)} {written(value_of(opened.config, name))}" for name in names]
