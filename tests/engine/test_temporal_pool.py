"""--temporal-pool: a checkpoint fixes it, evaluation needs no flag, and other models start from it."""

import pytest
import torch

from engine.checkpoints import align_positions
from tests.support.published import Recipe, rapt
from tests.support.tools import Run, call, one_line, run_ok
from utils.archive import read_archive
from utils.checkpoint import save_checkpoint

RUN = ["--epochs", "1", "--milestones", "--lr", "0.01", "--no-mistake-frames"]
METHODS = {"clip-caer": "face_temporal", "dfer-clip": "face_temporal", "emoclip": "temporal"}
TENSORS = {"class-token": "class_token", "attention": "pool.2.weight", "mean": None}


@pytest.fixture(scope="module")
def trained(tiny_arguments, tmp_path_factory):
    """A run of a method and its pooling, trained when first asked for."""
    folder, runs = tmp_path_factory.mktemp("pooled"), {}

    def of(model: str, pool: str) -> Run:
        if (model, pool) not in runs:
            words = ["--model", model, "--temporal-pool", pool]
            words += ["--caption-source", "class"] if model == "emoclip" else []
            lists = tiny_arguments if model == "clip-caer" else without_body(tiny_arguments)
            runs[model, pool] = run_ok([*lists, *RUN, *words], folder / f"{model}-{pool}")
        return runs[model, pool]

    return of


def without_body(arguments: list[str]) -> list[str]:
    return [word for word in arguments if word not in ("--bounding-box-body", "annotation/body.json")]


def lists_of(arguments: list[str]) -> list[str]:
    return [*arguments[arguments.index("--device") + 2 :], "--workers", "0", "--device", "cpu"]


def evaluate(checkpoint, arguments, *more):
    return ["--mode", "eval", "--eval-checkpoint", str(checkpoint), *lists_of(arguments), *more]


@pytest.mark.parametrize("pool", ["attention", "mean"])
@pytest.mark.parametrize("model", METHODS)
def test_it_trains_and_its_checkpoint_is_evaluated_without_a_flag(trained, tiny_arguments, tmp_path, model, pool):
    run, net = trained(model, pool), METHODS[model]
    state = read_archive(run.folder / "best.pt")["model"]
    assert state[f"{net}.positions"].shape[1] == 4  # one for each frame
    assert {part for part in TENSORS.values() if f"{net}.{part}" in state} == {TENSORS[pool]} - {None}
    lists = tiny_arguments if model == "clip-caer" else without_body(tiny_arguments)
    again = run_ok(evaluate(run.folder / "best.pt", lists), tmp_path / "eval")
    assert again.predictions == run.predictions


@pytest.mark.parametrize("model", METHODS)
def test_the_scorer_of_attention_pooling_learns(trained, model):
    """Its biases start at 0. The last one shifts all scores alike, so it has no gradient."""
    state = read_archive(trained(model, "attention").folder / "best.pt")["model"]
    assert state[f"{METHODS[model]}.pool.0.bias"].any()


@pytest.mark.parametrize(("pool", "flag"), [("mean", "attention"), ("attention", "class-token")])
def test_another_pooling_is_refused_in_evaluation(trained, tiny_arguments, pool, flag):
    path = trained("clip-caer", pool).folder / "best.pt"
    message = one_line(call(*evaluate(path, tiny_arguments, "--temporal-pool", flag)))
    assert f"--temporal-pool {flag}: this checkpoint was trained with {pool}" in message


@pytest.mark.parametrize("pool", ["class-token", "attention", "mean"])
@pytest.mark.parametrize("claim", ["class-token", "attention", "mean"])
def test_options_that_contradict_the_tensors_are_refused(trained, tiny_arguments, tmp_path, pool, claim):
    """Except class-token beside the tensors of attention: files of RAPT that were converted before the option."""
    content = read_archive(trained("clip-caer", pool).folder / "best.pt")
    content["config"]["model"]["temporal_pool"] = claim
    save_checkpoint(content, tmp_path / "changed.pt")
    run = call(*evaluate(tmp_path / "changed.pt", tiny_arguments), "--output-dir", tmp_path / "eval")
    if claim == pool or (pool, claim) == ("attention", "class-token"):
        assert run.status == 0, run.err
    else:
        assert "do not make a clip-caer model" in one_line(run)


def test_a_published_file_of_rapt_says_attention(tmp_path, tiny_arguments):
    path = tmp_path / "model_best.pth"
    torch.save({"state_dict": dict(rapt(Recipe(texts_per_class=3)).state)}, path)
    message = one_line(call(*evaluate(path, tiny_arguments, "--temporal-pool", "mean")))
    assert "--temporal-pool mean: this checkpoint was trained with attention" in message


# -- the positions of another model ---------------------------------------------------------------------------------


def positions_of(rows: int, token: bool) -> dict[str, torch.Tensor]:
    """Row n is filled with n; the class token's row with -1."""
    values = torch.arange(float(rows))[None, :, None].expand(1, rows, 2)
    if not token:
        return {"face_temporal.positions": values}
    first = torch.full((1, 1, 2), -1.0)
    return {"face_temporal.positions": torch.cat([first, values], dim=1), "face_temporal.class_token": first}


@pytest.mark.parametrize("stored_token", [True, False])
@pytest.mark.parametrize("current_token", [True, False])
def test_a_position_stays_that_of_its_frame(stored_token, current_token):
    stored, current = positions_of(16, stored_token), positions_of(16, current_token)
    align_positions(stored, current)
    assert torch.equal(stored["face_temporal.positions"], current["face_temporal.positions"])


def test_a_pooled_model_starts_from_a_class_token_and_back(trained, tiny_arguments, tmp_path):
    words = [*tiny_arguments, *RUN, "--lr", "0", "--epochs", "1"]
    for pool, other in (("class-token", "mean"), ("attention", "class-token")):
        source = trained("clip-caer", pool).folder / "best.pt"
        run = run_ok([*words, "--temporal-pool", other, "--init-from", str(source)], tmp_path / other)
        before, after = (read_archive(path)["model"] for path in (source, run.folder / "best.pt"))
        before, after = (state["context_temporal.positions"][:, -4:] for state in (before, after))
        assert torch.equal(before, after)  # at a rate of 0 nothing moves them
