"""What every layer must do: copy, pickle, move, compile, export, functional_call, vmap, derivatives."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

import rotfast

# name: (layer, shape of one unbatched input)
LAYERS = {
    "ShareConv2d": (lambda **kw: rotfast.ShareConv2d(2, 3, (3, 2), padding=1, **kw), (2, 4, 5)),
    "ShareConv2d sigmoid": (lambda **kw: rotfast.ShareConv2d(1, 3, 3, sigmoid=True, **kw), (1, 4, 5)),
    "ShareConv2d groups": (
        lambda **kw: rotfast.ShareConv2d(
            4, 2, 3, groups=2, padding=1, padding_mode="reflect", bias=False, **kw
        ),
        (4, 4, 3),
    ),
    "ShareConv2dFull": (lambda **kw: rotfast.ShareConv2dFull(2, 3, 3, stride=2, **kw), (2, 5, 5)),
    "ShareLinear": (lambda **kw: rotfast.ShareLinear(4, 3, **kw), (4,)),
    "ShareLinear sigmoid": (lambda **kw: rotfast.ShareLinear(4, 3, bias=False, sigmoid=True, **kw), (4,)),
    "ShareLinearFull": (lambda **kw: rotfast.ShareLinearFull(4, 3, **kw), (4,)),
    "ShareLinearFull no bias": (lambda **kw: rotfast.ShareLinearFull(4, 3, bias=False, **kw), (4,)),
    "LocallyConnected1d": (lambda **kw: rotfast.LocallyConnected1d(2, 3, 4, **kw), (2, 6)),
    "IdentityLinear": (lambda **kw: rotfast.IdentityLinear(3, sigmoid=True, **kw), (3,)),
    "Identity1x1Conv": (lambda **kw: rotfast.Identity1x1Conv(3, **kw), (3, 4, 5)),
}


@pytest.fixture(params=LAYERS)
def make(request):
    return LAYERS[request.param]


def randomise(layer):
    """Leave the identity, so that every parameter counts."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    return layer


def same_output(one, other, x):
    torch.testing.assert_close(one(x), other(x), rtol=0, atol=0)


def test_deepcopy_is_equal_and_independent(make):
    build, shape = make
    layer, x = randomise(build()), torch.randn(2, *shape)
    twin = copy.deepcopy(layer)
    same_output(layer, twin, x)
    randomise(twin)
    assert not torch.equal(layer(x), twin(x))


def test_pickle_and_save_keep_the_layer(make):
    build, shape = make
    layer, x = randomise(build()), torch.randn(2, *shape)
    same_output(layer, pickle.loads(pickle.dumps(layer)), x)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = randomise(build())
    other.load_state_dict(torch.load(buffer, weights_only=True))
    same_output(layer, other, x)


def test_unbatched_input_is_one_image_of_a_batch(make):
    build, shape = make
    layer, x = randomise(build()), torch.randn(3, *shape)
    torch.testing.assert_close(layer(x[1]), layer(x)[1])


def test_empty_batch_gives_an_empty_result_and_zero_gradients(make):
    build, shape = make
    layer = build()
    y = layer(torch.randn(0, *shape))
    assert y.shape == (0, *layer(torch.randn(1, *shape)).shape[1:])
    y.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_moves_to_another_dtype(make, dtype):
    build, shape = make
    layer, x = randomise(build()), torch.randn(2, *shape)
    expected = layer(x)
    y = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)


def test_is_built_on_the_device_and_in_the_dtype_asked_for(make):
    build, _ = make
    layer = build(device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}
    filled = layer.to_empty(device="cpu")
    for module in filled.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert all(p.isfinite().all() for p in filled.parameters())


def test_moves_to_another_device(make):
    build, shape = make
    assert build().to("meta")(torch.zeros(2, *shape, device="meta")).device.type == "meta"


def test_non_contiguous_input_is_accepted(make):
    build, shape = make
    layer, x = randomise(build()), torch.randn(*reversed(shape), 2).permute(*reversed(range(len(shape) + 1)))
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


def test_functional_call_uses_the_given_parameters(make):
    build, shape = make
    layer, other, x = randomise(build()), randomise(build()), torch.randn(2, *shape)
    torch.testing.assert_close(functional_call(layer, dict(other.named_parameters()), (x,)), other(x))


def test_vmap_over_stacked_parameters_is_a_loop(make):
    build, shape = make
    layers = [randomise(build()) for _ in range(3)]
    params, buffers = stack_module_state(layers)
    x = torch.randn(3, 2, *shape)

    def call(params, x):
        return functional_call(layers[0], (params, buffers), (x,))

    torch.testing.assert_close(
        vmap(call)(params, x), torch.stack([layer(x_t) for layer, x_t in zip(layers, x, strict=True)])
    )
    torch.testing.assert_close(
        vmap(call, in_dims=(0, None))(params, x[0]), torch.stack([layer(x[0]) for layer in layers])
    )


def test_vmap_of_gradients_is_a_loop(make):
    build, shape = make
    layers = [randomise(build()) for _ in range(3)]
    params, _ = stack_module_state(layers)
    x = torch.randn(3, 2, *shape)

    def loss(params, x):
        return functional_call(layers[0], params, (x,)).square().sum()

    batched = vmap(grad(loss))(params, x)
    for t, layer in enumerate(layers):
        expected = torch.autograd.grad(layer(x[t]).square().sum(), list(layer.parameters()))
        for (name, _), value in zip(layer.named_parameters(), expected, strict=True):
            torch.testing.assert_close(batched[name][t], value, rtol=1e-4, atol=1e-4)


def test_first_and_second_derivatives_are_right(make):
    build, shape = make
    layer = randomise(build(dtype=torch.float64))
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    x = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


@pytest.mark.parametrize("norm", [0, None], ids=["per output", "whole tensor"])
@pytest.mark.parametrize(
    ("layer", "name"),
    [(rotfast.ShareConv2d(2, 3, 3), "weight"), (rotfast.ShareLinearFull(4, 3), "warp")],
    ids=["ShareConv2d", "ShareLinearFull"],
)
def test_weight_norm_separates_length_and_direction(layer, name, norm):
    layer = copy.deepcopy(layer)
    before = getattr(layer, name).detach().clone()
    rotfast.weight_norm(layer, name, dim=norm)
    torch.testing.assert_close(getattr(layer, name), before)
    length = layer.parametrizations[name].original0
    expected = before.norm() if norm is None else before.flatten(1).norm(dim=1)
    torch.testing.assert_close(length.flatten(), expected.flatten())
    with torch.no_grad():
        length.mul_(2)
    torch.testing.assert_close(getattr(layer, name), 2 * before)


def test_export_keeps_the_function(make):
    build, shape = make
    layer, x = randomise(build()), torch.randn(2, *shape)
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    x = torch.randn(3, *shape)
    torch.testing.assert_close(program.module()(x), layer(x))


def check_compiled(layer, x, backend):
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x), layer(x))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    got = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_traces_as_one_graph_forward_and_backward(make):
    build, shape = make
    check_compiled(randomise(build()), torch.randn(2, *shape), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ShareConv2d sigmoid", "ShareLinearFull"])
def test_compiles_as_one_graph_forward_and_backward(name):
    build, shape = LAYERS[name]
    check_compiled(randomise(build()), torch.randn(2, *shape), "inductor")


def test_skip_init_builds_the_layer():
    assert nn.utils.skip_init(rotfast.ShareConv2d, 1, 2, 3).weight.shape == (2, 1, 3, 3)


def test_autocast_computes_in_bfloat16():
    model = randomise(
        nn.Sequential(rotfast.ShareConv2d(1, 2, 3), nn.Flatten(), rotfast.ShareLinearFull(8, 3))
    )
    x = torch.randn(2, 1, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), model(x), rtol=0.05, atol=0.05)
