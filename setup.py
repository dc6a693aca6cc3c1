"""Packaging. `pip install .` builds prototxts; the extras add training and conversion."""

from pathlib import Path

from setuptools import find_packages, setup

TRAIN = ["torch>=2.2", "opencv-python-headless>=4.8", "lmdb>=1.4", "h5py>=3.8", "matplotlib>=3.7", "pyyaml>=6"]
ONNX = ["onnx>=1.16", "onnxruntime>=1.18", "h5py>=3.8"]
DRAW = ["resvg-py>=0.5", "matplotlib>=3.7"]
TEST = ["pytest>=8", "hypothesis>=6.100", "grpcio-tools>=1.60", "segno>=1.6", "safetensors>=0.4", "ruff>=0.16"]

setup(
    name="caffe-netgen",
    version="0.1.0",
    description="Everything a Caffe-format detector needs, without Caffe: build, train, convert, verify",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(
        include=[
            f"{name}{rest}" for name in ("prototxt", "netgen", "annoset", "converters", "solver") for rest in ("", ".*")
        ]
    ),
    package_data={"prototxt": ["caffe.proto"]},
    install_requires=["numpy>=1.24", "protobuf>=4.25", "typer>=0.15", "rich>=13"],
    extras_require={"train": TRAIN, "onnx": ONNX, "draw": DRAW, "all": [*TRAIN, *ONNX, *DRAW], "test": TEST},
    entry_points={"console_scripts": ["netgen = netgen.commands.main:main"]},
)
