"""Options from dataclasses: parsing, ranges, strings for booleans, recipes, round trips."""

import dataclasses
import json
from typing import Literal

import pytest

from utils.config import ON, describe, from_json, option, parse, read_with_recipes, resolve
from utils.errors import UserError


@dataclasses.dataclass(frozen=True)
class Colours:
    """A separate group of options, so that these tests do not depend on the flags of the project."""

    shade: Literal["light", "dark"] = option("light", "a choice")
    depth: int = option(3, "a whole number", minimum=1, maximum=9)
    gain: float = option(0.5, "a number", above=0)
    is_loud: bool = option(False, "a claim", aliases=("--noisy", "--is_loud"))
    steps: tuple[int, ...] = option((1, 2), "several numbers", minimum=1)
    name: str | None = option(None, "a text", aliases=("--label",))
    limit: float | None = option(None, "a number or nothing", minimum=0)


GROUPS = {"colours": Colours}


def read(*arguments: str) -> Colours:
    return resolve(GROUPS, parse(GROUPS, list(arguments), "test"))["colours"]


def error(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_flags_all_options_have_their_defaults():
    assert read() == Colours("light", 3, 0.5, False, (1, 2), None, None)
    assert parse(GROUPS, [], "test") == {}


def test_every_kind_of_value_is_read_as_its_type():
    got = read(*"--shade dark --depth 7 --gain 1e-3 --is-loud --steps 4 5 6 --name x --limit 2".split())
    assert got == Colours("dark", 7, 1e-3, True, (4, 5, 6), "x", 2.0)
    assert type(got.limit) is float and type(got.steps) is tuple


def test_a_list_may_be_emptied_and_flags_may_have_equals_signs():
    assert read("--steps").steps == ()
    assert read("--depth=5", "--name=a b").name == "a b"


@pytest.mark.parametrize(("text", "value"), [("True", True), ("False", False), ("true", True), ("no", False)])
def test_booleans_accept_the_published_strings(text, value):
    assert read("--is-loud", text).is_loud is value
    assert read("--noisy", text).is_loud is value


@pytest.mark.parametrize("flag", ["--no-is-loud", "--no-noisy"])
def test_a_boolean_and_its_alias_can_be_switched_off(flag):
    assert read("--is-loud", flag).is_loud is False
    assert read(flag, "--is-loud").is_loud is True


def test_aliases_name_the_same_option():
    assert read("--label", "x").name == "x"
    assert read("--name", "y", "--label", "x").name == "x"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--depth", "0"], ["--depth", "at least 1"]),
        (["--depth", "10"], ["--depth", "at most 9"]),
        (["--depth", "2.5"], ["--depth", "whole number", "2.5"]),
        (["--gain", "0"], ["--gain", "above 0"]),
        (["--gain", "nan"], ["--gain", "finite"]),
        (["--gain", "inf"], ["--gain", "finite"]),
        (["--gain", "much"], ["--gain", "a number", "much"]),
        (["--steps", "1", "0"], ["--steps", "at least 1"]),
        (["--limit", "-1"], ["--limit", "at least 0"]),
        (["--shade", "red"], ["--shade", "red", "light", "dark"]),
        (["--is-loud", "maybe"], ["--is-loud", "True or False", "maybe", "put before the flag"]),
        (["--depth"], ["--depth", "expected"]),
    ],
)
def test_a_wrong_value_is_refused_by_its_flag(arguments, parts):
    message = error(*arguments)
    for part in parts:
        assert part in message, message


def test_an_unknown_flag_names_the_nearest_one():
    assert "--depht" in error("--depht", "3") and "did you mean --depth" in error("--depht", "3")
    assert "did you mean" not in error("--zzzzzz", "3")


def test_abbreviations_are_unknown_flags():
    assert "unknown flag --dep" in error("--dep", "3")


def test_a_value_too_many_is_an_error():
    assert error("--depth", "5", "7").startswith("7: does not belong to a flag")


def test_a_config_survives_json():
    given = read(*"--shade dark --steps 4 5 --is-loud --limit 0.1".split())
    stored = json.loads(json.dumps({"colours": dataclasses.asdict(given)}))
    assert resolve(GROUPS, from_json(GROUPS, stored))["colours"] == given


def test_stored_options_that_no_longer_exist_are_left_out_and_new_ones_keep_their_default():
    restored = from_json(GROUPS, {"colours": {"depth": 8, "gone": 1}, "lost": {"x": 1}})
    assert restored == {"depth": 8}


def test_later_layers_win():
    assert resolve(GROUPS, {"depth": 2, "gain": 2.0}, {"depth": 4})["colours"] == Colours(depth=4, gain=2.0)


def test_a_group_of_options_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().depth = 4


def test_describe_lists_every_option_and_marks_changed_ones():
    lines = {line.split()[-2]: line for line in describe({"colours": read("--depth", "7")}).splitlines()[2:6]}
    assert "*" in lines["--depth"] and "*" not in lines["--gain"]
    shown = describe({"colours": read()})
    for field in dataclasses.fields(Colours):
        assert "--" + field.name.replace("_", "-") in shown


class TestRecipes:
    def write(self, folder, text, name="a.args"):
        (folder / name).write_text(text, encoding="utf-8")
        return f"@{folder / name}"

    def test_recipes_have_one_flag_per_line_and_comments(self, tmp_path):
        recipe = self.write(
            tmp_path, "# head\n--depth 7\n\n--steps 3 4  # two of them\n--name 'two words'\n--is-loud\n"
        )
        assert read(recipe) == Colours(depth=7, steps=(3, 4), name="two words", is_loud=True)

    def test_later_flags_win_before_and_after_a_recipe(self, tmp_path):
        recipe = self.write(tmp_path, "--depth 7\n--depth 8\n")
        assert read("--depth", "1", recipe).depth == 8
        assert read(recipe, "--depth", "2").depth == 2

    def test_a_recipe_may_name_another_beside_it(self, tmp_path):
        self.write(tmp_path, "--depth 7\n--gain 2\n", "base.args")
        assert read(self.write(tmp_path, "@base.args\n--gain 3\n")) == Colours(depth=7, gain=3.0)

    def test_recipes_that_name_each_other_end(self, tmp_path):
        assert "endlessly" in error(self.write(tmp_path, "@a.args\n"))

    def test_a_line_that_cannot_be_split_is_named(self, tmp_path):
        message = error(self.write(tmp_path, "--depth 7\n--name 'open\n"))
        assert "a.args, line 2" in message and "quot" in message

    def test_a_missing_recipe_is_named(self, tmp_path):
        assert "nowhere.args" in error(f"@{tmp_path / 'nowhere.args'}")

    def test_a_binary_file_is_refused_as_a_recipe(self, tmp_path):
        (tmp_path / "b.args").write_bytes(b"\xff\xfe\x00--depth")
        assert "b.args" in error(f"@{tmp_path / 'b.args'}")

    def test_a_mistake_inside_a_recipe_is_still_refused(self, tmp_path):
        assert "did you mean --depth" in error(self.write(tmp_path, "--depht 7\n"))


# -- commands that read the recipes of main.py -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Paint:
    pots: tuple[str, ...] = option((), "words", metavar="POT", positional=True)
    kind: Literal["oil", "water"] = option("oil", "a choice")
    layers: int | None = option(None, "a whole number")
    drying: float = option(2.0, "a number", needs={"kind": ("oil",)})
    is_even: bool = option(True, "a claim", needs={"layers": ON})
    brush: str | None = option(None, "a text", needs={"size": ("large",)})

    @property
    def size(self) -> str:
        return "large" if len(self.pots) > 1 else "one pot"


def test_flags_of_a_recipe_that_a_command_lacks_are_left_out_with_their_values(tmp_path):
    (tmp_path / "a.args").write_text("--epochs 3 4\n--kind water\n--gain=5\n--amp\n--layers 2\n")
    words = ["red", f"@{tmp_path}/a.args", "--kind="]
    assert read_with_recipes(Paint, words, "") == (Paint(("red",), layers=2), ["--amp", "--epochs", "--gain"])
    with pytest.raises(UserError, match="unknown flag --epochs"):
        read_with_recipes(Paint, ["red", "--epochs", "3"], "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("red --kind water --drying 1", "--drying 1.0 is not used with --kind water; leave it out"),
        ("red --no-is-even", "--no-is-even is not used without --layers; leave it out or set --layers"),
        ("red --brush x", "--brush x is not used with one pot; leave it out"),
    ],
)
def test_an_option_without_an_effect_is_refused_unless_it_has_its_default(words, message):
    with pytest.raises(UserError) as caught:
        read_with_recipes(Paint, words.split(), "")
    assert str(caught.value) == message
    usual = "--drying 2 --is-even --kind water"
    assert read_with_recipes(Paint, usual.split(), "")[0].kind == "water"
    assert read_with_recipes(Paint, "red blue --brush x".split(), "")[0].brush == "x"
