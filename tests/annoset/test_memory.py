"""That blocks are kept by the C library shows in page faults."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, sys
import cv2, numpy as np
from annoset.writing.picture import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
jpeg = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))[1]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory by rules of their own")
def test_an_image_decoded_again_takes_the_block_of_the_last():
    command = [sys.executable, "-c", FAULTS, "kept"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5  # without it, some 400 where glibc has learned nothing else
