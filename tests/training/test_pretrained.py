"""Pretrained features: taken where a reader has them, said aloud, never needed again."""

import hashlib

import pytest
import torch
from torchvision.models import VGG16_Weights, vgg

from cnf import build
from cnf.config import config_sha256, from_dict
from cnf.errors import ConfigError
from cnf.features import VGGFeatures
from cnf.replication import training
from cnf.replication.data import load


def config(**features):
    return from_dict(
        {
            "experiment": "vessels",
            "preset": "test",
            "model": {
                "kind": "bernoulli",
                "features": {"kind": "vgg", "channels": 4, "scales": 2, **features},
            },
            "data": {"train": "embedded-vessels", "crop": 16},
            "training": {
                **{"steps": 2, "batch_size": 2, "warmup": 0},
                **{"validate_every": 2, "validate_images": 1},
            },
        }
    )


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
    """The embedded fundus pictures, in the place of the photographs of this folder's tests."""
    monkeypatch.setattr(training, "load", load)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of torch.hub in which the file, of random weights, passes for torchvision's."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    torch.manual_seed(0)
    network = vgg.make_layers(vgg.cfgs["D"][:6])  # two stages of VGG-16
    path = tmp_path / "checkpoints" / VGG16_Weights.IMAGENET1K_V1.url.rsplit("/")[-1]
    path.parent.mkdir()
    torch.save({f"features.{name}": t for name, t in network.state_dict().items()}, path)
    monkeypatch.setattr(VGGFeatures, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    return network, path


def test_stages_are_torchvisions_on_its_own_normalisation(cache):
    network, path = cache
    model = build.build(config(pretrained=True))
    assert build.begin(model) == (
        f"features begin with torchvision's VGG-16 weights for ImageNet, {path.name}"
    )
    x = torch.randint(256, (2, 3, 8, 8)).float()
    preset = VGG16_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in (preset.mean, preset.std))
    maps = []
    for stage in model.features.stages:
        stage.register_forward_hook(lambda module, inputs, output: maps.append(output))
    model.features(x)
    # two float32 orders of the same division
    expected = network[:-1]((x / 255 - mean) / std)  # up to its last pooling
    torch.testing.assert_close(maps[-1], expected, rtol=1e-4, atol=1e-5)


def test_from_scratch_nothing_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    model = build.build(config())
    assert build.begin(model) == ""
    x = torch.zeros(1, 3, 4, 4)
    first = []
    model.features.stages[0].register_forward_pre_hook(lambda module, inputs: first.append(inputs))
    model.features(x)
    assert torch.equal(first[0][0], torch.full_like(x, -1))


def test_a_missing_file_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no .*vgg16-397923af.pth: fetch it once with"):
        training.Run.build(config(pretrained=True), 0, "cpu")


def test_another_file_of_that_name_is_refused(cache, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(cache[1].parent.parent))
    with pytest.raises(ConfigError, match="has the sha256 .*, not 397923af: remove it"):
        build.begin(build.build(config(pretrained=True)))


def test_only_vgg_features_can_be_pretrained():
    with pytest.raises(ConfigError, match="pretrained = true: nothing reads it here"):
        build.build(config(pretrained=True, kind="unet"))


def test_a_run_says_what_it_began_with_and_goes_on_without_the_file(cache, tmp_path, capsys):
    out = tmp_path / "run"
    training.train(config(pretrained=True), out, max_minutes=1e-9)  # not a step
    assert "features begin with torchvision's VGG-16 weights" in capsys.readouterr().out
    cache[1].unlink()
    training.train(None, out, resume=True)
    loaded = build.load(out / "weights.safetensors")
    assert loaded.features.pretrained and torch.isfinite(loaded.mean(torch.zeros(1, 3, 4, 4))).all()


def test_a_pretrained_network_is_another_configuration():
    assert config_sha256(config()) != config_sha256(config(pretrained=True))
