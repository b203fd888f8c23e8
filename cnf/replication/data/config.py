"""The part of a configuration that says what is trained on."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cnf.arguments import Positive


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class DataConfig:
    """What is trained on. `crop` is in pixels of y; `round_x` rounds the input to 8 bits, or with
    "mixed" that of half the pictures, so that one model serves both kinds of input. To `noise` of
    the pictures of super-resolution, a share, noise of 0 to 64 grey levels is added. The colours of
    photographs of the eye vary `jitter` times as much as one camera's (0: not at all).

    `use_valid` trains on the validation split too, once no choice is left to make: the last weights
    are kept, not the best, and no threshold can be chosen on validation.
    """

    train: str = "embedded-sr"
    use_valid: bool = False
    round_x: bool | Literal["mixed"] = False
    crop: Positive | None = None
    augment: bool = True
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    jitter: Annotated[float, Field(ge=0, le=4)] = 1.0
