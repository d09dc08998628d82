"""The one codec: every pixel kept, there and back; a file is whole or not there, with one error."""

from pathlib import Path

import pytest
import torch

from xdream.errors import BadInput
from xdream.images.files import chw, decoded, described_png, encoded, hwc, png, small_png, write

PIXELS = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "data", [encoded(PIXELS, "png"), encoded(PIXELS, "bmp"), png(PIXELS), small_png(PIXELS),
             described_png(PIXELS, "what it is")],
)  # fmt: skip
def test_every_file_gives_back_the_pixels_that_it_was_made_of(data: bytes) -> None:
    assert torch.equal(decoded(data), PIXELS)


def test_an_image_stands_upright_in_a_figure_and_comes_back() -> None:
    assert hwc(PIXELS).shape == (5, 7, 3)
    assert hwc(PIXELS)[4, 0].tolist() == PIXELS[:, 4, 0].tolist()
    assert torch.equal(chw(hwc(PIXELS)), PIXELS)


def test_other_formats_and_shapes_are_bad_input() -> None:
    with pytest.raises(BadInput, match="'gif' is not known; choose png or bmp"):
        encoded(PIXELS, "gif")
    for wrong in (PIXELS[0], PIXELS[:2], PIXELS.to(torch.float32)):
        with pytest.raises(BadInput, match=r"uint8 of shape \(3, h, w\)"):
            png(wrong)
    with pytest.raises(BadInput, match="no png image"):
        decoded(encoded(PIXELS, "bmp"), ("png",))


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "b.png", png(PIXELS))
    assert path.read_bytes() == png(PIXELS)
    assert [one.name for one in path.parent.iterdir()] == ["b.png"]


def test_what_cannot_be_written_is_bad_input_with_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"image cannot be written to .*file/a\.png \(.+\); make room"):
        write(tmp_path / "file" / "a.png", png(PIXELS))
