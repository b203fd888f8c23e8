"""The part of a configuration that says what is trained on."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cnf.arguments import Positive


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class DataConfig:
    """What a model is trained on.

    Args:
        train: the image set, or several joined as NAME+NAME.
        use_valid: whether to train on the validation split as well, once no choice is left to make.
            Then the last weights are kept, not the best, and no threshold can be chosen.
        round_x: whether to round x to 8 bits; "mixed": that of half the pictures, so that one model
            serves both kinds of input.
        crop: side of the crops in pixels of y; None: that of the task (96 for vessels), or whole
            pictures; of a folder of photographs, 64 or what the smallest holds.
        augment: whether to mirror pictures.
        noise: share of the pictures of super-resolution to which noise of 0 to 64 grey levels is
            added.
        jitter: how much the colours of photographs of the eye vary, in units of one camera's
            variation; 0: not at all.
    """

    train: str = "embedded-sr"
    use_valid: bool = False
    round_x: bool | Literal["mixed"] = False
    crop: Positive | None = None
    augment: bool = True
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    jitter: Annotated[float, Field(ge=0, le=4)] = 1.0
