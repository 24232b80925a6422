"""CLIPs of open_clip and Hugging Face give the features of those packages; missing settings must be given."""

import json

import pytest
import torch
from safetensors.torch import save_file

from engine.config import read_command
from engine.inspect import inspect
from models.clip_backbone import import_torchvision, load_clip
from models.clip_towers import CLIP_MEAN
from utils.errors import UserError

# embedding, patch, image size, image width, image heads, text width, text heads: few layers, small widths
SHAPES = {
    "B/32": (32, 32, 64, 128, 2, 64, 1),
    "B/16": (32, 16, 64, 128, 2, 64, 1),
    "L/14": (48, 14, 56, 192, 3, 128, 2),
    "H/14": (64, 14, 56, 160, 2, 128, 2),  # heads of 80 in the image tower
}
INCEPTION = (0.5, 0.5, 0.5)


def open_clip_config(name: str, activation: str) -> dict:
    D, patch, size, width, heads, text_width, text_heads = SHAPES[name]
    return {
        "embed_dim": D,
        "quick_gelu": activation == "quick-gelu",
        "vision_cfg": {
            "image_size": size, "layers": 2, "width": width, "head_width": width // heads, "patch_size": patch,
        },
        "text_cfg": {
            "context_length": 77, "vocab_size": 49408, "width": text_width, "heads": text_heads, "layers": 2,
        },
    }  # fmt: skip


def write_open_clip(folder, name="B/16", activation="gelu", statistics=INCEPTION, **changes):
    config = open_clip_config(name, activation)
    torch.manual_seed(0)
    import_torchvision()
    import open_clip  # only here: collecting the tests takes a second less

    model = open_clip.CLIP(**config, output_dict=False).eval()
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    content = {"model_cfg": config | changes, "preprocess_cfg": {"mean": statistics, "std": statistics}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return model


def write_hugging_face(folder, name="B/16", activation="gelu"):
    D, patch, size, width, heads, text_width, text_heads = SHAPES[name]
    act = activation.replace("-", "_")
    sizes = {"num_hidden_layers": 2, "hidden_act": act, "projection_dim": D}
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads}
    text = {"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_attention_heads": text_heads}
    torch.manual_seed(0)
    vision |= sizes | {"image_size": size, "patch_size": patch}
    text |= sizes | {"eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 0}
    import_torchvision()
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=D)).eval()
    for parameter in model.parameters():  # initial values are too small to show differences
        torch.nn.init.normal_(parameter, std=0.1 if parameter.dim() > 1 else 0.5)
    model.save_pretrained(folder)
    return model


def inputs(name: str):
    size = SHAPES[name][2]
    generator = torch.Generator().manual_seed(1)
    tokens = torch.zeros(3, 77, dtype=torch.long)
    for row, length in enumerate((3, 9, 75)):
        tokens[row, 0], tokens[row, 1 + length] = 49406, 49407
        tokens[row, 1 : 1 + length] = torch.randint(1, 49000, (length,), generator=generator)
    return torch.randn(3, 3, size, size, generator=generator), tokens


@torch.no_grad()
@pytest.mark.parametrize("activation", ["quick-gelu", "gelu"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("package", ["open_clip", "transformers"])
def test_features_are_those_of_the_package(tmp_path, name, activation, package):
    model = (write_open_clip if package == "open_clip" else write_hugging_face)(tmp_path, name, activation)
    clip, (image, tokens) = load_clip(str(tmp_path)).eval(), inputs(name)
    if package == "open_clip":
        expected = model.encode_image(image), model.encode_text(tokens)
    else:
        vision = model.vision_model(pixel_values=image).pooler_output
        text = model.text_model(input_ids=tokens).pooler_output
        expected = model.visual_projection(vision), model.text_projection(text)
    for features, theirs in zip((clip.visual(image), clip.encode_text(tokens)), expected, strict=True):
        assert theirs.std() > 0.01 and torch.allclose(features, theirs, atol=1e-4, rtol=1e-4)
    assert clip.shape.activation == activation
    assert clip.shape.mean == (INCEPTION if package == "open_clip" else CLIP_MEAN)


def test_a_single_file_uses_the_config_beside_it_or_flags(tmp_path):
    write_open_clip(tmp_path)
    weights = tmp_path / "open_clip_model.safetensors"
    assert load_clip(str(weights)).shape.activation == "gelu"
    with pytest.raises(UserError, match=r"--clip-activation quick-gelu, but .*open_clip_config.json says gelu"):
        load_clip(str(weights), activation="quick-gelu")
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(
        UserError, match=r"open_clip_config\.json beside it, or pass --clip-activation \{quick-gelu,gelu\}"
    ):
        load_clip(str(weights))
    assert load_clip(str(weights), activation="gelu", head_width=32).visual.transformer.resblocks[0].attn.heads == 4


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"multimodal_cfg": {}}, "a CoCa"),
        ({"init_logit_bias": -10}, "a SigLIP"),
        ({"vision_cfg": {"timm_model_name": "vit"}}, "timm_model_name vit: not a CLIP of this form"),
        ({"text_cfg": {"hf_model_name": "roberta"}}, "hf_model_name roberta: not a CLIP of this form"),
        ({"vision_cfg": {"layers": [3, 4, 6, 3]}}, "layers: expected"),
        ({"vision_cfg": 3}, "vision_cfg: expected a table"),
        ({"text_cfg": {"width": 10, "heads": 3}}, "cannot be divided into 3 heads"),
        ({"vision_cfg": {"width": 128, "layers": 2, "image_size": 224}}, "says image_size 224, the tensors have 64"),
    ],
)
def test_a_config_of_another_model_gives_a_one_line_error(tmp_path, changes, message):
    write_open_clip(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_clip(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model_type": "siglip"}, "a model of the type 'siglip'"),
        ({"vision_config": {"hidden_act": "relu"}}, "hidden_act 'relu'"),
        ({"text_config": [1]}, "expected a table"),
        ({"vision_config": {"hidden_size": 10**9}}, "hidden_size: expected a number"),
    ],
)
def test_a_hugging_face_config_of_another_model_gives_a_one_line_error(tmp_path, changes, message):
    write_hugging_face(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=message) as caught:
        load_clip(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("positional_embedding", (64, 8), "a context length of 64"),
        ("token_embedding.weight", (100, 8), "a vocabulary of 100"),
        ("logit_bias", (), "a SigLIP"),
        ("visual.blocks.0.norm1.weight", (8,), "an EVA-CLIP"),
        ("text_decoder.ln.weight", (8,), "a CoCa"),
    ],
)
def test_tensors_of_another_model_are_named(tmp_path, name, size, message):
    torch.save({"visual.conv1.weight": torch.zeros(64, 3, 8, 8).half(), name: torch.zeros(size)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=message):
        load_clip(str(tmp_path / "a.pt"))


def test_a_folder_without_a_clip_names_the_missing_files(tmp_path):
    with pytest.raises(UserError, match="expected open_clip_config.json with"):
        load_clip(str(tmp_path))


def test_open_clip_names_that_do_not_exist_are_named():
    with pytest.raises(UserError, match="open_clip has no model 'ViT-B-17'.*did you mean ViT-B-1"):
        load_clip("open_clip:ViT-B-17:openai")
    with pytest.raises(UserError, match=r"has no weights 'laion'.*laion2b_s34b_b88k"):
        load_clip("open_clip:ViT-B-16:laion")


def test_inspect_prints_where_each_setting_comes_from(tmp_path, capsys):
    write_open_clip(tmp_path, "H/14")
    given, config = read_command(["--mode", "inspect", str(tmp_path)])
    inspect(config, given)
    out = capsys.readouterr().out
    where = tmp_path / "open_clip_config.json"
    assert f"activation gelu, from {where}" in out and f"image_head 80, from {where}" in out
    assert f"mean (0.5, 0.5, 0.5), from {where}" in out
