"""A page of small images: which is where."""

import io

import numpy as np
import torch
from PIL import Image

from xdream.images.files import hwc
from xdream.training.sheet import _page, sheet


def test_images_stand_in_rows_of_eight_and_what_is_left_is_white() -> None:
    images = torch.arange(10).reshape(10, 1, 1, 1).expand(10, 3, 4, 4) / 10.0
    page = hwc(_page(images))
    assert page.shape == (8, 32, 3)
    assert page.dtype == np.uint8
    for number in range(16):
        row, column = divmod(number, 8)
        place = page[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert (place == (round(25.5 * number) if number < 10 else 255)).all()


def test_an_image_stands_upright_in_its_colours() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 0, 3] = 1.0  # red, top right
    image[0, 2, 3, 0] = 1.0  # blue, bottom left
    page = hwc(_page(image))[:, :4]
    assert page[0, 3].tolist() == [255, 0, 0]
    assert page[3, 0].tolist() == [0, 0, 255]
    assert int(page.sum()) == 2 * 255


def test_each_kind_is_below_the_one_before() -> None:
    red, green = torch.zeros(2, 16, 3, 4, 4).unbind()
    red[:, 0] = 1.0
    green[:, 1] = 1.0
    with Image.open(io.BytesIO(sheet([("first", red), ("second", green)]))) as file:
        assert file.format == "PNG"
        pixels = np.asarray(file.convert("RGB")).astype(int)
    reds, greens = (np.argwhere((pixels == colour).all(2)) for colour in ([255, 0, 0], [0, 255, 0]))
    assert reds[:, 0].max() < greens[:, 0].min()
    for found in (reds, greens):  # two rows over the whole width
        assert found[:, 1].min() <= 2
        assert found[:, 1].max() >= pixels.shape[1] - 3
        assert len(found) > 0.3 * pixels.shape[0] * pixels.shape[1]
    assert (pixels < 128).all(2).any()  # their names
