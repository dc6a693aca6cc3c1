"""The command line on a stranger's files: each ends with a message and a status, never with a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from unittest import mock

from prototxt.errors import UserError
from tests.fuzz import seeds
from tests.fuzz.table import Target

_SHARE = 0.02


def _run(arguments: list[str]) -> None:
    from netgen.commands.main import main

    said = StringIO()
    with mock.patch.object(sys, "argv", ["netgen", *arguments]), redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            text = said.getvalue()
            if end.code == 1 and not text:  # lint and verify tell what they found on standard output
                raise UserError("the exit status is 1") from None
            if end.code == 2 and text.startswith("netgen: "):
                raise UserError(text) from None
            if end.code:
                raise AssertionError(f"{arguments}: exit status {end.code}: {text}") from None


def _command(
    words: str, suffix: str, make: Callable[[], list[bytes]], *, text: bool = False, share: float = _SHARE
) -> Target:
    """`FILE` in `words` stands for the stranger's file, `OUT` for the folder to write into."""

    def read(path: Path) -> None:
        out = str(path.parent.with_name("out"))
        _run([word.replace("FILE", str(path)).replace("OUT", out) for word in words.split()])

    return Target(suffix, read, make, text, share)


def _net(words: str, share: float = _SHARE) -> Target:
    return _command(words, ".prototxt", lambda: seeds.texts(seeds.DETECTOR), text=True, share=share)


def _weights(words: str) -> Target:
    return _command(words, ".caffemodel", lambda: [seeds.detector_weights()])


_OURS = f"{seeds.DETECTOR_NAME}.prototxt {seeds.DETECTOR_NAME}.caffemodel"
_OUR_NET, _OUR_WEIGHTS = _OURS.split()
COMMANDS = {
    "summary": _net("summary FILE", share=0.1),
    "lint": _net("lint FILE", share=0.1),
    "draw": _net("draw FILE -o OUT/net.svg", share=0.1),
    "diff": _net(f"diff FILE {_OUR_NET}", share=0.1),
    "convert net": _net(f"convert FILE {_OUR_WEIGHTS} -o OUT/net.onnx --source OUT/net.py", share=0.1),
    "convert weights": _weights(f"convert {_OUR_NET} FILE -o OUT/net.onnx"),
    "convert state": _command(f"convert {_OUR_NET} FILE -o OUT/net.caffemodel", ".pth", seeds.detector_states),
    "convert onnx": _command("convert FILE -o OUT/net.prototxt", ".onnx", seeds.onnx_models),
    "verify net": _net(f"verify FILE {_OUR_WEIGHTS}"),
    "verify weights": _weights(f"verify {_OUR_NET} FILE"),
    "verify onnx": _command(f"verify {_OURS} --onnx FILE", ".onnx", seeds.detector_onnx),
    "detect net": _net(f"detect FILE {_OUR_WEIGHTS} x.png -o OUT/found.png"),
    "detect weights": _weights(f"detect {_OUR_NET} FILE x.png -o OUT/found.png"),
    "detect picture": _command(f"detect {_OURS} FILE -o OUT/found.png", ".jpg", seeds.images),
}
