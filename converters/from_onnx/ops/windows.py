"""The windows of convolutions and poolings: where ONNX puts them, along each side."""

from __future__ import annotations

from dataclasses import dataclass

from converters.from_onnx.builder import Step


@dataclass(frozen=True)
class Windows:
    """One side of a map and the windows along it.

    Attributes:
        size, out: of the input and of the output.
        kernel, stride, dilation: of a window.
        begin, end: padding before and after.
    """

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int

    @property
    def extent(self) -> int:
        """Rows that one dilated window spans."""
        return self.dilation * (self.kernel - 1) + 1


def windows(step: Step, kernel: tuple[int, ...], *, transposed: bool = False) -> tuple[Windows, Windows]:
    """The windows along height and width; a map of one side, N x C x L, has the height 1.

    Args:
        kernel: its size along each side.
        transposed: of a ConvTranspose.

    Raises:
        UserError: attributes of another length than the map has sides, negative padding.
    """
    count = len(step.shape(0)) - 2
    strides, dilations = (step.attribute(name) or [1] * count for name in ("strides", "dilations"))
    pads = step.attribute("pads") or [0] * (2 * count)
    given = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads[::2]}
    for name, values in given.items():
        if len(values) != count:
            raise step.error(f"{name} has {len(values)} values", expected=f"{count}, one for each side")
    if count not in (1, 2) or min(pads) < 0:
        what = f"its map has {count} sides" if count not in (1, 2) else f"pads is {list(pads)}"
        raise step.error(what, expected="maps of one or two sides and padding that is not negative")
    sides = [
        Windows(
            step.shape(0)[2 + i], step.out_shape[2 + i], kernel[i], strides[i], dilations[i], pads[i], pads[count + i]
        )
        for i in range(count)
    ]
    sides = [_auto_padded(step, side, transposed) for side in sides]
    return (sides[0], sides[1]) if count == 2 else (Windows(1, 1, 1, 1, 1, 0, 0), sides[0])


def _auto_padded(step: Step, side: Windows, transposed: bool) -> Windows:
    """The side with the padding that `auto_pad` or `output_shape` asks for."""
    auto = step.attribute("auto_pad", "NOTSET")
    if auto == "VALID":
        total = 0
    elif transposed and (auto != "NOTSET" or step.attribute("output_shape")):
        extra = step.attribute("output_padding") or [0]
        total = max((side.size - 1) * side.stride + max(extra) + side.extent - side.out, 0)
        if len(set(extra)) > 1:
            raise step.error("output_padding differs between the sides while the padding is automatic")
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        total = max((side.out - 1) * side.stride + side.extent - side.size, 0)
    elif auto == "NOTSET":
        return side
    else:
        raise step.error(f'auto_pad is "{auto}"', expected="NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    begin = total // 2 if auto == "SAME_UPPER" else total - total // 2  # where the odd row goes
    return Windows(side.size, side.out, side.kernel, side.stride, side.dilation, begin, total - begin)
