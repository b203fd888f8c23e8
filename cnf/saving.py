"""The file of a model's weights, written whole or not at all; `cnf.weights` reads it."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from cnf.errors import CnfError, UnwritableError
from cnf.files import replaced


def write(path: Path, content: bytes) -> None:
    """Replace a file in one move. Raises UnwritableError."""
    try:  # not save_file, which writes with mode 600
        with replaced(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise UnwritableError(
            f"{path} cannot be written ({error.strerror or error}): give another path"
        ) from None


def serialized(
    weights: Mapping[str, Tensor], metadata: dict[str, str], half: bool = False
) -> bytes:
    """A file of these weights. With `half` as float16; raises CnfError for one that is too
    large."""
    # copies: safetensors refuses a weight that has two names
    tensors = {k: t.detach().to("cpu", copy=True).contiguous() for k, t in weights.items()}
    if half:
        halved = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
        for k, t in tensors.items():
            if not torch.equal(halved[k].isfinite(), t.isfinite()):
                raise CnfError(f"{k} holds values too large for float16: save with half=False")
        tensors = halved
    return safetensors.torch.save(tensors, metadata=metadata or None)
