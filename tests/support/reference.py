"""The published arithmetic on a state dict's tensors, in double precision, written from the formulas."""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
END = 49407


def in_double(state: State) -> State:
    """Published names without DataParallel's prefix; half precision converted to double."""
    return {
        key.removeprefix("module."): tensor.double() if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }


# -- small parts ----------------------------------------------------------------------------------------------------


def layer_norm(s: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """q, k, v (N, L, heads · size), scale size^-0.5."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (N, heads, L, size)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


# -- CLIP -----------------------------------------------------------------------------------------------------------


def clip_blocks(s: State, tower: str, x: Tensor, causal: bool) -> Tensor:
    """Pre-norm blocks with QuickGELU; a head is 64 wide."""
    layer = 0
    while f"{tower}transformer.resblocks.{layer}.ln_1.weight" in s:
        at = f"{tower}transformer.resblocks.{layer}."
        normed = layer_norm(s, f"{at}ln_1", x)
        fused = normed @ s[f"{at}attn.in_proj_weight"].T + s[f"{at}attn.in_proj_bias"]
        q, k, v = fused.chunk(3, dim=-1)
        x = x + linear(s, f"{at}attn.out_proj", attend(q, k, v, x.shape[-1] // 64, causal))
        hidden = linear(s, f"{at}mlp.c_fc", layer_norm(s, f"{at}ln_2", x))
        x = x + linear(s, f"{at}mlp.c_proj", hidden / (1 + torch.exp(-1.702 * hidden)))
        layer += 1
    return x


def image_features(s: State, tower: str, pixels: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) → (N, D): patches row by row, class token first."""
    kernel = s[f"{tower}conv1.weight"]
    patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = s[f"{tower}class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], dim=1) + s[f"{tower}positional_embedding"]
    x = clip_blocks(s, tower, layer_norm(s, f"{tower}ln_pre", x), causal=False)
    return layer_norm(s, f"{tower}ln_post", x[:, 0]) @ s[f"{tower}proj"]


def text_features(s: State, tower: str, embedded: Tensor, ends: list[int]) -> Tensor:
    """Token embeddings (N, 77, W), the place of each end-of-text → unit vectors (N, D)."""
    x = clip_blocks(s, tower, embedded + s[f"{tower}positional_embedding"], causal=True)
    x = layer_norm(s, f"{tower}ln_final", x)
    return F.normalize(x[torch.arange(len(x)), ends] @ s[f"{tower}text_projection"], dim=-1)


# -- frames to a video ----------------------------------------------------------------------------------------------


def temporal(s: State, net: str, frames: Tensor) -> Tensor:
    """Frames (B, T, D) → (B, D): the class token's row, or RAPT's pooling where the file has no class token."""
    x = frames
    if f"{net}cls_token" in s:
        x = torch.cat([s[f"{net}cls_token"].expand(len(x), 1, -1), x], dim=1)
    x = x + s[f"{net}pos_embedding"][:, : x.shape[1]]
    layer = 0
    while f"{net}temporal_transformer.layers.{layer}.0.fn.norm.weight" in s:
        at = f"{net}temporal_transformer.layers.{layer}."
        q, k, v = linear(s, f"{at}0.fn.fn.to_qkv", layer_norm(s, f"{at}0.fn.norm", x)).chunk(3, dim=-1)
        x = x + linear(s, f"{at}0.fn.fn.to_out.0", attend(q, k, v, heads=8))
        hidden = F.gelu(linear(s, f"{at}1.fn.fn.net.0", layer_norm(s, f"{at}1.fn.norm", x)), approximate="tanh")
        x = x + linear(s, f"{at}1.fn.fn.net.3", hidden)
        layer += 1
    if f"{net}cls_token" in s:
        return x[:, 0]
    scores = linear(s, f"{net}attention_pool.2", torch.tanh(linear(s, f"{net}attention_pool.0", x)))  # (B, T, 1)
    return (torch.softmax(scores, dim=1) * x).sum(dim=1)


def adapt(s: State, frames: Tensor) -> Tensor:
    """The published adapter, without a residual; RAPT's second layer is called 3."""
    second = "face_adapter.fc.2" if "face_adapter.fc.2.weight" in s else "face_adapter.fc.3"
    return linear(s, second, linear(s, "face_adapter.fc.0", frames).clamp(min=0)).clamp(min=0)


def frame_features(s: State, tower: str, pixels: Tensor) -> Tensor:
    """Frames (B, T, 3, H, W) → (B, T, D)."""
    return image_features(s, tower, pixels.double().flatten(0, 1)).view(*pixels.shape[:2], -1)


def video_features(s: State, face: Tensor, context: Tensor) -> Tensor:
    """Both views (B, T, 3, H, W) → unit vectors (B, D)."""
    faces, contexts = (frame_features(s, "image_encoder.", view) for view in (face, context))
    if "face_adapter.fc.0.weight" in s:
        faces = adapt(s, faces)
    streams = [temporal(s, "temporal_net.", faces), temporal(s, "temporal_net_body.", contexts)]
    return F.normalize(linear(s, "project_fc", torch.cat(streams, dim=-1)), dim=-1)


# -- texts ----------------------------------------------------------------------------------------------------------


def assemble(s: State, lengths: list[int], position: str) -> Tensor:
    """Prompts (N, 77, W); ``lengths`` counts the tokens of each text without start and end."""
    ctx, prefix, suffix = (s[f"prompt_learner.{name}"] for name in ("ctx", "token_prefix", "token_suffix"))
    prompts = []
    for row, length in enumerate(lengths):
        context = ctx[row] if ctx.dim() == 3 else ctx
        half, words, rest = len(context) // 2, suffix[row, :length], suffix[row, length:]
        body = {
            "end": [context, words],
            "middle": [context[:half], words, context[half:]],
            "front": [words, context],
        }[position]
        prompts.append(torch.cat([prefix[row], *body, rest]))
    return torch.stack(prompts)


def prompt_features(s: State, lengths: list[int], position: str = "end") -> Tensor:
    n_ctx = s["prompt_learner.ctx"].shape[-2]
    ends = [1 + n_ctx + length for length in lengths]
    return text_features(s, "text_encoder.", assemble(s, lengths, position), ends)


def plain_features(s: State, lengths: list[int]) -> Tensor:
    return text_features(s, "text_encoder.", s["hand_crafted_prompt_embeddings"], [1 + n for n in lengths])


# -- logits ---------------------------------------------------------------------------------------------------------


def cosine_logits(video: Tensor, text: Tensor, classes: int, tau: float) -> Tensor:
    """Mean over the texts of a class, which stand side by side, of the cosines."""
    return (video @ text.T).unflatten(1, (classes, -1)).mean(dim=-1) / tau


def slerp(start: Tensor, goal: Tensor, weight: float) -> Tensor:
    """From one unit vector towards another along the great circle through both."""
    cosine = torch.dot(start, goal).clamp(-1, 1)
    angle = weight * torch.acos(cosine)
    across = goal - cosine * start
    return torch.cos(angle) * start + torch.sin(angle) * across / across.norm()


def slerp_logits(video: Tensor, text: Tensor, weight: float, tau: float) -> Tensor:
    return torch.stack([torch.stack([torch.dot(v, slerp(t, v, weight)) / tau for t in text]) for v in video])


def clip_caer_logits(
    state: State, lengths: list[int], face: Tensor, context: Tensor, *, classes: int, tau: float, position: str = "end"
) -> Tensor:
    """CLIP-CAER, and every fork with its slerp off."""
    s = in_double(state)
    return cosine_logits(video_features(s, face, context), prompt_features(s, lengths, position), classes, tau)


def fork_logits(
    state: State, lengths: list[int], face: Tensor, context: Tensor, *, tau: float = 0.07, weight: float = 0.5
) -> Tensor:
    """IEC on the hand-crafted view, whose text lengths these are."""
    s = in_double(state)
    return slerp_logits(video_features(s, face, context), plain_features(s, lengths), weight, tau)


def dfer_clip_logits(
    state: State, lengths: list[int], face: Tensor, *, tau: float = 0.01, position: str = "end"
) -> Tensor:
    """One stream, whose class token is the video feature."""
    s = in_double(state)
    video = F.normalize(temporal(s, "temporal_net.", frame_features(s, "image_encoder.", face)), dim=-1)
    return cosine_logits(video, prompt_features(s, lengths, position), len(lengths), tau)


def emoclip_logits(state: State, ids: Tensor, face: Tensor) -> Tensor:
    """Class descriptions as token ids (C, 77), encoded by the file's own text tower."""
    s = in_double(state)
    video = F.normalize(temporal(s, "temporal.", frame_features(s, "backbone.visual.", face)), dim=-1)
    ends = [row.tolist().index(END) for row in ids]
    text = text_features(s, "backbone.", s["backbone.token_embedding.weight"][ids], ends)
    return torch.exp(s["logit_scale"]) * video @ text.T
