"""The one way of a figure into a file."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from xdream.errors import BadInput
from xdream.report.figure_style import new_figure, style, write_figure


def drawn(path: Path) -> bytes:
    with style():
        figure = new_figure(1.0, "a title with $dollars$", ["a note"])
        figure.add_subplot().plot([0, 1])
    return write_figure(figure, path).read_bytes()


def test_equal_figures_give_equal_bytes_whatever_the_users_settings(tmp_path: Path) -> None:
    first = drawn(tmp_path / "a.png")
    with matplotlib.rc_context({"savefig.dpi": 37, "font.size": 20, "savefig.facecolor": "pink"}):
        assert drawn(tmp_path / "b.png") == first
    with Image.open(tmp_path / "a.png") as page:
        assert page.width == round(7.2 * 200)
        assert "Software" not in page.info
        assert (np.asarray(page.convert("RGB")) < 128).any()


def test_a_figure_that_cannot_be_written_is_bad_input_with_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"figure cannot be written to .*file/a\.png \(.+\); make room"):
        drawn(tmp_path / "file" / "a.png")


def test_letters_that_the_font_lacks_are_no_warning(tmp_path: Path) -> None:
    with style():
        figure = new_figure(1.0, "木")
    assert write_figure(figure, tmp_path / "a.png").exists()
