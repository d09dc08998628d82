"""Units as they are written, in layers with and without positions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream.errors import BadInput
from xdream.subjects import Unit, parse_units, read_list, split

FLAT = (10,)
MAPS = (10, 7, 4)


@pytest.mark.parametrize(
    ("text", "channels"),
    [("8", [8]), ("3,7", [3, 7]), ("7,3", [7, 3]), ("0-9", range(10)), ("2-2", [2]), ("all", range(10))],
)
def test_units_of_a_flat_layer_have_no_position(text: str, channels: list[int]) -> None:
    assert parse_units(text, FLAT) == tuple(Unit(c) for c in channels)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("8", [(8, 3, 2)]),  # without a position: the centre, index size // 2
        ("5@6,3", [(5, 6, 3)]),
        ("5@0,0,1", [(5, 0, 0), (1, 3, 2)]),
        ("1-2@4,1,9", [(1, 4, 1), (2, 4, 1), (9, 3, 2)]),
        ("3@1,2,3@2,1", [(3, 1, 2), (3, 2, 1)]),
        ("all@0,1", [(c, 0, 1) for c in range(10)]),
    ],
)
def test_units_of_a_layer_of_maps_have_one(text: str, units: list[tuple[int, int, int]]) -> None:
    assert parse_units(text, MAPS) == tuple(Unit(*unit) for unit in units)


@pytest.mark.parametrize(
    ("text", "shape", "said"),
    [
        ("10", FLAT, "unit 10 does not exist; the layer has units 0 to 9"),
        ("5-12", FLAT, "unit 12 does not exist; the layer has units 0 to 9"),
        ("0-99999999999999999", FLAT, "does not exist"),
        ("5@1,1", FLAT, "has a position, but the layer has none"),
        ("5@7,0", MAPS, "position 7,0 does not exist; the layer is 7 high and 4 wide"),
        ("5@0,4", MAPS, "position 0,4 does not exist; the layer is 7 high and 4 wide"),
        ("5-3", FLAT, "'5-3' name no unit"),
        ("3,3", FLAT, "'3,3' name a unit twice"),
        ("0-4,4", FLAT, "'0-4,4' name a unit twice"),
        ("3@3,2,3", MAPS, "name a unit twice"),
        ("3,", FLAT, "'3,' end in a comma"),
        ("", FLAT, "''"),
    ],
)
def test_units_that_do_not_exist_are_refused_with_what_does(
    text: str, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        parse_units(text, shape)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6), st.integers(0, 3)), min_size=1, unique=True))
def test_units_read_back_from_their_own_names(places: list[tuple[int, int, int]]) -> None:
    units = tuple(Unit(*place) for place in places)
    assert parse_units(",".join(str(unit) for unit in units), MAPS) == units


def test_a_list_of_units_is_read_by_layers(tmp_path):
    path = tmp_path / "units.csv"
    path.write_text("layer,unit,y,x\n_blocks.5,3,1,2\n_fc,281,,\n_blocks.5,7,,\n")
    assert read_list(path) == {"_blocks.5": "3@1,2,7", "_fc": "281"}
    path.write_text("\ufefflayer, unit\n,4\n,5\n")
    assert read_list(path) == {"": "4,5"}
    assert split("net::units.csv") == ("net", "", "units.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer,neuron\na,1\n", "its columns are layer, neuron"),
        ("layer,unit\na,1\na,x\n", "line 3: 'x' is no unit"),
        ("layer,unit,y,x\na,1,2,\n", "line 2: '1@2,' is no unit"),
        ("layer,unit\na,1,2\n", "its columns are layer, unit, None"),
        ("layer,unit\n", "has no units"),
        ("", "has no units"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_line(text, said, tmp_path):
    path = tmp_path / "units.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        read_list(path)
    assert str(path) in str(error.value)
    with pytest.raises(BadInput, match="cannot be read"):
        read_list(tmp_path / "gone.csv")
