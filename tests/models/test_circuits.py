"""The circuits of rotated images: names, sizes, and routing by angle."""

import pytest
import torch
from torch.func import functional_call, grad, vmap

from rotfast import adapted_parameters, symmetry_parameters
from rotfast.models import DedicatedCircuits, SingleCircuit


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def count(module):
    return sum(p.numel() for p in module.parameters())


def small(num_circuits=3, **kwargs):
    model = DedicatedCircuits(num_circuits, num_classes=4, channels=2, image_size=6, **kwargs).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return model


def expected_logits(model, x, circuit):
    """Image by image: the circuit's features times its own block of columns of the head."""
    W = model.align_layer.get_weight().unflatten(1, (model.num_circuits, -1))
    rows = [W[:, c] @ model.circuits[c](image) for image, c in zip(x, circuit.tolist(), strict=True)]
    return torch.stack(rows) + model.align_layer.bias


def images(*sizes):
    return torch.rand(*sizes, 1, 6, 6, dtype=torch.float64)


def test_single_circuit_has_the_names_shapes_and_size_of_the_study():
    model = SingleCircuit()
    assert shapes(model) == {
        "0.weight": (32, 1, 3, 3),
        "0.bias": (32,),
        "0.A_warp": (32, 32),
        "0.B_warp": (1, 1),
        "0.C_warp": (9, 9),
        "3.latent_params": (3,),
        "3.warp": (216320, 3),
        "3.bias": (10,),
    }
    assert count(model) == 650_399


def test_dedicated_circuits_have_the_names_shapes_and_size_of_the_study():
    model = DedicatedCircuits()
    circuit = {"weight": (32, 1, 3, 3), "bias": (32,), "A_warp": (32, 32), "B_warp": (1, 1), "C_warp": (9, 9)}
    expected = {f"circuits.{c}.0.{name}": shape for c in range(5) for name, shape in circuit.items()}
    head = {"latent_params": (3,), "warp": (1_081_600, 3), "bias": (10,)}
    assert shapes(model) == expected | {f"align_layer.{name}": shape for name, shape in head.items()}
    assert count(model) == 3_251_943


def test_routing_adds_no_parameter():
    assert shapes(DedicatedCircuits(routed=True)) == shapes(DedicatedCircuits())


def test_sizes_can_be_chosen():
    model = SingleCircuit(num_classes=3, latent_size=2, channels=4, image_size=8)
    assert shapes(model)["3.warp"] == (4 * 36 * 3, 2)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    model = DedicatedCircuits(2, 3, 2, 4, 8)
    assert shapes(model)["align_layer.warp"] == (2 * 4 * 36 * 3, 2)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_symmetries_are_all_the_warps():
    assert list(symmetry_parameters(SingleCircuit())) == ["0.A_warp", "0.B_warp", "0.C_warp", "3.warp"]
    model = small()
    assert all("warp" in name for name in symmetry_parameters(model))
    assert not any("warp" in name for name in adapted_parameters(model))


def test_one_image_gives_one_row_of_logits():
    model = SingleCircuit(image_size=6).double()
    x = images(3)
    torch.testing.assert_close(model(x[1]), model(x)[1])


def test_unrouted_sends_every_image_through_every_circuit():
    model, x = small(), images(2)
    features = torch.cat([circuit(x) for circuit in model.circuits], 1)
    W = model.align_layer.get_weight()
    torch.testing.assert_close(model(x), features @ W.T + model.align_layer.bias)


def test_routed_uses_the_circuit_of_each_image():
    model, x, circuit = small(routed=True), images(5), torch.tensor([2, 0, 1, 1, 2])
    torch.testing.assert_close(model(x, circuit), expected_logits(model, x, circuit))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_scalar_routes_all_images(index):
    model, x = small(routed=True), images(4)
    expected = expected_logits(model, x, torch.full((4,), index))
    torch.testing.assert_close(model(x, torch.tensor(index)), expected)


@pytest.mark.parametrize(
    "circuit", [torch.tensor([2, 0, 2, 2]), torch.tensor(2)], ids=["per image", "scalar"]
)
def test_circuits_of_other_angles_get_no_gradient(circuit):
    model, x = small(routed=True), images(4)
    model(x, circuit).square().sum().backward()
    assert not model.circuits[1][0].weight.grad.any()
    assert model.circuits[2][0].weight.grad.all()
    blocks = model.align_layer.warp.grad.unflatten(0, (4, 3, -1))
    assert not blocks[:, 1].any()
    assert blocks[:, 2].any()


def test_scalar_and_per_image_routes_have_the_same_gradients():
    model, x = small(routed=True), images(4)
    parameters = list(model.parameters())
    one, other = (
        torch.autograd.grad(model(x, circuit).square().sum(), parameters)
        for circuit in (torch.tensor(1), torch.ones(4, dtype=torch.int64))
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "circuit",
    [torch.tensor([2, 0]), torch.tensor([[2, 2, 0], [1, 0, 1]])],
    ids=["per task", "per image"],
)
def test_vmap_over_tasks_is_a_loop(circuit):
    model, x = small(routed=True), images(2, 3)
    expected = torch.stack([model(x_t, c) for x_t, c in zip(x, circuit, strict=True)])
    torch.testing.assert_close(vmap(model)(x, circuit), expected)

    params = dict(model.named_parameters())

    def loss(params, x, circuit):
        return functional_call(model, params, (x, circuit)).square().sum()

    batched = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, circuit)
    for t in range(2):
        expected = torch.autograd.grad(loss(params, x[t], circuit[t]), list(params.values()))
        for name, value in zip(params, expected, strict=True):
            torch.testing.assert_close(batched[name][t], value)


def test_vmap_over_tasks_with_adapted_parameters_is_a_loop():
    model, x, circuit = small(routed=True), images(2, 3), torch.tensor([2, 1])
    adapted = {n: torch.randn(2, *p.shape, dtype=p.dtype) for n, p in adapted_parameters(model).items()}

    def call(params, x, circuit):
        return functional_call(model, params, (x, circuit))

    expected = [call({n: p[t] for n, p in adapted.items()}, x[t], circuit[t]) for t in range(2)]
    torch.testing.assert_close(vmap(call)(adapted, x, circuit), torch.stack(expected))


@pytest.mark.parametrize("circuit", [torch.tensor([2, 0]), torch.tensor(2)], ids=["per image", "scalar"])
def test_routed_traces_as_one_graph(circuit):
    model, x = small(routed=True), images(2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, circuit), model(x, circuit))


@pytest.mark.parametrize("circuit", [torch.tensor([3, 0]), torch.tensor([-1, 0]), torch.tensor(3)], ids=str)
def test_a_circuit_that_does_not_exist_is_refused(circuit):
    with pytest.raises(IndexError, match="out of range"):
        small(routed=True)(images(2), circuit)


def test_bad_routing_is_refused():
    model, x = small(routed=True), images(2)
    with pytest.raises(ValueError, match="circuit must be given to a routed model, got None"):
        model(x)
    with pytest.raises(ValueError, match="circuit must be left out: the model is not routed"):
        small()(x, torch.tensor(0))
    with pytest.raises(TypeError, match=r"circuit must be an int64 tensor, got torch\.float32"):
        model(x, torch.zeros(2))
    with pytest.raises(TypeError, match="circuit must be an int64 tensor, got int"):
        model(x, 0)
    with pytest.raises(ValueError, match=r"circuit must be a scalar or \(2,\), one an image, got \(3,\)"):
        model(x, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("build", [SingleCircuit, DedicatedCircuits])
def test_bad_sizes_are_refused(build):
    with pytest.raises(ValueError, match="image_size must be an int of at least 3, got 2"):
        build(image_size=2)
    with pytest.raises(ValueError, match="channels must be a positive int, got 0"):
        build(channels=0)
    with pytest.raises(ValueError, match="latent_size must be a positive int, got 0"):
        build(latent_size=0)
    with pytest.raises(ValueError, match="out_features must be a positive int, got 0"):
        build(num_classes=0)


def test_no_circuit_at_all_is_refused():
    with pytest.raises(ValueError, match="num_circuits must be a positive int, got 0"):
        DedicatedCircuits(0)
