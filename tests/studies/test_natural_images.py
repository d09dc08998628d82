"""Responses to natural images: asked for once, in parts, whatever is killed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from study_tables import NETWORK, photographs
from xdream import networks
from xdream.errors import BadInput, StoreError
from xdream.experiment.callbacks import Nobody
from xdream.images import references
from xdream.studies import natural
from xdream.studies.natural import Natural
from xdream.subjects import NetworkUnits, network_units

CPU = torch.device("cpu")
UNITS = ("3", "0")


@pytest.fixture
def found(tmp_path: Path) -> references.References:
    return references.load(str(photographs(tmp_path / "photographs")))


def ask(found: references.References, folder: Path, units: tuple[str, ...] = UNITS) -> Natural:
    return natural.responses(found, networks.load(NETWORK), "conv3", units, 16, CPU, folder, Nobody())


def test_they_are_what_the_network_says(found: references.References, tmp_path: Path) -> None:
    subject = network_units(networks.load(NETWORK), [("conv3", "3,0")], CPU, 16)
    expected = subject.respond(found.images(range(len(found)), 16)).numpy()
    answers = ask(found, tmp_path / "natural")
    np.testing.assert_allclose(answers.responses, expected, rtol=1e-5)
    assert answers.best("3") == pytest.approx(expected[:, 0].max(), rel=1e-6)
    assert answers.order("0")[0] == expected[:, 1].argmax()
    assert answers.expected_best("0", len(found)) == pytest.approx(expected[:, 1].max(), rel=1e-6)


def test_what_is_there_is_not_asked_again(
    found: references.References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second of three parts, then gone on with: the first part is not asked again."""
    monkeypatch.setattr(natural, "PART", 5)
    monkeypatch.setattr(natural, "READ", 2)
    monkeypatch.setattr(natural, "PROBE", 1)
    asked: list[int] = []
    respond = NetworkUnits.respond

    def counted(subject: NetworkUnits, images: torch.Tensor) -> torch.Tensor:
        if len(asked) == 4:
            asked.append(0)
            raise KeyboardInterrupt
        asked.append(len(images))
        return respond(subject, images)

    monkeypatch.setattr(NetworkUnits, "respond", counted)
    with pytest.raises(KeyboardInterrupt):
        ask(found, tmp_path / "natural")
    interrupted = ask(found, tmp_path / "natural")
    assert sum(asked) == len(found) + 2 + 1  # two of the part that was lost, and one to try the network
    np.testing.assert_array_equal(ask(found, tmp_path / "natural").responses, interrupted.responses)
    assert sum(asked) == len(found) + 2 + 2


def test_two_that_ask_at_once_ask_each_image_once(
    found: references.References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(natural, "PART", 5)
    monkeypatch.setattr(natural, "PROBE", 1)
    asked: list[int] = []
    respond = NetworkUnits.respond

    def counted(subject: NetworkUnits, images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return respond(subject, images)

    monkeypatch.setattr(NetworkUnits, "respond", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ask(found, tmp_path / "natural"), range(2))
    np.testing.assert_array_equal(first.responses, second.responses)
    assert sum(asked) == len(found) + 2


def test_another_network_with_the_same_weights_is_noticed(
    found: references.References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(found, tmp_path / "natural")
    respond = NetworkUnits.respond
    monkeypatch.setattr(NetworkUnits, "respond", lambda subject, images: respond(subject, images) * 2.0)
    with pytest.raises(StoreError, match="another network with the same weights"):
        ask(found, tmp_path / "natural")


def test_a_torn_file_is_named(found: references.References, tmp_path: Path) -> None:
    ask(found, tmp_path / "natural")
    [path] = (tmp_path / "natural").rglob("*.npy")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match=r"00000\.npy is damaged; remove it"):
        ask(found, tmp_path / "natural")


def test_other_units_or_other_images_are_other_numbers(found: references.References, tmp_path: Path) -> None:
    ask(found, tmp_path / "natural")
    ask(found, tmp_path / "natural", ("3",))
    fewer = references.References(found.source, found.place, found.names[:5], found.hashes[:5])
    assert len(ask(fewer, tmp_path / "natural").responses) == 5
    assert len(list((tmp_path / "natural").iterdir())) == 3


def test_half_as_many_are_shown_where_the_memory_does_not_suffice(
    found: references.References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond = NetworkUnits.respond

    def small(subject: NetworkUnits, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 3:
            raise MemoryError
        return respond(subject, images)

    plain = ask(found, tmp_path / "plain").responses
    monkeypatch.setattr(NetworkUnits, "respond", small)
    np.testing.assert_allclose(ask(found, tmp_path / "natural").responses, plain, rtol=1e-5)


def test_categories_are_what_stands_before_the_underscore(found: references.References) -> None:
    answers = Natural(found, ("0",), np.zeros((len(found), 1), np.float32))
    assert {name: len(images) for name, images in answers.categories.items()} == {"n0": 4, "n1": 4, "n2": 4}


def test_the_manifest_leads_to_the_same_images(found: references.References, tmp_path: Path) -> None:
    natural.write_manifest(tmp_path, found.source)
    again = natural.from_manifest(tmp_path, found.source)
    assert (again.names, again.hashes) == (found.names, found.hashes)
    assert (again.images([3], 8) == found.images([3], 8)).all()
    (found.place / found.names[3]).write_bytes(b"another")
    with pytest.raises(BadInput, match="changed"):
        again.images([3], 8)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        natural.from_manifest(tmp_path, "x")
    (tmp_path / natural.MANIFEST).write_text("name\nonly names\n")
    with pytest.raises(StoreError, match="damaged"):
        natural.from_manifest(tmp_path, "x")
