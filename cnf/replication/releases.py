"""The models of this replication by their names: `cnf.load("sr")`."""

import hashlib
import json
import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import metadata as package_metadata
from pathlib import Path

import yaml

from cnf import __version__, weights
from cnf.errors import CheckpointError, ConfigError, nearest
from cnf.model import ConditionalModel
from cnf.replication import models
from cnf.replication.config import config_of, from_dict, to_dict
from cnf.replication.data import catalogue
from cnf.replication.places import IS_CHECKOUT, RESULTS

# the runs of results/ that are released, by their names
RELEASES: dict[str, str] = yaml.safe_load(
    Path(__file__).with_name("releases.yml").read_text("utf-8")
)
# what `make dist` puts into the package of the weights: these, and the run that commands recommend
# for the eyes of other cameras
SHIPPED = (*dict.fromkeys(RELEASES.values()), "vessels-baseline-jitter-s0")
# of weights that an installed package downloads
SHA256 = {
    "sr-baseline-cpu-s0": "6e579f430e4604232bafa9f0a16125c34faa213ef981827fda2fcf09e5217859",
    "sr-baseline-muon-photos-s0": "c62d2e674317f445da47edf35cfad0b355995674cad0c8ef55f2ba8db9c42dd1",  # noqa: E501
    "sr-flow-ar-photos-s0": "7abf8ef2dcdcd6e96e04717686b0a2041c3ed2a144a8c81562cf1f4ccf93004a",
    "sr-flow-cpu-s0": "e6f1cf43bc2bb98be655d6a9f68f5a8cc267b5fb1245cbebe308c99742dddcc7",
    "vessels-baseline-cpu-s0": "976b2d84c3b3fa50050a8d961de7d2e9533108faf60e0eb92395ae9cdbef4961",
    "vessels-flow-ar-cpu-s0": "f53caeda867286e03193465df6186b7f5832d7a41bebc48d4343f516f2189fbd",
    "vessels-flow-lambda0-s1": "9ef7993891461ebe01e624d5bfedaf9bd7ea7f4f7460f869d5081c1e66043f1d",
}
WEIGHTS = "weights.safetensors"
# Runs of version 0.2 had options of other names. The configurations in their `config.json` were
# rewritten in today's words, for the same models; such a record has `"version": "0.2"`, and its
# commands and its `config_sha256`, which rows name, are of that version. Files of weights stay as
# they were, as rows name their hashes: the configurations of those in results/, by these hashes,
# are in this file.
OF_VERSION_02 = Path(__file__).with_name("weights_of_0.2.json")
LOG = logging.getLogger("cnf")
_said: set[str] = set()  # the terms that this process was told


def load(name: Path | str, into: ConditionalModel | None = None) -> ConditionalModel:
    """A trained model in evaluation mode, on the CPU; its `metadata` says what it is, and
    `config`, if it is of a run, how it was trained. The logger "cnf" warns, once in a process, of
    the terms of the data that it learned from, if they have any.

    Args:
        name: a file that `save` wrote; a run folder; a folder of `results/`, such as
            "sr-flow-cpu-s0"; or "sr" (whole photographs, x2), "vessels", "sr-baseline",
            "vessels-baseline". Away from the repository these four are those of the package
            `conditional-normalizing-flows-weights`, or downloaded once, as the runs of `SHA256`.
        into: a model to load the weights into, if the file cannot say how to build it, because it
            has layers or a feature network of your own. It is returned.

    Grey levels are 0 to 255 in and out; x (B,3,H,W), samples (n,B,3,2H,2W):

    >>> import cnf, torch
    >>> model = cnf.load("sr-flow-cpu-s0")
    >>> x = torch.full((1, 3, 24, 32), 128.0)
    >>> model.sample(x, n=2, temperature=0.8).shape
    torch.Size([2, 1, 3, 48, 64])

    Vessels: x is the photograph, sides multiples of `model.multiple`, samples are masks of 0 and 1
    of its size, and their mean is the probability of a vessel:

    >>> model = cnf.load("vessels")
    >>> x = torch.full((1, 3, 64, 96), 128.0)
    >>> model.sample(x, n=4).shape
    torch.Size([4, 1, 1, 64, 96])
    >>> model.mean(x, n=4).shape
    torch.Size([1, 1, 64, 96])

    Raises CheckpointError, with the nearest names, for another name, or for a file that is missing,
    cut short, or of another model.
    """
    is_file = Path(name).suffix == ".safetensors" or Path(name).is_file()
    path = Path(name) if is_file else find_weights(name)
    tensors, file_metadata = weights.read_weights(path)
    try:
        if "config" in file_metadata and "kind" not in file_metadata:
            file_metadata = described(file_metadata, path)
        if into is None:
            models.load(file_metadata.get("kind", ""))
        model = weights.described(file_metadata, path) if into is None else into
        weights.fill(model, tensors, file_metadata, path)
        model.config = config_of(model)
    except CheckpointError:
        raise
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} describes no model of this version ({error}): use the version that made it, "
            "or restore the file"
        ) from None
    for text in terms(model):
        if text not in _said:
            _said.add(text)
            LOG.warning("%s: %s", path.parent.name, text)
    return model


def terms(model: ConditionalModel) -> list[str]:
    """What the data of a model's run ask of those who use it; none if they are free, or a reader's
    own. The model's card has those of the runs before it, too."""
    names = [] if model.config is None else catalogue.parts(model.config.data.train)
    entries = [catalogue.CATALOGUE[name] for name in names if name in catalogue.CATALOGUE]
    texts = dict.fromkeys(entry.terms for entry in entries)
    return [text for text in texts if text and text != catalogue.FREE]


def described(metadata: Mapping[str, str], path: Path) -> dict[str, str]:
    """The metadata of a file of version 0.2 with the kind of the model and its arguments, and with
    the configuration of its run in today's words: one of OF_VERSION_02. Raises CheckpointError for
    another file."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    config = json.loads(OF_VERSION_02.read_text("utf-8")).get(sha256)
    if config is None:
        raise CheckpointError(
            f"{path} is of version 0.2 and not of this repository: load it with that version"
        )
    run = from_dict(config)
    arguments = {k: v for k, v in run.model.items() if k != "kind"}
    more = {"kind": run.model["kind"], "arguments": json.dumps(arguments)}
    return {**metadata, "config": json.dumps(to_dict(run)), **more}


def find_weights(name: Path | str, results: Path = RESULTS) -> Path:
    """The weights of a model: of a name of RELEASES, of a run of `results/`, or of a run folder.

    An installed package has the results/ of the package of weights, and downloads what that does
    not hold. Raises CheckpointError, with the nearest names, if there are no weights.
    """
    run = RELEASES.get(str(name), str(name))
    for path in (results / run / WEIGHTS, Path(run) / WEIGHTS):
        if path.exists():
            return path
    if run in SHA256 and not IS_CHECKOUT:
        return _download(run)
    if (Path(run) / "last.pt").exists():
        raise CheckpointError(
            f"{name} holds no {WEIGHTS} before its first validation: go on with "
            f"`python -m cnf train --resume {name}`"
        )
    run_names = sorted(path.parent.name for path in results.glob(f"*/{WEIGHTS}")) or sorted(SHA256)
    names = nearest(str(name), [*RELEASES, *run_names])
    raise CheckpointError(
        f"{name} holds no {WEIGHTS}: give a run folder, or a name; the nearest are {names}"
    )


def repository() -> str:
    """The address of the repository, from the package's metadata; "" if it is not known."""
    try:
        urls = package_metadata("conditional-normalizing-flows").get_all("Project-URL") or []
    except PackageNotFoundError:  # a checkout that is not installed
        return ""
    return next((u.split(",")[1].strip() for u in urls if u.startswith("Repository,")), "")


def _download(run: str) -> Path:
    """Released weights from the repository that the package's metadata names, kept in the user's
    cache. Raises CheckpointError if it names none, or if they do not come."""
    import pooch  # only here

    address = repository()
    if not address:
        package = "install conditional-normalizing-flows-weights, or " if run in SHIPPED else ""
        raise CheckpointError(
            f"the weights of {run} are not here, and this installation does not know the address "
            f"of the repository: {package}clone it, and give cnf.load the folder of the run"
        )
    url = f"{address}/raw/v{__version__}/results/{run}/{WEIGHTS}"
    try:
        file = pooch.retrieve(
            url, f"sha256:{SHA256[run]}", f"{run}.safetensors", pooch.os_cache("cnf")
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{url} could not be downloaded ({error}): clone the repository"
        ) from None
    return Path(file)
