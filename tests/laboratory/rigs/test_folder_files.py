"""Answer files as MATLAB and others write them, and as accidents leave them: a table, or one line why not."""

import contextlib
import io
import json
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdream.laboratory.rigs import Answer, folder_files, forms
from xdream.laboratory.rigs.folder_files import FileTable, Unreadable, read
from xdream.laboratory.rigs.folder_manifest import read_answer, written_answer
from xdream.laboratory.rigs.folder_names import Sent, rows_of
from xdream.laboratory.rigs.forms import recorded_json
from xdream.laboratory.rigs.json_messages import dumps, loads
from xdream.laboratory.simulation.folder import FORMATS, as_file
from xdream.scoring.recordings import to_bytes
from xdream.testing.sessions import edge_cases

NAMES = [f"block001_{i:03d}_id-{i}.png" for i in range(5)]
TABLE = np.arange(15.0).reshape(5, 3) / 7.0


def whole(answer_format: str) -> bytes:
    return as_file(answer_format, NAMES, TABLE, NAMES)


def hdf5(make: Callable[[Any], None], **options: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as made:
        make(made)
    return file.getvalue()


def matlab5(**variables: Any) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return file.getvalue()


def cells(names: list[str]) -> Any:
    made = np.empty((len(names), 1), dtype=object)
    made[:, 0] = names
    return made


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("answer_format", FORMATS)
def test_every_format_is_read_to_the_last_bit(answer_format: str) -> None:
    responses = TABLE.copy()
    responses[2] = np.nan
    responses[3, 1] = -0.0
    found = read(FORMATS[answer_format], as_file(answer_format, NAMES, responses, NAMES))
    assert found.responses.tobytes() == responses.tobytes()
    if answer_format == "h5":
        assert (found.names, found.indices) == (None, (0, 1, 2, 3, 4))
    else:
        assert (found.names, found.indices) == (tuple(NAMES), None)


OCTAVE = shutil.which("octave-cli")


@pytest.mark.skipif(OCTAVE is None, reason="GNU Octave is not installed")
@pytest.mark.parametrize("flag", ["-v6", "-v7"])
@pytest.mark.parametrize("turned", ["", "'"])
def test_v5_files_of_octave_are_read_with_images_on_either_axis(
    flag: str, turned: str, tmp_path: Path
) -> None:
    program = f"""
        stimulusID = {{'C:\\d\\block001_000_a.png', 'block001_001_b.png', ''}};
        tEvokedResp = [1 2 3 4; NaN NaN NaN NaN; 5 6 7 0.1]{turned};
        save('{flag}', '{tmp_path / "block001.mat"}', 'stimulusID', 'tEvokedResp');
    """
    subprocess.run([str(OCTAVE), "--norc", "--eval", program], check=True, timeout=60)
    found = read("mat", (tmp_path / "block001.mat").read_bytes())
    assert found.names == ("C:\\d\\block001_000_a.png", "block001_001_b.png", "")
    expected = [[1, 2, 3, 4], [np.nan] * 4, [5, 6, 7, 0.1]]
    np.testing.assert_array_equal(found.responses, expected)


@pytest.mark.skipif(OCTAVE is None, reason="GNU Octave is not installed")
def test_an_answer_to_a_manifest_that_octave_writes_is_read(tmp_path: Path) -> None:
    """What its jsonencode makes of scalars, NaN, one response, a channel with one spike."""
    program = f"""
        r = {{struct('image', 'a', 'repeat', 0, 'values', [1 NaN 0.1]), ...
             struct('image', 'b', 'repeat', 1, 'values', NaN), ...
             struct('image', 'c', 'repeat', 0, ...
                    'spikes', {{{{[1 2], 7, []}}}}, 'start_ms', 0, 'stop_ms', 9), ...
             struct('image', 'd', 'repeat', 0, 'traces', [1 2 3], 'start_ms', 0, 'step_ms', 0.5), ...
             struct('image', 'e', 'repeat', 0, 'missing', true)}};
        text = jsonencode(struct('session', 's', 'block', 3, 'fence', 1, 'last', true, ...
                                 'rows', numel(r), 'responses', {{r}}));
        answer = jsonencode(struct('answer', text, 'sha256', hash('sha256', text)));
        f = fopen('{tmp_path / "x"}', 'w'); fwrite(f, answer); fclose(f);
    """
    subprocess.run([str(OCTAVE), "--norc", "--eval", program], check=True, timeout=60)
    answer = read_answer((tmp_path / "x").read_bytes(), "x", 3)
    assert (answer.session, answer.block, answer.fence, answer.last) == ("s", 3, 1, True)
    a, b, c, d, e = answer.rows
    np.testing.assert_array_equal(a.recorded.values, [1, np.nan, 0.1])
    np.testing.assert_array_equal(b.recorded.values, [np.nan] * 3)  # null: no channel has a value
    assert (b.image, b.repeat) == ("b", 1)
    assert (c.recorded.times_ms.tolist(), c.recorded.channels.tolist()) == ([1, 2, 7], [0, 0, 1])
    assert c.recorded.count == 3
    assert d.recorded.samples.tolist() == [[1], [2], [3]]
    assert e.recorded is None


def test_a_v5_square_is_refused() -> None:
    with pytest.raises(
        Unreadable, match=r"5 x 5: images or channels first.*orientation = 'images-channels' or"
    ):
        read("mat", matlab5(stimulusID=cells(NAMES), tEvokedResp=np.ones((5, 5))))
    assert read("mat", matlab5(stimulusID=cells(NAMES[:1]), tEvokedResp=np.ones((1, 1)))).names is not None


def test_a_v73_file_is_never_turned() -> None:
    def make(file: Any) -> None:
        file["stimulusID"] = np.array(NAMES, dtype=h5py.string_dtype())
        file["tEvokedResp"] = TABLE.T

    with pytest.raises(Unreadable, match="5 entries of stimulusID, but 3 rows"):
        read("mat", hdf5(make))


def test_one_channel_may_have_one_axis() -> None:
    assert read("h5", hdf5(lambda f: f.update({"scores": np.ones(4)}))).responses.shape == (4, 1)
    assert read("npz", npz(scores=np.ones(4))).responses.shape == (4, 1)


def _link(file: Any) -> None:
    file["scores"] = h5py.ExternalLink("/etc/hostname", "scores")


def _soft(file: Any) -> None:
    file["other"] = np.ones(3)
    file["scores"] = h5py.SoftLink("/other")


def _outside(file: Any) -> None:
    file.create_dataset("scores", (4,), dtype="f8", external=[("/etc/passwd", 0, 32)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("scores", layout)


def _huge(file: Any) -> None:
    file.create_dataset("scores", (1 << 40,), dtype="f8", chunks=(1024,))


def _huge_pieces(file: Any) -> None:
    file.create_dataset("scores", (4, 4), dtype="f8", chunks=(1 << 14, 1 << 12), maxshape=(None, None))


def _half(file: Any) -> None:
    file.create_dataset("scores", (8, 3), dtype="f8", chunks=(4, 3))[:4] = 1.0


def _zero_tail(file: Any) -> None:
    file["scores"] = np.eye(99)[:, :80]


def _zero_tail_in_pieces(file: Any) -> None:
    file.create_dataset("scores", data=np.eye(99)[:, :80], chunks=(33, 80))


def _bomb(file: Any) -> None:
    made = file.create_dataset("scores", (4, 4), dtype="f8", chunks=(4, 4), compression="gzip")
    packer = zlib.compressobj(1)
    zeros = bytes(1 << 24)
    made.id.write_direct_chunk((0, 0), b"".join(packer.compress(zeros) for _ in range(120)) + packer.flush())


@pytest.mark.parametrize(
    ("suffix", "data", "words"),
    [
        ("csv", lambda: b"", "the file is empty"),
        ("csv", lambda: bytes(99), "99 zero bytes"),
        ("csv", lambda: whole("csv")[:-5] + bytes(5), "zero bytes from byte"),
        ("csv", lambda: whole("csv")[:-1], "the file was cut"),
        ("csv", lambda: b"a,b\n1,2\n", "the first line is not stimulusID"),
        ("csv", lambda: b"stimulusID,a\nx,1,2\n", "line 2 has 3 fields"),
        ("csv", lambda: b"stimulusID,a\nx,one\n", "line 2: 'one' is no number"),
        ("csv", lambda: b"stimulusID,a\n", "shape"),
        ("csv", lambda: b"stimulusID,a\n" + b"x" * 2000 + b",1\n", "a name of 2000 letters"),
        ("csv", lambda: b"stimulusID,a\n\xff,1\n", "line 2 .*not UTF-8"),
        ("npz", lambda: npz(stimulusID=np.array(NAMES, dtype=object), responses=TABLE), "neither numbers"),
        ("npz", lambda: npz(scores=np.array([None, 1])), "neither numbers"),
        ("npz", lambda: npz(other=TABLE), "neither stimulusID with responses nor scores"),
        ("npz", lambda: npz(stimulusID=np.array(NAMES), responses=TABLE[:4]), "5 entries of stimulusID"),
        ("npz", lambda: npz(scores=TABLE, indices=np.array([0, 1, 2, 3, -1])), "an index is below 0"),
        ("npz", lambda: npz(scores=TABLE, indices=np.array([0, 1, 2, 3, 0.5])), "not whole numbers"),
        ("npz", lambda: npz(scores=TABLE * 1j), "neither numbers"),
        ("npz", lambda: whole("npz")[:-9], "BadZipFile"),
        ("npz", lambda: _declared((1 << 40, 3)), "declares"),
        ("npz", lambda: _declared((-5, 3)), "declares"),
        ("npz", lambda: _zipped(zipfile.ZIP_LZMA), "in another way than deflate"),
        ("mat", lambda: b"x" * 999, "neither a MATLAB v7.3 nor a v5 file"),
        ("mat", lambda: whole("mat")[:-1], "OSError"),
        ("mat", lambda: whole("mat5")[:-1], "Error"),
        ("mat", lambda: matlab5(stimulusID=cells(NAMES)), "there is no tEvokedResp"),
        ("mat", lambda: matlab5(stimulusID=cells(NAMES), tEvokedResp=np.ones((4, 4))), "has shape"),
        ("mat", lambda: matlab5(stimulusID=np.ones(5), tEvokedResp=TABLE), "is a MATLAB double"),
        ("mat", lambda: matlab5(stimulusID=cells(NAMES), tEvokedResp=np.zeros((5, 40))), "zero bytes"),
        ("h5", lambda: hdf5(_zero_tail, libver="latest"), "not written to its end"),
        ("h5", lambda: hdf5(_zero_tail_in_pieces, libver="latest"), "not written to its end"),
        ("h5", lambda: hdf5(lambda f: f.update({"other": TABLE})), "there is no scores"),
        ("h5", lambda: hdf5(lambda f: f.create_group("scores")), "scores is no array"),
        ("h5", lambda: hdf5(_link), "scores is a link"),
        ("h5", lambda: hdf5(_soft), "scores is a link"),
        ("h5", lambda: hdf5(_outside), "kept in another file"),
        ("h5", lambda: hdf5(_virtual), "kept in another file"),
        ("h5", lambda: hdf5(_huge), "has shape"),
        ("h5", lambda: hdf5(_huge_pieces), "stored in pieces"),
        ("h5", lambda: hdf5(_half), "1 of 2 pieces of scores were written"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(suffix: str, data: Callable[[], bytes], words: str) -> None:
    with pytest.raises(Unreadable, match=words) as caught:
        read(suffix, data())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_a_file_that_unpacks_to_gigabytes_does_not() -> None:
    resource = pytest.importorskip("resource")
    with pytest.raises(Unreadable, match=r"filter|Memory|ended with status"):
        read("h5", hdf5(_bomb))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # which a child has before it is another program
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < own + 1_200_000


def _declared(shape: tuple[int, ...]) -> bytes:
    """An array that declares more than is there."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("scores.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return file.getvalue()


def _zipped(how: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        made.writestr("scores.npy", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "so damaged that its reader ended"),
        ("import sys; sys.exit(0)", "so damaged that its reader ended"),
        ("import time; time.sleep(600)", "it was not read within 0.5 s"),
        ("print('[' * 100000)", "RecursionError|JSONDecodeError"),
        ("print('{}')", "KeyError"),
    ],
)
def test_a_reader_that_crashes_or_hangs_is_no_harm(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reader.py").write_text(program)
    monkeypatch.setattr(folder_files, "__file__", str(tmp_path / "reader.py"))
    monkeypatch.setattr(folder_files, "TIMEOUT_S", 0.5 if "sleep" in program else 30.0)
    with pytest.raises(Unreadable, match=words):
        read("mat", whole("mat"))


# ---------------------------------------------------------------------- answers to a manifest


@pytest.mark.parametrize("one", edge_cases(("baseline", "spikes", "traces")))
def test_a_recording_survives_json(one: Any) -> None:
    (row,) = read_answer(answer_text(responses=[row_text(**recorded_json(one))]), "x", 3).rows
    back = row.recorded
    assert (back is None) == (one is None)
    if one is not None:
        assert to_bytes(back) == to_bytes(one)


def answer_text(**changes: Any) -> bytes:
    said = {"session": "s", "block": 1, "fence": 1, "rows": 1, "responses": [row_text()]}
    return json.dumps(said | changes).encode()


def row_text(**changes: Any) -> dict[str, Any]:
    return {"image": "a", "repeat": 0, **(changes or {"values": [1, 2]})}


def test_an_answer_may_have_a_checksum_or_none() -> None:
    plain = read_answer(answer_text(), "x", 2)
    summed = read_answer(written_answer("s", 1, 1, [row_text()], last=False), "x", 2)
    for answer in (plain, summed):
        assert (answer.session, answer.block, answer.fence, answer.last) == ("s", 1, 1, False)
        assert [row.recorded.values.tolist() for row in answer.rows] == [[1, 2]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "nested deeper"),
        (b"1" * 10_000, "no JSON"),
        (answer_text()[:-1], "no JSON"),
        (answer_text() + bytes(9), "no JSON"),
        (written_answer("s", 1, 1, [row_text()], last=True).replace(b"1, 2]", b"1, 3]"), "sha256 of the"),
        (json.dumps({"answer": "{}"}).encode(), "sha256 of the answer is"),
        (json.dumps({"answer": 3}).encode(), "answer is no text"),
        (json.dumps({"answer": "{}", "sha": 1}).encode(), "the file has a field 'sha'"),
        (answer_text(rows=2), "rows says 2, but there are 1 responses"),
        (answer_text(rows=None), "rows is None, no whole number"),
        (answer_text(session=3), "session is 3, no text"),
        (answer_text(last="yes"), "last is 'yes', neither true nor false"),
        (answer_text(block=True), "block is True, no whole number"),
        (answer_text(block=1.5), "block is 1.5, no whole number"),
        (answer_text(fence=float("nan")), "fence is nan, no whole number"),
        (answer_text(fence=10**400), "fence is inf, no whole number"),
        (answer_text(responses="no"), "responses is no list"),
        (answer_text(responses=[3]), "response 0 is no object"),
    ],
)
def test_an_answer_that_is_not_as_described_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(forms.MessageError, match=words):
        read_answer(data, "x", 3)


def test_a_long_answer_with_a_checksum_is_read() -> None:
    """Its text is full of escapes, which a long message may not have."""
    rows = [row_text(values=[1.0 / (i + 1)] * 30) for i in range(3_000)]
    data = written_answer("s", 1, 1, rows, last=True)
    assert len(data) > 1_500_000
    assert len(read_answer(data, "x", 30).rows) == 3_000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_text_as_windows_programs_write_it_is_read(encoding: str) -> None:
    assert len(read_answer(answer_text().decode().encode(encoding), "x", 2).rows) == 1


# ---------------------------------------------------------------------- whatever arrives


@st.composite
def accidents(draw: Any, whole: bytes) -> bytes:
    """A file that was cut, has zeros at its end, or other bytes here and there."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "zeros", "byte", "bit"]))
        if kind == "cut":
            del data[at:]
        elif kind == "zeros":
            data[at:] = bytes(len(data) - at)
        elif at < len(data):
            data[at] = (
                draw(st.integers(0, 255)) if kind == "byte" else data[at] ^ 1 << draw(st.integers(0, 7))
            )
    return bytes(data)


def check_read(suffix: str, data: bytes) -> None:
    """Rows or a fault."""
    try:
        found = read(suffix, data)
    except Unreadable:
        return
    assert isinstance(found, FileTable)
    sent = Sent(1, {name: (name, 0) for name in NAMES})
    try:
        rows = rows_of(found, sent, loose=False)
    except Unreadable:
        return
    assert len(rows) == len(found.responses)


FAST = settings(deadline=None, derandomize=True)
#: Each example is a process.
SLOW = settings(FAST, max_examples=20, suppress_health_check=[HealthCheck.too_slow])


@FAST
@given(st.one_of(accidents(whole("csv")), st.binary(max_size=400)))
def test_no_csv_does_harm(data: bytes) -> None:
    check_read("csv", data)


@FAST
@given(st.one_of(accidents(whole("npz")), accidents(npz(scores=TABLE)), st.binary(max_size=400)))
def test_no_npz_does_harm(data: bytes) -> None:
    check_read("npz", data)


@SLOW
@given(st.one_of(accidents(whole("mat")), accidents(whole("mat5")), st.binary(max_size=400)))
def test_no_mat_does_harm(data: bytes) -> None:
    check_read("mat", data)


@SLOW
@given(st.one_of(accidents(whole("h5")), accidents(hdf5(lambda f: f.update({"scores": TABLE})))))
def test_no_h5_does_harm(data: bytes) -> None:
    check_read("h5", data)


SUMMED = written_answer(
    "s",
    1,
    1,
    [{"image": "a", "repeat": i} | recorded_json(r) for i, r in enumerate(edge_cases(("spikes", "traces")))],
    last=True,
)
PLAIN = json.dumps(json.loads(json.loads(SUMMED)["answer"])).encode()
KEYS = ("repeat", "values", "baseline", "spikes", "start_ms", "stop_ms", "traces", "missing")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@FAST
@given(st.one_of(accidents(PLAIN), accidents(SUMMED), st.binary(max_size=400)))
def test_no_answer_to_a_manifest_does_harm(data: bytes) -> None:
    with contextlib.suppress(forms.MessageError):
        assert isinstance(read_answer(data, "x", 3), Answer)


@FAST
@given(
    st.fixed_dictionaries(
        {"image": JSON},
        optional=dict.fromkeys(KEYS, JSON),
    )
)
def test_no_response_in_json_does_harm(said: dict[str, Any]) -> None:
    with contextlib.suppress(forms.MessageError):
        read_answer(answer_text(responses=[said]), "x", 3)


@FAST
@given(accidents(SUMMED))
def test_an_answer_with_a_checksum_is_whole_or_refused(data: bytes) -> None:
    """What was said is what was written, wherever bytes were lost."""
    try:
        found = read_answer(data, "x", 3)
    except forms.MessageError:
        return
    assert [row.image for row in found.rows] == [row.image for row in read_answer(SUMMED, "x", 3).rows]


def test_only_the_bytes_of_an_answer_are_limited() -> None:
    """The option `answer_limit_mb` says how large an answer may be, and nothing else does."""
    rows = [{"image": "i", "repeat": 0, "traces": [[0.5] * 30_000] * 140, "start_ms": 0.0, "step_ms": 1.0}]
    (row,) = read_answer(written_answer("s", 1, 1, rows, last=True), "x", 140).rows
    assert row.recorded.samples.shape == (140, 30_000)
    said = {"session": "s", "block": 1, "fence": 1, "last": True, "responses": rows}
    with pytest.raises(forms.MessageError, match="more than 4000000 values"):
        loads(dumps(said))
