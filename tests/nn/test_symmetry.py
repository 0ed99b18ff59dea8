"""The split of any model into symmetry parameters and adapted parameters."""

import pytest
import torch
from torch import nn

from rotfast import ShareConv2d, ShareLinearFull, adapted_parameters, symmetry_parameters, weight_norm


class Warped(nn.Module):
    symmetry_parameter_names = ("warp", "inner.weight", "unused")

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))
        self.warp = nn.Parameter(torch.eye(2))
        self.inner = nn.Linear(2, 2)
        self.register_parameter("unused", None)


def test_names_of_a_nested_model_are_qualified_and_in_order():
    model = nn.Sequential(
        ShareConv2d(1, 2, 3), nn.Linear(2, 2), nn.ModuleDict({"head": ShareLinearFull(2, 2)})
    )
    assert list(symmetry_parameters(model)) == ["0.A_warp", "0.B_warp", "0.C_warp", "2.head.warp"]
    assert list(adapted_parameters(model)) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "2.head.latent_params",
        "2.head.bias",
    ]


def test_values_are_the_parameters_themselves():
    model = nn.Sequential(ShareLinearFull(2, 2))
    assert symmetry_parameters(model)["0.warp"] is model[0].warp
    assert adapted_parameters(model)["0.bias"] is model[0].bias


def test_user_modules_declare_their_own_by_dotted_names():
    assert list(symmetry_parameters(Warped())) == ["warp", "inner.weight"]
    assert list(adapted_parameters(Warped())) == ["bias", "inner.bias"]


def test_a_warp_in_the_name_alone_declares_nothing():
    assert symmetry_parameters(nn.ModuleDict({"warp": nn.Linear(2, 2)})) == {}


def test_frozen_parameters_are_not_adapted():
    model = Warped()
    model.bias.requires_grad_(False)
    model.warp.requires_grad_(False)
    assert list(symmetry_parameters(model)) == ["warp", "inner.weight"]
    assert list(adapted_parameters(model)) == ["inner.bias"]


def test_a_tied_parameter_is_a_symmetry_under_its_first_name():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), Warped())
    model[0].weight = model[1].warp
    assert list(symmetry_parameters(model)) == ["0.weight", "1.inner.weight"]


def test_a_parametrized_symmetry_parameter_stands_for_what_generates_it():
    layer = weight_norm(ShareLinearFull(2, 2), "warp")
    assert set(symmetry_parameters(layer)) == {
        "parametrizations.warp.original0",
        "parametrizations.warp.original1",
    }
    assert list(adapted_parameters(layer)) == ["latent_params", "bias"]


def test_a_compiled_model_keeps_its_symmetries():
    model = torch.compile(nn.Sequential(ShareLinearFull(2, 2)))
    assert list(symmetry_parameters(model)) == ["_orig_mod.0.warp"]


@pytest.mark.parametrize("name", ["warpp", "missing.weight", "inner.wight", "inner"])
def test_a_declared_name_that_does_not_exist_is_refused(name):
    model = nn.Sequential(Warped())
    model[0].symmetry_parameter_names = ("warp", name)
    with pytest.raises(ValueError, match=f"of Warped at '0' must name its parameters, got '{name}'"):
        symmetry_parameters(model)


def test_a_declaration_that_is_no_tuple_is_refused():
    model = Warped()
    model.symmetry_parameter_names = "warp"
    with pytest.raises(TypeError, match="symmetry_parameter_names of Warped at '' must be a tuple of names"):
        adapted_parameters(model)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"module must be an nn\.Module, got dict"):
        symmetry_parameters({})
