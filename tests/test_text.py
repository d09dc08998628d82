"""Text files as editors and spreadsheets of all countries save them: read as they were meant, or refused."""

from pathlib import Path

import numpy as np
import pytest

from xdream import text
from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.networks.caffe import prototxt
from xdream.studies import table
from xdream.studies.table import Table, TableRow
from xdream.subjects import read_list

PLAN = 'targets = ["known:linear::0"]  # Größe\nname = "größe"\n'


@pytest.mark.parametrize(
    "data",
    [
        PLAN.encode(),
        PLAN.encode("utf-8-sig"),
        PLAN.replace("\n", "\r\n").encode(),
        PLAN.replace("\n", "\r").encode(),
    ],
    ids=["UTF-8", "with a mark", "CRLF", "CR"],
)
def test_a_plan_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "PLAN.TOML"
    path.write_bytes(data)
    assert Plan.read(path).name == "größe"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("latin-1", r"line 1 has a byte \(0xf6\) that is not UTF-8; save the file as UTF-8"),
        ("utf-16", "line 1 begins in UTF-16, and TOML is UTF-8; save the file as UTF-8"),
        ("utf-32", "line 1 begins in UTF-32"),
    ],
)
def test_toml_in_another_encoding_is_refused_never_guessed(tmp_path: Path, encoding: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(PLAN.encode(encoding))
    with pytest.raises(BadInput, match=words):
        Plan.read(path)


def test_the_line_of_an_error_counts_every_kind_of_end() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        with pytest.raises(BadInput, match="line 3 "):
            text.decoded(end.join([b"a", "ü".encode(), b"\xfc"]))


DEFINITION = """name: "n" # %s
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "a#b" type: "ReLU" bottom: "data" top: "%s" }
"""


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "utf-16", "utf-8-sig", "shift-jis"])
def test_comments_of_a_prototxt_are_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    comment = {"latin-1": "Größe", "utf-16": "Größe", "utf-8-sig": "猫"}.get(encoding, "日本")
    path = tmp_path / "deploy.prototxt"
    path.write_bytes(
        (DEFINITION % (comment, "a#b"))
        .encode(encoding)
        .replace(b"\n", b"\r\n" * (encoding != "utf-16") or b"\n")
    )
    assert [layer.name for layer in prototxt.read(path, ["ReLU"]).layers] == ["a#b"]


def test_names_of_a_prototxt_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "deploy.prototxt"
    path.write_bytes((DEFINITION % ("Größe", "größe")).encode("latin-1"))
    with pytest.raises(BadInput, match=r"line 3 has a byte \(0xf6\) that is not UTF-8"):
        prototxt.read(path, ["ReLU"])


# Unit lists.


@pytest.mark.parametrize(
    "data",
    [
        b"layer,unit,y,x\na,2,,\na,1,3,4\n",
        b"\xef\xbb\xbflayer,unit,y,x\r\na,2,,\r\na,1,3,4\r\n",
        "layer,unit,y,x\r\na,2,,\r\na,1,3,4\r\n".encode("utf-16"),
        b"layer,unit,y,x\ra,2,,\ra,1,3,4",
        b"# units of session 3, J\xfcrgen\nlayer,unit,y,x\na,2,,\n\n,,,\na,1,3,4\n,,,\n",
        b"sep=,\nunit,Layer,X,Y\n2,a,,\n1,a,4,3\n",
    ],
    ids=["plain", "Excel", "UTF-16", "CR", "comment and empty rows", "declared separator, other order"],
)
def test_unit_lists_as_programs_save_them(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "UNITS.CSV"
    path.write_bytes(data)
    assert read_list(path) == {"a": "2,1@3,4"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"layer;unit;y;x\na;2;;\n", "separated by semicolons, as spreadsheets do .* decimal comma"),
        (b"layer\tunit\na\t2\n", "separated by tabs"),
        (b"layer,unit\n,2\n\n\n,x\n", "line 5: 'x' is no unit"),
        (b'layer,unit\n"a\nb",2\n,x\n', "line 4: 'x' is no unit"),
        (b"# a\n# b\nlayer,unit\n,x\n", "line 4: 'x' is no unit"),
        (b"layer,unit\na,2,3\n", "line 2 has 3 fields"),
        (b"layer,unit,comment\na,2,good\n", "its columns are layer, unit, comment"),
        (b"layer,unit\nJ\xfcrgen,2\n", "line 2 has a byte"),
        ("layer,unit\n,\u0662\n".encode(), "is no unit"),
        (b"", "has no units"),
    ],
)
def test_a_unit_list_that_means_something_else_is_refused_with_its_line(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "units.csv"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=words):
        read_list(path)


# Tables of studies.

ROWS = (TableRow("s", "n", value=1.5, measure="last", seed=3), TableRow("s", "n", measure="image"))


def saved(tmp_path: Path, change: object) -> Path:
    path = tmp_path / "t.csv"
    table.write(Table(ROWS), path)
    path.write_bytes(change(path.read_text()))  # type: ignore[operator]
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: b"# of J\xfcrgen\n" + text.encode() + b"\n,,,,,,,,,,,,\n",
    ],
)
def test_tables_as_programs_save_them(tmp_path: Path, change: object) -> None:
    assert repr(table.read(saved(tmp_path, change)).rows) == repr(ROWS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(",", ";").replace("1.5", "1,5").encode(), "semicolons"),
        (lambda text: text.replace("1.5", '"1,5"').encode(), "line 2: '1,5' has a decimal comma"),
        (lambda text: text.replace("1.5", "1_5").encode(), "line 2: '1_5' is no number"),
        (lambda text: text.replace("\n", "\n\n", 1).replace("1.5", "x").encode(), "line 3: 'x' is no number"),
        (lambda text: text.replace("seed", "Seed").encode(), "but study, network, .* Seed"),
    ],
)
def test_a_table_that_means_something_else_is_refused(tmp_path: Path, change: object, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        table.read(saved(tmp_path, change))


def test_what_other_programs_write_as_null_is_missing(tmp_path: Path) -> None:
    """pandas writes NaN into Parquet so, and a column of no texts."""
    import pyarrow
    import pyarrow.parquet

    rows = {name: [getattr(row, name) or None for row in ROWS] for name in table.COLUMNS}
    rows |= {"seed": [3, None], "value": [1.5, None], "x": [None, None]}
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "T.PARQUET")
    assert repr(table.read(tmp_path / "T.PARQUET").rows) == repr(ROWS)


# Endings.


def test_endings_in_capitals_are_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("U.CSV").write_text("layer,unit\n,2\n,0\n")
    Path("P.TOML").write_text('targets = "known:linear::U.CSV"\npresentations = 20\ngenerator = "pixels"\n')
    assert main(["evolve", "P.TOML", "--set", "generator.size_px=8", "--out", "o", "--no-figures"]) == 0
    assert main(["codes", "o", "--out", "C.NPZ"]) == 0
    assert len(np.load("C.NPZ")["codes"]) == 20
    again = ["--generator", "pixels", "--set", "generator.size_px=8", "--no-figures"]
    more = ["--target", "known:linear::0", "--presentations", "20", "--init", "codes:C.NPZ", "--out", "p"]
    assert main(["evolve", *again, *more]) == 0
    assert main(["merge", "o", "--out", "T.CSV"]) == 0
    assert main(["merge", "T.CSV", "--out", "U.Parquet"]) == 0
