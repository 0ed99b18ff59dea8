"""A server on a free port with a model whose code is known: a bar's angle and brightness."""

import json
import threading
import urllib.error
import urllib.request

import pytest
import torch

import rotfast
from rotfast.demo import Dimension

SIZE = 32


class Bar:
    """Draws a bar; encodes an image by the direction of its longest axis and its brightest pixel."""

    image_size = SIZE
    dimensions = (Dimension("angle", -90, 90, 1, "°"), Dimension("brightness"))

    def encode(self, images):
        y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
        codes = []
        for image in images[:, 0]:
            mass = image / image.sum()
            dx, dy = x - (mass * x).sum(), y - (mass * y).sum()
            xx, yy, xy = ((mass * product).sum() for product in (dx * dx, dy * dy, dx * dy))
            # The bar stands upright at 0 and leans to the left (counter-clockwise) at positive angles.
            angle = torch.rad2deg(0.5 * torch.atan2(2 * xy, yy - xx))
            codes.append(torch.stack([angle, image.max()]))
        return torch.stack(codes)

    def decode(self, codes):
        bar = torch.zeros(len(codes), 1, SIZE, SIZE)
        bar[:, :, 6:26, 14:18] = codes[:, 1].clamp(0, 1)[:, None, None, None]
        return rotfast.rotate(bar, codes[:, 0])


class Site:
    def __init__(self, url):
        self.url = url

    def ask(self, path, body=None, headers=None):
        """Status, headers and content of an answer."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path, body=None):
        status, _, content = self.ask(path, body)
        return status, json.loads(content)


@pytest.fixture(scope="session")
def site():
    pytest.importorskip("starlette", reason="needs rotfast[demo]")
    pytest.importorskip("uvicorn", reason="needs rotfast[demo]")
    from rotfast.demo.app import make_app
    from rotfast.demo.server import bind, make_server, serve, url_of

    examples = torch.zeros(3, 28, 28, dtype=torch.uint8)
    examples[0, 4:24, 12:16] = 255  # a one
    examples[1, 12:16, 4:24] = 255  # another one, lying
    examples[2, 4:24, 4:24] = 255
    app = make_app(Bar(), title="a bar", examples=(examples, torch.tensor([1, 1, 7])))
    server = make_server(app)
    with bind("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=serve, args=(server, listener))
        thread.start()
        yield Site(url_of(listener))
        server.should_exit = True
        thread.join()
