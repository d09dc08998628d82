"""The plan's table [session]: what a rig shows, how long is waited for it, and who is recorded from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from xdream.description import Frozen

Coordinates = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
#: Latin, as "Macaca mulatta", or NCBI's number as a web address.
SPECIES = r"^([A-Z][a-z]+ [a-z]+( [a-z]+)?|https?://purl\.obolibrary\.org/obo/NCBITaxon_\d+/?)$"


class AnimalPlan(Frozen):
    """Who is recorded from, as DANDI asks for it.

    id: the laboratory's. species: in Latin, e.g. Macaca mulatta. sex: M, F, U (unknown) or O. age: as an ISO
    8601 duration, e.g. P7Y or P90D. weight: with its unit, e.g. "8.1 kg".
    """

    id: str | None = Field(default=None, min_length=1)
    species: str | None = Field(default=None, pattern=SPECIES)
    sex: Literal["M", "F", "U", "O"] | None = None
    age: str | None = Field(default=None, pattern=r"^P(\d+(\.\d+)?[YMWD])+$")
    strain: str | None = None
    weight: str | None = None
    description: str | None = None


class NwbPlan(Frozen):
    """About a session, for its NWB file. experimenter: names as "Last, First"."""

    experimenter: tuple[Annotated[str, Field(pattern=r"^[^,]+, [^,]+$")], ...] = ()
    institution: str | None = None
    lab: str | None = None
    description: str | None = None
    experiment: str | None = None
    keywords: tuple[str, ...] = ()
    related_publications: tuple[str, ...] = ()
    protocol: str | None = None


class ElectrodesPlan(Frozen):
    """Where the channels were recorded, in their order.

    labels: of each. areas: of each, or one for all. coordinates_um: (x, y, z) of each. device: the array or
    probe, with its manufacturer.
    """

    labels: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    coordinates_um: tuple[Coordinates, ...] = ()
    device: str | None = None
    manufacturer: str | None = None
    description: str | None = None

    def check(self, channels: int) -> None:
        """Raise ValueError unless there are as many of each as channels."""
        for name in ("labels", "areas", "coordinates_um"):
            count = len(getattr(self, name))
            if count not in (0, channels) and not (name == "areas" and count == 1):
                raise ValueError(f"electrodes.{name} has {count}; the session has {channels} channels")

    def areas_of(self, channels: int) -> tuple[str, ...]:
        """The area of each channel; empty where it is not said."""
        return self.areas * channels if len(self.areas) == 1 else self.areas or ("",) * channels


class SessionPlan(Frozen):
    """What a rig shows and how long is waited for it.

    channels: their names, in the order in which a rig sends them, or how many there are (then their names
    are their numbers from first_channel on). block_size: most presentations in a block; None: one block.
    even_blocks: the blocks of a generation are as alike in size as can be (22 + 22), not full ones and a rest
    (40 + 4), as sessions of earlier releases have them.
    show_ms, gap_ms: for how long an image and the background after it are to be shown. reshow: how often a
    presentation without a response is shown again within its generation, before it counts as missing.
    silence_s: after so long without an answer the session says so and, as `on_silence` has it, waits on,
    closes the block (what was not answered is missing) or stops. lease_s: a rig that took a block and is
    silent for so long may lose it to another one. empty_rows: an answer of so many rows or more whose values
    are all zero is taken for an empty file and put aside, where no block before has a response or a channel
    answered in more than half of the presentations; 0: never. undo_s: for so long the rejection of a
    block is held, in which nothing is shown and it can be taken back. first_channel: the number of the first
    channel where channels is a number (units of targets are counted from 0 always). first_block: the number
    of the first block; None: the bridge's own, 0 in the original's folder protocol, else 1. animal, nwb,
    electrodes: for tables, figures and exports.
    """

    channels: tuple[str, ...]
    block_size: int | None = Field(default=None, ge=1)
    even_blocks: bool = True
    image_format: Literal["png", "bmp"] = "png"
    background: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        default=(128, 128, 128), min_length=3, max_length=3
    )
    show_ms: float = Field(default=100.0, gt=0)
    gap_ms: float = Field(default=150.0, ge=0)
    reshow: int = Field(default=0, ge=0, le=100)
    silence_s: float = Field(default=120.0, gt=0)
    on_silence: Literal["wait", "close", "stop"] = "wait"
    lease_s: float = Field(default=120.0, gt=0)
    empty_rows: int = Field(default=8, ge=0)
    undo_s: float = Field(default=10.0, ge=0, le=600)
    first_channel: Literal[0, 1] = 0
    first_block: Literal[0, 1] | None = None
    animal: AnimalPlan | None = None
    nwb: NwbPlan | None = None
    electrodes: ElectrodesPlan | None = None

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        count, first = values.get("channels"), values.get("first_channel", 0)
        if not isinstance(count, int) or isinstance(count, bool):
            return values
        if 1 <= count <= 100_000 and first in (0, 1):
            return values | {"channels": tuple(str(number + int(first)) for number in range(count))}
        return values

    @model_validator(mode="after")
    def _different(self) -> Self:
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ValueError("channels must be a number, or names that are all different")
        if self.electrodes is not None:
            self.electrodes.check(len(self.channels))
        return self

    @property
    def blocks_from(self) -> int:
        """The number of the first block."""
        return 1 if self.first_block is None else self.first_block

    @property
    def labels(self) -> tuple[str, ...]:
        """What figures call the channels: the electrodes' labels and areas where the plan has them."""
        electrodes = self.electrodes
        if electrodes is None:
            return self.channels
        names = electrodes.labels or self.channels
        areas = electrodes.areas_of(len(names))
        return tuple(f"{name}, {area}" if area else name for name, area in zip(names, areas, strict=True))
