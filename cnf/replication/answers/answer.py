"""One call that answers: `cnf.upscale("photo.jpg")`, `cnf.segment("eye.png")`. They draw what
`python -m cnf sample` draws, by the same objects, and keep it in memory."""

import dataclasses
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from PIL import Image

from cnf.errors import CnfError, ConfigError, known_options
from cnf.replication.answers import given
from cnf.replication.answers.areas import Area
from cnf.replication.answers.formats import (
    Deep,
    check_format,
    check_suffix,
    named,
    refuse_existing,
    save,
)
from cnf.replication.answers.picture import Picture
from cnf.replication.answers.sample import AnswerOptions, Options, Request, request_of

Given = str | os.PathLike | bytes | Image.Image | np.ndarray  # see `given`
Several = list[Given] | tuple[Given, ...]
SAVING = ("out", "overwrite", "format", "suffix", "json")  # options of `save`
OPTIONS = [field.name for field in dataclasses.fields(Options) if field.name not in SAVING]
FLAGS = [field.name for field in dataclasses.fields(Options) if field.default is False]
OPTION = re.compile(r"(?<![\w./-])--(no-)?([\w-]+)( (?=-?[\d.]))?")  # and not a part of a path


class Answer:
    """What a model makes of one picture.

    Attributes:
        files: {end of a name: what `save` writes}, as `python -m cnf sample` does: pictures (of 16
            bits a channel as `Deep`), arrays, text.
        notes: how the picture was read, how far the model is to be trusted, a sentence each.
    """

    def __init__(self, request: Request, picture: Picture, index: int = 0):
        self.request, self.picture = request, picture
        self.files: dict[str, Any] = dict(request.draw_files(picture, index))
        said = (*request.notes, *picture.notes, *picture.said)
        self.notes = tuple(map(as_arguments, said))

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.picture.path.name}: {', '.join(self.files)}"

    @property
    def samples(self) -> list[Image.Image]:
        """The samples that were asked for; none by default of a model that has a mean."""
        return [content for name, content in self.files.items() if name.startswith("sample")]

    @property
    def image(self) -> Image.Image:
        """The answer as one picture: the mean, or where there is none the first sample."""
        answer = self.files.get(f"{self.request.shown.mean}.png") or self.samples[0]
        return answer.image if isinstance(answer, Deep) else answer

    def numpy(self) -> np.ndarray:
        """The answer as an array, (H,W) or (H,W,C): uint8, or uint16 of a picture of 16 bits a
        channel whose mean was asked for."""
        answer = self.files.get(f"{self.request.shown.mean}.png")
        return answer.levels if isinstance(answer, Deep) else np.asarray(self.image)

    def save(
        self,
        folder: Path | str = "samples",
        overwrite: bool = False,
        format: str = "png",
        suffix: str = "",
        json: Path | str | None = None,
    ) -> list[Path]:
        """Write everything into a folder, and return the paths; `format`, `suffix` and `json`, a
        file, are those of `sample.Options`. Raises ConfigError if a file is there already, unless
        it may be replaced, or if one cannot be written or cannot hold a picture."""
        check_suffix(suffix)
        check_format(format, max(self.image.size), self.picture.is_deep)
        stem = self.picture.path.stem
        paths = {name: named(Path(folder), stem, name, suffix, format) for name in self.files}
        table = [] if json is None else [Path(json)]
        if not overwrite:
            remedy = "give another folder, or overwrite=True"
            refuse_existing([*paths.values(), *table], remedy)
        with naming_arguments():
            for name, path in paths.items():
                save(self.files[name], path)
            for path in table:
                save(self.request.table([self.picture.record(list(paths.values()))]), path)
        return list(paths.values())

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        file = io.BytesIO()
        self.image.save(file, "png")
        return file.getvalue()


class Segmentation(Answer):
    """Vessels, or what else a model of masks was trained to mark, in one photograph (H,W)."""

    picture: Any

    @property
    def probability(self) -> np.ndarray:
        """Of every pixel, float32 (H,W); 0 outside the field of view."""
        return self.picture.mean[0].numpy()

    @property
    def mask(self) -> np.ndarray:
        """Where the probability is the model's threshold or more, bool (H,W)."""
        return self.picture.mask

    @property
    def area(self) -> Area:
        """Of vessels, as shares of the field of view: the expected area and its calibrated 90 %
        interval first, the spread of samples second; `notes` say how often either held the
        truth."""
        return self.picture.area

    def numpy(self) -> np.ndarray:
        """The mask, bool (H,W)."""
        return self.mask

    @property
    def image(self) -> Image.Image:
        """The overlay."""
        return self.files["overlay.png"]


@overload
def upscale(picture: Given, model: str = ..., **options: Unpack[AnswerOptions]) -> Answer: ...
@overload
def upscale(
    picture: Several, model: str = ..., **options: Unpack[AnswerOptions]
) -> list[Answer]: ...
def upscale(
    picture: Given | Several, model: str = "sr-baseline", **options: Unpack[AnswerOptions]
) -> Answer | list[Answer]:
    """A photograph at twice its size.

    Args:
        picture: a file; the bytes of one; a picture of Pillow; an array, uint8 or uint16, (H,W) or
            (H,W,C); or a list of these, such as the frames of a film, for a list of answers.
        model: "sr-baseline", whose mean is the one best answer; "sr", whose samples are possible
            ones; a run of super-resolution, as for `sample`.
        options: those of `sample.Options`, such as samples=4, uncertainty=True.

    Raises ConfigError, DataError, CheckpointError as `sample` does.
    """
    request = asked(model, options)
    if request.task.factor == 1:
        raise ConfigError(f"model '{model}' ({request.task.name}) does not enlarge a picture")
    return answers(Answer, request, picture)


@overload
def segment(picture: Given, model: str = ..., **options: Unpack[AnswerOptions]) -> Segmentation: ...
@overload
def segment(
    picture: Several, model: str = ..., **options: Unpack[AnswerOptions]
) -> list[Segmentation]: ...
def segment(
    picture: Given | Several, model: str = "vessels-baseline", **options: Unpack[AnswerOptions]
) -> Segmentation | list[Segmentation]:
    """The vessels in a photograph of an eye.

    Args:
        picture: one photograph or a list, as for `upscale`.
        model: "vessels-baseline", the best probability of each pixel; "vessels", whose samples are
            possible masks; a run of vessels, as for `sample`.
        options: those of `sample.Options`, such as samples=4, fov="mask.png".

    Raises ConfigError, DataError, CheckpointError as `sample` does.
    """
    request = asked(model, options)
    if not request.task.is_binary:
        raise ConfigError(f"model '{model}' ({request.task.name}) draws no masks")
    return answers(Segmentation, request, picture)


def answers(kind: type[Answer], request: Request, picture: Given | Several) -> Any:
    """The answer for a picture, or a list of them; each has the noise of its place."""
    if not isinstance(picture, list | tuple):
        return kind(request, read_picture(request, picture, "picture"))
    names = (f"picture{number}" for number in range(1, len(picture) + 1))
    pairs = enumerate(zip(picture, names, strict=True))
    return [kind(request, read_picture(request, one, name), index) for index, (one, name) in pairs]


def asked(model: str, options: Mapping[str, Any]) -> Request:
    """A request to a model."""
    choices = known_options(options, OPTIONS)
    with naming_arguments():
        return request_of(model, Options(**choices))


def read_picture(request: Request, picture: Given, name: str) -> Picture:
    """The picture that a request is about; `name` is for one that has none."""
    path, content = given.named(picture, name)
    with naming_arguments():
        return request.picture(path, content)


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Errors inside speak `as_arguments`."""
    try:
        yield
    except CnfError as error:
        raise type(error)(as_arguments(str(error))) from None


def as_arguments(text: str) -> str:
    """What is said of options of the command line, said of arguments: `--samples -1` is samples=-1,
    `--whole` whole=True, `--no-fit` fit=False; commands between backticks stay."""
    parts = text.split("`")
    parts[::2] = [OPTION.sub(_argument, part) for part in parts[::2]]
    return "`".join(parts)


def _argument(option: re.Match[str]) -> str:
    negation, name, before_a_number = option.groups()
    name = name.replace("-", "_")
    if negation or name in FLAGS:
        return f"{name}={not negation}{before_a_number or ''}"
    return f"{name}=" if before_a_number else {"out": "folder"}.get(name, name)
