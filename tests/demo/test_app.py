"""The page's answers over HTTP, what it refuses, and that it loads nothing from elsewhere."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import rotfast.demo

PAGE = Path(rotfast.demo.__file__).parent / "page"


def pixels(encoded):
    values = np.frombuffer(base64.b64decode(encoded), dtype=np.uint8)
    side = int(len(values) ** 0.5)
    return values.reshape(side, side)


def bar(side=56, turn=0.0):
    drawing = torch.zeros(1, 1, side, side)
    drawing[..., side // 5 : 4 * side // 5, side * 4 // 9 : side * 5 // 9] = 255
    return rotfast.rotate(drawing, turn).clamp(0, 255).to(torch.uint8).numpy().tobytes()


def decode(site, code):
    return site.json("api/decode", json.dumps({"code": code}).encode())


def test_the_page_and_its_files(site):
    status, headers, content = site.ask("")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    text = content.decode()
    files = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert {"static/style.css", "static/page.js", "static/icon.svg"} == set(files)
    for file in files:
        status, _, content = site.ask(file)
        assert (status, content) == (200, (PAGE / Path(file).name).read_bytes())


def test_nothing_comes_from_another_machine(site):
    for file in PAGE.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert not re.search(r"https?:|(?<!:)//[a-z]", re.sub(r"^\s*// .*$", "", text, flags=re.MULTILINE)), (
            file
        )
    _, headers, _ = site.ask("")
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"


def test_what_there_is_to_explore(site):
    status, model = site.json("api/model")
    assert status == 200
    assert model["title"] == "a bar"
    assert model["image_size"] == 32
    assert model["digits"] == [1, 7]
    assert model["dimensions"][0] == {"name": "angle", "low": -90, "high": 90, "step": 1, "unit": "°"}
    assert model["dimensions"][1]["high"] == 3.0


def test_decoding_follows_the_code(site):
    status, answer = decode(site, [0, 1])
    image = pixels(answer["image"])
    assert status == 200
    assert image.shape == (32, 32)
    assert image[16, 15] == 255
    assert image[16, 3] == 0
    lying = pixels(decode(site, [90, 0.5])[1]["image"])
    assert np.array_equal(lying, np.rot90(image) // 255 * 128)


@pytest.mark.parametrize("turn", [-40, 0, 25])
def test_encoding_a_turned_drawing(site, turn):
    status, answer = site.json(f"api/encode?turn={turn}&centred=1", bar())
    assert status == 200
    angle, brightness = answer["code"]
    assert angle == pytest.approx(turn, abs=3)
    assert brightness > 0.8
    seen = pixels(answer["image"])
    assert seen.shape == (32, 32)
    assert seen.max() > 200


def test_a_drawing_in_a_corner_is_centred_only_where_asked(site):
    drawing = np.zeros((112, 112), dtype=np.uint8)
    drawing[2:30, 2:8] = 255
    centre = {}
    for centred in (0, 1):
        _, answer = site.json(f"api/encode?turn=0&centred={centred}", drawing.tobytes())
        centre[centred] = np.argwhere(pixels(answer["image"]) > 100).mean(axis=0)
    assert centre[0].max() < 9
    assert centre[1] == pytest.approx([15.5, 15.5], abs=1)


def test_a_code_that_is_not_finite_is_said(site):
    status, answer = site.json("api/encode?turn=10&centred=1", bytes(28 * 28))  # this model needs some ink
    assert (status, answer) == (400, {"error": "the model's code of this drawing is not finite"})


def test_examples_take_turns(site):
    first, second, third = (site.json("api/example?digit=1")[1]["image"] for _ in range(3))
    assert first == third != second
    assert pixels(first).shape == (28, 28)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("api/decode", b"{", "a code must come as JSON"),
        ("api/decode", b'{"code": [1]}', "with 2 numbers"),
        ("api/decode", b'{"code": [1, "2"]}', "with 2 numbers"),
        ("api/decode", b'{"code": [true, 2]}', "with 2 numbers"),
        ("api/decode", b"[1, 2]", "with 2 numbers"),
        ("api/decode", b'{"code": [1, NaN]}', "must be finite"),
        ("api/encode?turn=0&centred=1", b"123", "n·n bytes with n of at least 8, got 3"),
        ("api/encode?turn=x&centred=1", bar(), "turn must be a number, got 'x'"),
        ("api/encode?turn=inf&centred=1", bar(), "turn must be a number, got 'inf'"),
        ("api/encode?turn=0", bar(), "centred must be a number, got ''"),
        ("api/encode?turn=0&centred=1", bytes(1 << 21), "at most 1048576 bytes"),
        ("api/example?digit=4", None, "there is no example of 4"),
    ],
)
def test_what_is_wrong_is_said(site, path, body, message):
    status, answer = site.json(path, body)
    assert status == 400
    assert message in answer["error"]


def test_another_name_for_this_machine_is_refused(site):
    port = site.url.rsplit(":", 1)[1].strip("/")
    assert site.ask("api/model", headers={"Host": f"localhost:{port}"})[0] == 200
    status, _, content = site.ask("api/model", headers={"Host": "evil.example"})
    assert status == 400
    assert b"a bar" not in content


def test_unknown_paths_and_methods(site):
    assert site.ask("nothing")[0] == 404
    assert site.ask("static/../app.py")[0] == 404
    assert site.ask("api/decode")[0] == 405
