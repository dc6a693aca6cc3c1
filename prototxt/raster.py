"""PNG from SVG."""

from __future__ import annotations

from pathlib import Path

from prototxt.errors import UserError


def png(svg: str, scale: float = 1.0) -> bytes:
    """Render the text of an SVG file with resvg, in the font that Matplotlib brings along.

    Args:
        scale: pixels of the PNG for each pixel of the SVG.

    Raises:
        UserError: the extra is not installed, or the picture would be too large.
    """
    try:
        import matplotlib
        import resvg_py
    except ModuleNotFoundError as error:
        raise UserError(
            f"PNG pictures need {error.name}, which is not installed",
            fix="pip install '.[draw]', or name the file *.svg",
        ) from error
    fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
    try:
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                zoom=scale,
                skip_system_fonts=True,
                font_files=[str(fonts / name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")],
            )
        )
    except ValueError as error:
        raise UserError(f"the picture cannot be rendered at scale {scale:g}: {error}", fix="lower --scale") from error
