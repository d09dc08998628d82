"""Flags follow from the fields of descriptions, and are laid over their values."""

import argparse
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, Field

from xdream.cli import experiments, flags, sessions, study_commands, training
from xdream.cli.flags import FieldFlag
from xdream.cli.main import COMMANDS, _command, main
from xdream.description import Description, Frozen
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.laboratory.simulation.faults import Faults
from xdream.networks import listing
from xdream.networks.loading import _NAMED
from xdream.studies import StudyPlan
from xdream.subjects import KNOWN
from xdream.subjects.listing import KNOWN_NEURONS
from xdream.training.recipe import Recipe


class Cake(Frozen):
    """A description with fields of every kind."""

    layers: int = Field(default=2, ge=1, description="how many")
    sugar: float | None = Field(default=None, description="100% of it")
    kind: Literal["plum", "apple"] = Field(default="plum", description="of fruit")
    size_px: Literal[16, 32] = Field(default=16, description="of the photograph")
    iced: bool | None = Field(default=None, description="with icing (default: when it is cold)")
    guests: Annotated[tuple[str, ...], BeforeValidator(tuple)] = Field(default=(), description="who eats it")
    candles: tuple[str, ...] = Field(default=(), description="their colours")
    note: str = ""


ALL = {
    "layers": FieldFlag("N"),
    "sugar": FieldFlag("G"),
    "kind": FieldFlag(),
    "size_px": FieldFlag("PX", name="size"),
    "iced": FieldFlag(),
    "guests": FieldFlag("NAME", each=True),
    "candles": FieldFlag("COLOUR"),
}


def given(*arguments: str, made: Mapping[str, FieldFlag] = ALL) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    flags.add(parser, Cake, made)
    return flags.given(parser.parse_args(arguments), made)


def test_what_is_not_given_is_left_to_the_description() -> None:
    assert given() == {}


def test_values_have_the_types_of_their_fields() -> None:
    line = "--layers 3 --sugar 2.5 --kind apple --size 32 --no-iced --guests A --guests B --candles red blue"
    assert given(*line.split()) == {
        "layers": 3,
        "sugar": 2.5,
        "kind": "apple",
        "size_px": 32,
        "iced": False,
        "guests": ["A", "B"],
        "candles": ["red", "blue"],
    }


@pytest.mark.parametrize("line", ["--layers 1.5", "--sugar much", "--kind pear", "--size x", "--note hello"])
def test_what_is_not_of_the_type_or_not_among_the_choices_is_refused(line: str) -> None:
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        given(*line.split())


def test_help_is_the_description_with_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser, Cake, ALL)
    text = " ".join(parser.format_help().split())
    assert "--layers N how many (default 2)" in text
    assert "--sugar G 100% of it -" in text
    assert "--kind {plum,apple} of fruit (default plum)" in text
    assert "with icing (default: when it is cold) -" in text
    assert "--size PX of the photograph: 16, 32 (default 16)" in text
    assert "who eats it; may be given several times" in text


def test_a_flag_can_have_a_reader_of_its_own() -> None:
    assert given("--layers", "III", made={"layers": FieldFlag("N", read=len)}) == {"layers": 3}


@pytest.mark.parametrize(
    ("model", "with_flag", "without"),
    [
        (Plan, experiments.PLAN_FLAGS, experiments.PLAN_FILE_ONLY),
        (StudyPlan, study_commands.STUDY_FLAGS, study_commands.STUDY_FILE_ONLY),
        (Recipe, training.RECIPE_FLAGS, training.RECIPE_FILE_ONLY),
    ],
)
def test_every_key_has_a_flag_or_is_for_files_only(
    model: type[Description], with_flag: Mapping[str, FieldFlag], without: tuple[str, ...]
) -> None:
    assert sorted([*with_flag, *without]) == sorted(model.model_fields)
    undescribed = [key for key in with_flag if not model.model_fields[key].description]
    assert undescribed == []


def test_every_rate_of_a_fault_is_named_by_simulate_rig(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate-rig", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    rates = set(Faults.model_fields) - set(sessions.NO_RATES)
    assert rates < set(Faults.model_fields)
    assert all(f" {name}" in shown for name in rates)


EVOLVE = (
    "target generator optimizer objective presentations population repeats noise-spikes noise-scale "
    "references references-per-generation init seed runs image-size weights random-weights plateau record "
    "keep-images device engine compiled no-compiled precision name out set no-figures quiet"
)
#: The flags of each command: their names and meanings stay from release to release.
FLAGS = {
    "evolve": EVOLVE,
    "tune": f"{EVOLVE} parameter steps evaluations",
    "serve": "name out watch no-figures quiet",
    "simulate-rig": "target fault seed answers set",
    "study": "scale networks layers units seeds presentations generators references inverse image-size seed "
    "device threads batch out list shard cluster resource quiet",
    "merge": "out partial",
    "resume": "no-figures quiet",
    "show": "no-figures run format",
    "export": "to out spikes quiet set",
    "end": "",
    "reject-block": "reason yes",
    "take-back": "",
    "accept-block": "yes",
    "acknowledge": "",
    "watch": "port host open framed with-parent",
    "rescore": "out set",
    "pause": "reason",
    "go-on": "",
    "codes": "run generation out",
    "encode": "generator out steps method restarts features set",
    "train-generator": "images validation network layer dimensions image-size batch steps seed device "
    "precision name out resume quiet set",
    "weights": "",
    "list": "layers",
    "doctor": "generator set",
}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_keeps_its_flags(command: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    _command(command).flags(parser)
    found = {text for action in parser._actions for text in action.option_strings}
    assert found == {f"--{name}" for name in FLAGS[command].split()}


# ------------------------------------------------------------------ --set


def laid(*settings: str, **how: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"losses": {"image": 1.0}, "grid": 4}
    flags.lay_over(values, settings, **how)
    return values


def test_a_setting_is_read_as_toml_else_as_text() -> None:
    found = laid("grid=2", "losses.code=0.5", "layer=conv3", "channels=[8, 4]", 'name="2"', "text=a=b")
    assert found == {
        "losses": {"image": 1.0, "code": 0.5},
        "grid": 2,
        "layer": "conv3",
        "channels": [8, 4],
        "name": "2",
        "text": "a=b",
    }


def test_a_key_may_lie_as_deep_as_the_command_allows() -> None:
    assert laid("objective.a.b.c=1", depth=(1, 8))["objective"] == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize(
    ("setting", "how", "words"),
    [
        ("grid", {}, "--set 'grid' is not KEY=VALUE"),
        ("=2", {}, "--set '=2' is not KEY=VALUE"),
        ("a.b.c=2", {}, "--set 'a.b.c=2' is not KEY=VALUE"),
        ("grid.x=2", {}, "grid has no keys of its own"),
        ("x=2", {"depth": (1, 1), "form": "PART.KEY=VALUE"}, "is not PART.KEY=VALUE"),
        ("other.x=2", {"depth": (1, 1), "parts": ("losses",), "form": "this"}, "'other.x=2' is not this"),
        ("dropped", {"flag": "--fault", "form": "NAME=RATE"}, "--fault 'dropped' is not NAME=RATE"),
    ],
)
def test_what_is_no_setting_is_refused(setting: str, how: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as error:
        laid(setting, **how)
    assert words in str(error.value)


# ------------------------------------------------------------------ lists that are written twice


def test_the_lists_name_what_there_is() -> None:
    assert list(listing.NAMED) == list(_NAMED)
    assert list(KNOWN_NEURONS) == KNOWN.names()
