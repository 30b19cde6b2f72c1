"""Weights of a codec: taken where they fill it exactly, refused before anything of their size is allocated."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from tests.torch_ref.conftest import config_of
from torch_ref import codec as codecs
from torch_ref.codec_weights import transform_in
from torch_ref.weights import Bundle, build_model, entries_of

SETTINGS = {"codec": "latent", "factor": 4, "channels": 4, "patch": 2, "width": 4, "blocks": 1}
SETTINGS |= {"mean": [0.0] * 4, "std": [1.0] * 4}


def bundle_of(**change: Any) -> Bundle:
    """A bundle with the weights of SETTINGS, that says they are of other settings."""
    torch.manual_seed(0)
    module = codecs.transform_of({"codec": SETTINGS}).module
    assert module is not None
    table = {entry.torch_name: entry for entry in entries_of(module)}
    weights = {
        table[name].jax_name: value.numpy().transpose(np.argsort(table[name].axes))
        for name, value in module.state_dict().items()
    }
    config = config_of("unet") | {"codec": SETTINGS | change}
    with torch.device("meta"):
        model = build_model(config)
    return Bundle(model, None, config, "", networks={CODEC: weights})


def test_the_weights_are_those_of_the_file() -> None:
    bundle = bundle_of()
    found = transform_in(bundle).module
    assert found is not None
    for entry in entries_of(found):
        value = found.state_dict()[entry.torch_name].numpy()
        np.testing.assert_array_equal(value, bundle.networks[CODEC][entry.jax_name].transpose(entry.axes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # More than a terabyte of weights; and as many names as there are, of other shapes.
        ({"width": 1024, "blocks": 16, "patch": 1, "factor": 32}, "the weights lacks decode"),
        ({"width": 1024}, r"has the shape .*; is codec of its config the right one\?"),
        ({"blocks": 2}, "lacks decode.levels.0.1.conv1.bias"),
        ({"patch": 3}, "makes no network"),
        ({"width": 10**9}, "makes no network"),
        ({"blocks": True}, "makes no network"),
    ],
)
def test_settings_that_do_not_fit_the_weights_allocate_nothing(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = nn.Conv2d.__init__, []

    def watched(self: nn.Conv2d, *args: Any, **settings: Any) -> None:
        real(self, *args, **settings)
        made.append(self.weight.device.type)

    bundle = bundle_of(**change)
    monkeypatch.setattr(nn.Conv2d, "__init__", watched)
    for given in (bundle, dataclasses.replace(bundle, networks={})):
        with pytest.raises(UserError, match=message if given is bundle else f"{message}|has no network codec"):
            transform_in(given)
    assert set(made) <= {"meta"}


def test_a_codec_may_read_weights_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes with their values, which there are none of on the device meta; one without sense is refused."""

    def own(settings: Any) -> codecs.Transform:
        scale = float(torch.ones(2).sum())
        if settings["width"] == 5:
            raise ValueError("no such file")
        return codecs.Transform(lambda picture: picture * scale, lambda state: state / scale)

    monkeypatch.setattr(codecs.CODECS, "_entries", dict(codecs.CODECS))
    codecs.CODECS.add("own", own)
    bundle = dataclasses.replace(bundle_of(codec="own"), networks={})
    assert transform_in(bundle).encode(torch.ones(1)) == 2
    bundle = dataclasses.replace(bundle_of(codec="own", width=5), networks={})
    with pytest.raises(UserError, match=r"config.codec .* makes no codec \(no such file\)"):
        transform_in(bundle)
