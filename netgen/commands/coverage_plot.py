"""The picture of what prior boxes cover: shares over IoU, and the shapes of objects and priors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prototxt.errors import UserError
from prototxt.files import atomic_write

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from converters.coverage import Coverage

_LEAST_IOU = 0.3  # where the curves begin: below, a prior learns nothing from an object
_MOST_OVERHANG = 1.25  # of the image's side, that is shown of priors larger than the image


def check_picture(path: Path) -> None:
    """Raise UserError when no picture can be written with that ending."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind, kinds = path.suffix[1:], FigureCanvasAgg(Figure()).get_supported_filetypes()
    if kind not in kinds:
        raise UserError(f'pictures ending in ".{kind}" are not known', where=str(path), expected=", ".join(kinds))


def plot_coverage(path: Path, title: str, now: Coverage, better: Coverage | None = None) -> None:
    """Draw the share of boxes covered over the IoU asked for; and the boxes' sizes with those of the priors on them.

    Args:
        now: of the net, drawn with solid lines and dots.
        better: of the sizes suggested, drawn with dashed lines and crosses.

    Raises:
        UserError: the ending is unknown, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_picture(path)
    figure = Figure(figsize=(14, 6), layout="constrained")
    FigureCanvasAgg(figure)
    curves, shapes = figure.subplots(1, 2)
    _draw_curves(curves, now, better)
    _draw_shapes(shapes, now, better)
    figure.suptitle(title)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=110)


def _draw_curves(axes: Axes, now: Coverage, better: Coverage | None) -> None:
    import numpy as np

    from converters.coverage import THRESHOLDS

    iou = np.linspace(_LEAST_IOU, 1, 141)
    for coverage, style, word in ((now, "-", ""), (better, "--", ", suggested")):
        if coverage is None:
            continue
        axes.plot(iou, _shares(coverage.best, iou), style, color="black", linewidth=2, label=f"all layers{word}")
        for index, layer in enumerate(coverage.layers):
            label = None if word else layer.name
            axes.plot(iou, _shares(coverage.overlaps[:, index], iou), style, color=f"C{index}", alpha=0.7, label=label)
    for threshold in THRESHOLDS:
        axes.axvline(threshold, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="IoU asked for", ylabel="share of objects", xlim=(_LEAST_IOU, 1), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _shares(best: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """The share of `best` that is at least as large as each of `iou`."""
    import numpy as np

    return 1 - np.searchsorted(np.sort(best), iou) / len(best)


def _draw_shapes(axes: Axes, now: Coverage, better: Coverage | None) -> None:
    from matplotlib.colors import LogNorm

    height, width = now.layers[0].image_hw
    sides = now.sizes_wh
    limits = [(0, _MOST_OVERHANG * width), (0, _MOST_OVERHANG * height)]
    axes.hist2d(*sides.T, bins=80, range=limits, norm=LogNorm(), cmap="Greys", alpha=0.8)
    for coverage, marker in ((now, "o"), (better, "x")):
        for index, layer in enumerate(coverage.layers if coverage else ()):
            axes.plot(*layer.sizes_wh.T, marker, color=f"C{index}", markersize=6, label=f"{layer.name} {marker}")
    axes.set(xlim=limits[0], ylim=limits[1], xlabel="width in pixels of the net's input", ylabel="height")
    axes.set_title(
        "objects (grey), priors (dots)" + (", suggested priors (crosses)" if better else ""), fontsize="medium"
    )
