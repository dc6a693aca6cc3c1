"""Boxes against the image they are of."""

from __future__ import annotations

from pathlib import Path

import pytest

from annoset.annotation import Annotation, Object


def annotation(*corners: float, name: str = "cat") -> Annotation:
    one = Object(name, *corners, line=7)
    return Annotation("VOC/JPEGImages/a.jpg", Path("a.jpg"), Path("a.xml"), 40, 60, (Object("dog", 1, 1, 2, 2), one))


@pytest.mark.parametrize("corners", [(0, 0, 60, 40), (1, 1, 60, 40), (5, 6, 5, 6), (0.5, 0.5, 59.5, 39.5)])
def test_legal_boxes(corners):
    assert annotation(*corners).mistakes() == []


@pytest.mark.parametrize("corners", [(-1, 0, 9, 9), (0, -0.5, 9, 9), (0, 0, 61, 9), (0, 0, 9, 40.5), (70, 0, 80, 9)])
def test_box_outside_the_image(corners):
    (error,) = annotation(*corners).mistakes()
    box = ", ".join(f"{corner:g}" for corner in corners)
    assert str(error) == (
        f'a.xml:7: object 2, "cat": the box ({box}) reaches outside the image of 60 x 40 pixels (width x height);'
        " expected 0 <= xmin <= xmax <= 60 and 0 <= ymin <= ymax <= 40\n"
        "  fix: correct the box, or cut all boxes at the border with --clip-boxes"
    )


@pytest.mark.parametrize("corners", [(9, 1, 8, 2), (1, 9, 2, 8)])
def test_reversed_corners(corners):
    (error,) = annotation(*corners).mistakes()
    assert error.where == "a.xml:7" and error.found.endswith("has reversed corners")


def test_unknown_class_names_the_nearest():
    (error,) = annotation(1, 1, 2, 2, name="catt").mistakes({"cat", "dog"})
    assert error.where == "a.xml:7"
    assert error.found == 'object 2 has the unknown class "catt" (did you mean "cat"?)'
    assert error.expected == "one of cat, dog"


def test_every_mistake_is_told():
    assert len(annotation(-1, 1, 2, 2, name="cow").mistakes({"dog"})) == 2


def test_clipping_cuts_at_the_border():
    assert annotation(-5, 2, 70, 45).clipped().objects[1].corners == (0, 2, 60, 40)
    assert annotation(3, 2, 8, 9).clipped() == annotation(3, 2, 8, 9)


@pytest.mark.parametrize("corners", [(61, 2, 70, 9), (-9, 2, -1, 9), (1, 40, 2, 50)])
def test_clipping_leaves_a_box_wholly_outside_to_be_refused(corners):
    assert len(annotation(*corners).clipped().mistakes()) == 1
