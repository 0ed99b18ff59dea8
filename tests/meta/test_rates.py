"""InnerRates: a mapping by parameter name, whatever the name, that survives a state dict."""

import pytest
import torch
from torch import nn

from rotfast.meta import InnerRates

NAMES = {"0.weight": (2, 3), "block.0.b_c": (4,), "block.0.b.c": (4,), "values": (1,)}


def make(mode: str, inner_lr: float = 0.1) -> InnerRates:
    return InnerRates({name: torch.zeros(shape) for name, shape in NAMES.items()}, inner_lr, mode)


@pytest.mark.parametrize("mode", ["per_layer", "per_param", "fixed"])
def test_mapping(mode):
    rates = make(mode)
    assert list(rates) == list(rates.keys()) == list(NAMES)
    assert len(rates) == len(NAMES)
    assert "0.weight" in rates
    assert "weight" not in rates
    for (name, rate), value in zip(rates.items(), rates.values(), strict=True):
        assert rate is rates[name] is value
        assert rate.shape == (NAMES[name] if mode == "per_param" else ())
        assert (rate == 0.1).all()
        assert isinstance(rate, nn.Parameter) == (mode != "fixed")
    with pytest.raises(KeyError, match="absent"):
        rates["absent"]


@pytest.mark.parametrize("mode", ["per_layer", "per_param", "fixed"])
def test_state_dict_round_trip(mode):
    rates, other = make(mode, 0.3), make(mode, 0.1)
    assert len(rates.state_dict()) == len(NAMES)
    other.load_state_dict(rates.state_dict())
    assert all((rate == 0.3).all() for rate in other.values())


def test_dtype_and_device_moves():
    rates = InnerRates({"w": torch.zeros(2, dtype=torch.float64)}, 0.1, "per_layer")
    assert rates["w"].dtype == torch.float64
    assert rates.float()["w"].dtype == torch.float32
    assert rates.to("meta")["w"].device.type == "meta"
