import math
from pathlib import Path

import numpy as np
import pytest

from xdream.errors import BadInput
from xdream.studies import table
from xdream.studies.table import Table, TableRow

ROWS = (
    TableRow("targets", "caffenet", "late", "fc6", "7", "pixels", "genetic", "clean", 3, "last", value=1.5),
    TableRow("targets", "caffenet", "late", "fc6", "7", "pixels", "genetic", "clean", 4, "last", value=2.5),
    TableRow("targets", "caffenet", "late", "fc6", "8", "pixels", "genetic", "clean", 3, "last"),
    TableRow(
        "targets",
        "caffenet",
        "early",
        "conv2",
        "1@6,6",
        condition='a, "b"\n',
        measure="curve",
        x=0.25,
        value=-3.0,
    ),
    TableRow(
        "overview", measure="image", image=table.image_text(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    ),
)


@pytest.mark.parametrize("suffix", table.SUFFIXES)
def test_a_table_is_read_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    table.write(Table(ROWS), path)
    assert repr(table.read(path).rows) == repr(ROWS)  # NaN is not equal to itself


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    table.write(Table([TableRow(measure="last", value=value)]), tmp_path / "t.csv")
    assert table.read(tmp_path / "t.csv").rows[0].value == value


def test_seeds_of_a_unit_are_averaged_and_a_missing_value_is_left_out() -> None:
    assert Table(ROWS).by_unit("last", condition="clean") == {("caffenet", "fc6", "7"): 2.0}


def test_a_tuple_stands_for_any_of_its_values() -> None:
    assert len(Table(ROWS).where(seed=(3, 4), measure="last")) == 3
    assert Table(ROWS).among("depth") == ["late", "early", ""]


def test_an_image_comes_back_pixel_by_pixel() -> None:
    assert (table.pixels_of(ROWS[4].image) == np.arange(48).reshape(4, 4, 3)).all()
    with pytest.raises(BadInput, match="image of the table"):
        table.pixels_of("no image")


def test_merging_keeps_each_row_once() -> None:
    merged = table.merged([Table(ROWS[:3]), Table(ROWS[1:])])
    assert repr(merged.rows) == repr(ROWS)


def test_merging_refuses_two_numbers_for_the_same_thing() -> None:
    other = TableRow(
        "targets", "caffenet", "late", "fc6", "7", "pixels", "genetic", "clean", 3, "last", value=9.0
    )
    with pytest.raises(BadInput, match=r"1\.5 and 9"):
        table.merged([Table(ROWS), Table([other])])


def test_the_time_that_a_shard_took_may_differ() -> None:
    first, second = (Table([TableRow("targets", measure=table.TIME, value=value)]) for value in (1.0, 2.0))
    assert table.merged([first, second]).rows[0].value == 1.0


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("t.csv", b"study,network\ntargets,caffenet\n"),
        ("t.csv", b"\xff\xfe\x00"),
        ("t.csv", b""),
        ("t.parquet", b"PAR1 and nothing more"),
        ("t.csv", ",".join(table.COLUMNS).encode() + b"\n" + b"x," * 8 + b"three,last,,1.0,\n"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, name: str, contents: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(BadInput, match=str(path)):
        table.read(path)


def test_a_name_without_a_known_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.csv or \.parquet"):
        table.write(Table(ROWS), tmp_path / "table.xlsx")
    with pytest.raises(BadInput, match="does not exist"):
        table.write(Table(ROWS), tmp_path / "nowhere" / "table.csv")
    with pytest.raises(BadInput, match="cannot be read"):
        table.read(tmp_path / "none.csv")


def test_an_infinite_number_survives(tmp_path: Path) -> None:
    table.write(Table([TableRow(measure="last", value=math.inf)]), tmp_path / "t.csv")
    assert table.read(tmp_path / "t.csv").rows[0].value == math.inf


def test_a_table_that_breaks_off_is_refused(tmp_path: Path) -> None:
    """Wherever it is cut: in a number, between two fields, in an image."""
    table.write(Table(ROWS), tmp_path / "t.csv")
    whole = (tmp_path / "t.csv").read_bytes()
    for cut in range(1, 40):
        (tmp_path / "cut.csv").write_bytes(whole[:-cut])
        with pytest.raises(BadInput, match="breaks off"):
            table.read(tmp_path / "cut.csv")
    (tmp_path / "cut.csv").write_bytes(whole.splitlines(keepends=True)[0] + b"targets,net\n")
    with pytest.raises(BadInput, match="line 2: another number of fields"):
        table.read(tmp_path / "cut.csv")


def test_evolutions_of_unlike_length_are_not_merged() -> None:
    tables = [
        Table(
            [TableRow("targets", "net", unit=str(n), condition="clean", measure="presentations", value=value)]
        )
        for n, value in enumerate((100.0, 300.0))
    ]
    with pytest.raises(BadInput, match="with 100 and with 300 presentations"):
        table.merged(tables)
