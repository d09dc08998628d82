"""Units as they are written, in layers with and without positions."""

from pathlib import Path

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
        ("layer,unit\na,1,2\n", "line 2 has 3 fields"),
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


# Names with separators: split where the files are.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "tf.onnx",
        "a:b.onnx",
        "C:\\nets\\n.onnx",
        "my net.onnx",
        "d+1.prototxt",
        "d+1.caffemodel",
        "p.png",
    ):
        (tmp_path / name).write_text("")
    (tmp_path / "nets:2").mkdir()
    (tmp_path / "units-12:30.csv").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "parts",
    [
        ("onnx:tf.onnx", "net/conv1/Relu:0", "2"),
        ("onnx:tf.onnx", "a:b:c", "0-9"),
        ("onnx:tf.onnx", "", "2"),
        ("onnx:tf.onnx", "block 1/conv, first", "2@3,4"),
        ("onnx:a:b.onnx", "r:0", "1"),
        ("onnx:a:b.onnx", "", "1"),
        ("onnx:C:\\nets\\n.onnx", "r:0", "1"),
        ("onnx:my net.onnx", "r", "all"),
        ("onnx:./tf.onnx", "r:0", "1"),
        ("caffe:d+1.prototxt+d+1.caffemodel", "conv:1", "3"),
        ("caffe:d+1.prototxt", "conv1", "3"),
        ("caffe:nets:2", "conv1:x", "3"),
        ("match:p.png:onnx:tf.onnx", "net/flat:0", "0"),
        ("match:p.png:efficientnet-lite0", "_fc", "0"),
        ("match:p.png", "", "0"),
        ("onnx:gone.onnx", "layer", "0"),
        ("python:a.b:function", "", "0"),
        ("http://127.0.0.1:8971/r", "", "0"),
        ("onnx:tf.onnx", "", "units-12:30.csv"),
        ("python:a.b:function", "", "units-12:30.csv"),
        ("python:a.b:function", "", "gone:1.csv"),
    ],
)
def test_a_target_is_split_where_its_files_are(here: Path, parts: tuple[str, str, str]) -> None:
    assert split(":".join(parts)) == parts


def test_what_is_no_target_shows_the_table_form(here: Path) -> None:
    with pytest.raises(BadInput, match='network = "NETWORK", layer = "LAYER", units = "UNITS"'):
        split("onnx:3")


def test_a_known_network_is_known_without_its_file() -> None:
    parts = ("onnx:/gone/tf.onnx", "net/Relu:0", "2")
    assert split(":".join(parts), {"onnx:/gone/tf.onnx"}) == parts
