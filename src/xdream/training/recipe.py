"""The recipe: everything that says how a generator is trained, TOML in and out."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field

from xdream.description import Description, Frozen
from xdream.networks.up_architecture import FIRST_PX

#: The layer that a generator inverts when none is named: deep enough to know things, with positions left.
ENCODER_LAYERS = {"efficientnet-lite0": "_blocks.14", "squeezenet1.1": "fire8"}


#: Channels of the feature maps of 4, 8, 16, … px, and convolutions beside those that double the size.
CHANNELS = (256, 256, 128, 64, 32, 32, 16)
REFINED = (1, 1, 1, 0, 0, 0, 0)


#: Shares of the steps between which the weight of the image loss falls.
FALL = (0.1, 1 / 3)


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class LossWeights(Frozen):
    """What each part of the generator's loss counts.

    image: mean absolute difference of pixel values in [0, 1]; image_later: the weight that it falls to
    between the first tenth and the first third of the steps, because layout and colours come first, and
    nothing else comes while they count for so much. feature: squared difference in layers of the encoder at
    the image's own size, relative to their mean square. code: squared difference between the code and the
    one that the encoder reads from the image. adversarial: of the discriminator.
    """

    image: float = Field(default=20.0, ge=0)
    image_later: float = Field(default=3.0, ge=0)
    feature: float = Field(default=1.0, ge=0)
    code: float = Field(default=0.05, ge=0)
    adversarial: float = Field(default=0.1, ge=0)

    def at(self, progress: float) -> dict[str, float]:
        """The weights at a share of the steps, in [0, 1)."""
        fallen = min(max((progress - FALL[0]) / (FALL[1] - FALL[0]), 0.0), 1.0)
        return {
            "image": self.image + (self.image_later - self.image) * fallen,
            "feature": self.feature,
            "code": self.code,
            "adversarial": self.adversarial,
        }


class Recipe(Description):
    """How a generator is trained.

    images, validation: folders or zip files; the latter are only measured. network, layer, encoder_size_px,
    grid: the encoder: this layer, of images resized to encoder_size_px (None: the network's own size),
    averaged over grid x grid positions. dimensions: of the code. image_size_px: of the images. channels:
    of the generator's feature maps of 4, 8, 16, … px; refined: how many further convolutions at each.
    feature_layers: of the feature loss and of the discriminator (None: the last layer of each resolution).
    batch: images in one step; random_share: how many codes drawn from N(0, s²) come beside them, as a share
    of the batch, s uniform between 1 and random_scale. steps: of training. learning_rate,
    discriminator_rate: of Adam, falling to zero along a cosine. average: of the weights that are kept, per
    step (exponential). precision: "float32", or "bfloat16" where the device is quick at it.
    """

    kind: ClassVar[str] = "recipe"
    inner: ClassVar[dict[str, type[BaseModel]]] = {"losses": LossWeights}

    name: str = Field(default="generator", pattern=r"^[\w.-]+$", description="name of the generator")
    images: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        default=(), description="a folder or zip file of images to train with"
    )
    validation: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        default=(), description="a folder or zip file of images that are only measured"
    )
    network: str = Field(default="efficientnet-lite0", description="the encoder")
    layer: str = Field(default="", description="the encoder's layer that the generator inverts")
    encoder_size_px: int | None = Field(default=None, ge=16, le=1024)
    grid: int = Field(default=4, ge=1, le=64)
    dimensions: int = Field(default=256, ge=2, le=65536, description="numbers of a code")
    image_size_px: Literal[16, 32, 64, 128, 256] = Field(default=64, description="size of the images")
    channels: tuple[int, ...] | None = None
    refined: tuple[int, ...] | None = None
    feature_layers: tuple[str, ...] | None = None
    batch: int = Field(default=16, ge=4, le=4096, description="images in one step")
    random_share: float = Field(default=0.125, ge=0, le=1)
    random_scale: float = Field(default=1.5, ge=1)
    steps: int = Field(default=12_000, ge=1, description="steps of training")
    learning_rate: float = Field(default=1e-3, gt=0)
    discriminator_rate: float = Field(default=2e-4, gt=0)
    average: float = Field(default=0.999, ge=0, lt=1)
    losses: LossWeights = LossWeights()
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of weights, order and draws")
    checkpoint_every: int = Field(default=250, ge=1)
    sheet_every: int = Field(default=500, ge=1)
    device: str = Field(default="cpu", description="cpu, cuda, …")
    threads: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16: fast on a GPU"
    )

    @property
    def stages(self) -> int:
        """Feature-map sizes, from FIRST_PX to the image's."""
        return (self.image_size_px // FIRST_PX).bit_length()
