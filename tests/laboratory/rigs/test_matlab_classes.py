"""Variables of MATLAB's that are neither plain numbers nor text are named, each with what to save instead."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from xdream.laboratory.rigs.folder_files import OBJECT_HEADER, Unreadable, read

NAMES = [f"block001_{i:03d}_id-{i}.png" for i in range(6)]
TABLE = np.arange(18.0).reshape(6, 3) / 7.0
#: Where an object's content is in the file: what stands there instead of numbers.
HEADER = np.array([OBJECT_HEADER, 2, 1, 1, 1, 1], np.uint32)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def opaque(name: str, of: str) -> bytes:
    """An object in a v5 file, as MATLAB's `save -v6` writes it."""
    numbers = element(6, struct.pack("<II", 13, 0)) + element(5, struct.pack("<ii", 6, 1)) + element(1, b"")
    inside = element(14, numbers + element(6, HEADER.tobytes()))
    words = element(1, name.encode()) + element(1, b"MCOS") + element(1, of.encode())
    return element(14, element(6, struct.pack("<II", 17, 0)) + words + inside)


def plain(**variables: Any) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return file.getvalue()


def cell() -> Any:
    made = np.empty((6, 1), dtype=object)
    made[:, 0] = NAMES
    return made


def v6(name: str, of: str) -> bytes:
    rest = {"stimulusID": cell(), "tEvokedResp": TABLE}
    del rest[name]
    file = plain(**rest)
    return file[:128] + opaque(name, of) + file[128:]


def v7(name: str, of: str) -> bytes:
    """The same, each variable compressed."""
    rest = {"stimulusID": cell(), "tEvokedResp": TABLE}
    del rest[name]
    file = io.BytesIO()
    scipy.io.savemat(file, rest, do_compression=True)
    packed = zlib.compress(opaque(name, of))
    return file.getvalue() + struct.pack("<II", 15, len(packed)) + packed


def v73(name: str, of: str) -> bytes:
    def make(file: Any) -> None:
        found = file.create_dataset(name, data=HEADER[:, None])
        found.attrs["MATLAB_class"] = np.bytes_(of.encode())
        found.attrs["MATLAB_object_decode"] = np.int32(3)

    return hdf5(name, make)


def hdf5(name: str, make: Callable[[Any], None]) -> bytes:
    """A v7.3 file in which one variable is made otherwise."""
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512) as made:
        if name != "tEvokedResp":
            made.create_dataset("tEvokedResp", data=TABLE).attrs["MATLAB_class"] = np.bytes_(b"double")
        if name != "stimulusID":
            texts = [
                made.create_dataset(
                    f"#refs#/{i}", data=np.frombuffer(one.encode("utf-16-le"), np.uint16)[:, None]
                )
                for i, one in enumerate(NAMES)
            ]
            refs = np.array([one.ref for one in texts], dtype=h5py.ref_dtype)[None]
            made.create_dataset("stimulusID", data=refs).attrs["MATLAB_class"] = np.bytes_(b"cell")
        make(made)
    data = file.getvalue()
    return b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM" + data[128:]


def refused(data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read("mat", data)
    return str(caught.value)


@pytest.mark.parametrize("save", [v6, v7, v73])
@pytest.mark.parametrize(
    ("name", "of", "remedy"),
    [
        ("stimulusID", "string", "cellstr(stimulusID)"),
        ("stimulusID", "categorical", "cellstr(stimulusID)"),
        ("stimulusID", "datetime", "cellstr(stimulusID)"),
        ("tEvokedResp", "table", "table2array(tEvokedResp)"),
        ("tEvokedResp", "timetable", "timetable2table(tEvokedResp"),
        ("tEvokedResp", "string", "str2double(tEvokedResp)"),
        ("tEvokedResp", "duration", "milliseconds(tEvokedResp)"),
        ("tEvokedResp", "categorical", "a plain array of type double"),
        ("tEvokedResp", "gpuArray", "gather(tEvokedResp)"),
        ("tEvokedResp", "MyLab", "a plain array of type double"),
    ],
)
def test_an_object_is_named_with_its_remedy(save: Any, name: str, of: str, remedy: str) -> None:
    said = refused(save(name, of))
    assert said.startswith(f"{name} is a MATLAB {of}")
    assert remedy in said


def test_an_object_is_known_without_its_attributes() -> None:
    """A block of six images and one channel would have six numbers too."""
    said = refused(hdf5("tEvokedResp", lambda f: f.update({"tEvokedResp": HEADER[:, None]})))
    assert said.startswith("tEvokedResp is a MATLAB object")


def _letters(file: Any) -> None:
    found = file.create_dataset("tEvokedResp", data=np.array([[49, 50, 51, 52, 53, 54]], np.uint16).T)
    found.attrs["MATLAB_class"] = np.bytes_(b"char")


def _cells(file: Any) -> None:
    parts = [file.create_dataset(f"#refs#/n{i}", data=row[:, None]) for i, row in enumerate(TABLE)]
    refs = np.array([one.ref for one in parts], dtype=h5py.ref_dtype)[None]
    file.create_dataset("tEvokedResp", data=refs).attrs["MATLAB_class"] = np.bytes_(b"cell")


def _sparse(file: Any) -> None:
    made = file.create_group("tEvokedResp")
    made.attrs["MATLAB_class"], made.attrs["MATLAB_sparse"] = np.bytes_(b"double"), np.uint64(6)


def _structure(file: Any) -> None:
    file.create_group("tEvokedResp").attrs["MATLAB_class"] = np.bytes_(b"struct")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: hdf5("tEvokedResp", _letters), "a MATLAB char array; save str2double(tEvokedResp)"),
        (lambda: hdf5("tEvokedResp", _cells), "a MATLAB cell array; save cell2mat(tEvokedResp)"),
        (lambda: hdf5("tEvokedResp", _sparse), "a MATLAB sparse; save full(tEvokedResp)"),
        (lambda: hdf5("tEvokedResp", _structure), "a MATLAB struct; save its field by itself"),
        (
            lambda: plain(stimulusID=cell(), tEvokedResp=scipy.sparse.csc_matrix(TABLE)),
            "save full(tEvokedResp)",
        ),
        (lambda: plain(stimulusID=cell(), tEvokedResp=np.array(["1", "2", "3"] * 2)), "a MATLAB char array"),
        (lambda: plain(stimulusID=cell(), tEvokedResp=cell()), "a MATLAB cell array; save cell2mat"),
        (
            lambda: plain(data={"stimulusID": cell(), "tEvokedResp": TABLE}),
            "no stimulusID; there is data (struct)",
        ),
        (
            lambda: hdf5("x", lambda f: f.move("stimulusID", "names")),
            "no stimulusID; there is names, tEvokedResp",
        ),
    ],
)
def test_what_is_no_plain_number_is_named(data: Callable[[], bytes], words: str) -> None:
    assert words in refused(data())


@pytest.mark.parametrize("kind", ["f4", "u1", "i4", "?"])
def test_numbers_of_every_class_are_read(kind: str) -> None:
    given = (np.arange(18).reshape(6, 3) % 2).astype(kind)
    found = read("mat", plain(stimulusID=cell(), tEvokedResp=given))
    np.testing.assert_array_equal(found.responses, given)


# Other numbers of HDF5 files that the file does not hold as such.


def scores(make: Callable[[Any], Any]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        make(made)
    return file.getvalue()


def _filled(file: Any) -> None:
    file.create_dataset("scores", data=[[1.0], [-999.0], [3.0]]).attrs["_FillValue"] = np.array([-999.0])


def test_a_fill_value_of_netcdf_is_missing() -> None:
    np.testing.assert_array_equal(read("h5", scores(_filled)).responses, [[1.0], [np.nan], [3.0]])


def _packed(file: Any) -> None:
    file.create_dataset("scores", data=np.ones((3, 1), np.int16)).attrs["scale_factor"] = 0.01


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_packed, r"scores is packed \(scale_factor of netCDF\)"),
        (lambda f: f.create_dataset("scores", (3, 1), "f8"), "scores was never written"),
        (
            lambda f: f.create_dataset("scores", data=[[1], [-(2**31)]], dtype="i4"),
            "which NaN becomes as int32",
        ),
        (lambda f: f.create_dataset("scores", data=[[1], [2**60]], dtype="i8"), "beyond 2"),
        (
            lambda f: f.create_dataset("scores", data=[[1], [0]], dtype=h5py.enum_dtype({"no": 0, "yes": 1})),
            "not numbers",
        ),
    ],
)
def test_a_number_that_the_file_does_not_hold_is_refused(make: Any, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read("h5", scores(make))


@pytest.mark.parametrize(
    ("data", "responses"),
    [
        (b"\xef\xbb\xbfstimulusID,a\r\nx,1.5\r\n,\r\n", [[1.5]]),
        ("stimulusID,a\r\nx,1.5\r\n".encode("utf-16"), [[1.5]]),
        (b"stimulusID,a\rx,1.5\ry,2\r", [[1.5], [2.0]]),
        (b"# rig 2, J\xfcrgen\nstimulusID,a\nx,NA\ny,1e3\n", [[np.nan], [1000.0]]),
    ],
)
def test_csv_as_other_programs_write_it(data: bytes, responses: Any) -> None:
    np.testing.assert_array_equal(read("csv", data).responses, responses)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"stimulusID;a\nx;1,5\n", "semicolons"),
        (b"sep=;\nstimulusID;a\nx;1,5\n", "commas between the fields and points in the numbers"),
        (b"stimulusID\ta\nx\t1.5\n", "tabs"),
        (b'stimulusID,a\nx,"1,5"\n', "line 2: '1,5' has a decimal comma"),
        (b"stimulusID,a\n\n\nx,1_0\n", "line 4: '1_0' is no number"),
        (b"stimulusID,a\nJ\xfcrgen,1\n", r"line 2 has a byte \(0xfc\) that is not UTF-8"),
    ],
)
def test_csv_that_means_something_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read("csv", data)
