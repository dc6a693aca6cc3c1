"""Pascal VOC's lists and XMLs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoset.annotation import Object
from annoset.formats.voc import quick_annotation, read_annotation, read_split
from prototxt.errors import UserError

XML = """<annotation>
  <filename>other.jpg</filename>
  <size><width>60</width><height>40</height><depth>3</depth></size>
  <object>
    <name>cat</name>
    <difficult>1</difficult>
    <bndbox>
      <xmin>1</xmin>
      <ymin>2</ymin>
      <xmax>30</xmax>
      <ymax>40</ymax>
    </bndbox>
  </object>
  <object>
    <name> dog </name>
    <bndbox><ymax>8</ymax><ymin>4.25</ymin><xmax>60</xmax><xmin>45.7</xmin></bndbox>
    <part><name>head</name><bndbox><xmin>-1</xmin></bndbox></part>
    <difficult>0</difficult>
  </object>
</annotation>
"""


def read(tmp_path: Path, text: str | bytes):
    path = tmp_path / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotation(path, tmp_path / "a.jpg", "VOC/JPEGImages/a.jpg")


def outcome(read, path: Path):
    """What a reader makes of a file: height, width, objects and their lines, or what it says is wrong."""
    try:
        annotation = read(path, path, "a")
    except UserError as error:
        return str(error)
    lines = annotation.lines() if annotation.lines else [one.line for one in annotation.objects]
    return annotation.height, annotation.width, annotation.objects, lines


PARTS = ["<part><name>a</name></part>", "<!-- a -->", "<name>b</name>", "&amp;", "<difficult>1</difficult>", "é", " 3 "]


@given(st.data())
def test_the_quick_reader_agrees_with_the_careful_one(tmp_path_factory, data):
    """On XMLs with something put in or left out, anywhere."""
    text, path = XML, tmp_path_factory.mktemp("xml") / "a.xml"
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.sampled_from([0, 0, 0, 1, 5, 20]))
        text = text[:start] + data.draw(st.sampled_from(["", *PARTS])) + text[end:]
    path.write_text(text, "utf-8")
    assert outcome(quick_annotation, path) == outcome(read_annotation, path)


ODD = [
    ("<name>cat</name>", "<name>c<!-- -->at</name>"),
    ("<name>cat</name>", "<name><![CDATA[a < b]]></name>"),
    ("<name>cat</name>", "<name>a<b/>c</name>"),
    ("<name>cat</name>", "<name>cat</name><name>dog</name>"),
    ("<xmin>1</xmin>", "<xmin>1</xmin><xmin>2</xmin>"),
    ("<difficult>1<", "<difficult> 1 <"),
    ("<difficult>1<", "<difficult><"),
    ("<width>60<", "<width>60.0<"),
    ("<width>60<", "<width>1e2<"),
    ("<xmin>1<", "<xmin>1_0<"),
    ("<xmin>1<", "<xmin>inf<"),
    ("<annotation>", "<annotation xmlns='http://a'>"),
    ("<object>", "<object id='3'>"),
]


@pytest.mark.parametrize(("old", "new"), ODD)
def test_the_quick_reader_agrees_on_what_is_odd(tmp_path, old, new):
    path = tmp_path / "a.xml"
    path.write_text(XML.replace(old, new, 1))
    assert outcome(quick_annotation, path) == outcome(read_annotation, path)


def message(tmp_path: Path, old: str, new: str) -> str:
    assert old in XML
    with pytest.raises(UserError) as error:
        read(tmp_path, XML.replace(old, new, 1))
    return str(error.value).replace(f"{tmp_path}/", "")


def test_what_an_xml_says(tmp_path):
    annotation = read(tmp_path, XML)
    assert (annotation.height, annotation.width) == (40, 60)
    assert annotation.objects == (Object("cat", 1, 2, 30, 40, True), Object("dog", 45.7, 4.25, 60, 8, False))
    assert [one.line for one in annotation.objects] == [7, 16]
    assert annotation.image == tmp_path / "a.jpg" and annotation.name == "VOC/JPEGImages/a.jpg"


def test_difficult_counts_wherever_it_stands(tmp_path):
    assert read(tmp_path, XML.replace("<difficult>0", "<difficult>1")).objects[1].difficult


def test_an_image_without_objects(tmp_path):
    size = "<size><width>60</width><height>40</height></size>"
    assert read(tmp_path, f"<annotation>{size}</annotation>").objects == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings_and_byte_order_marks(tmp_path, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>\r\n{XML.replace("cat", "Kätzchen")}'
    assert read(tmp_path, text.encode(encoding)).objects[0].name == "Kätzchen"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("</bndbox>\n  </object>", "</object>", "a.xml:12:7: broken XML: mismatched tag\n    </object>"),
        ("</annotation>\n", "", "a.xml:20:1: broken XML: no element found"),
        (XML, "", "a.xml:1:1: broken XML: no element found"),
        (XML, "\x89PNG", "a.xml:1:1: broken XML: not well-formed (invalid token)"),
        (XML, '<?xml version="1.0" encoding="klingon"?><annotation/>', "a.xml:1:31: broken XML: unknown encoding"),
        (XML, "<html>\n</html>", "a.xml:1: the XML's root is <html>; expected <annotation>"),
        (
            "<size><width>60</width><height>40</height><depth>3</depth></size>",
            "",
            "a.xml:1: the image has no <size>; expected <size> with <height>, <width>",
        ),
        ("<width>60</width>", "", "a.xml:3: the image: <size> has no <width>"),
        ("<width>60<", "<width>0<", "a.xml:3: the width of the image is 0; expected a whole number above 0"),
        ("<height>40<", "<height>4.5<", "a.xml:3: the height of the image is 4.5; expected a whole number above 0"),
        ("<height>40<", "<height>tall<", 'a.xml:3: the image: <height> is "tall"; expected a number'),
        ("    <name>cat</name>\n", "", "a.xml:4: object 1 has no <name>"),
        ("<name>cat<", "<name> <", "a.xml:5: object 1 has no <name>"),
        (">1</difficult>", ">yes</difficult>", 'a.xml:6: object 1: <difficult> is "yes"; expected 0 or 1'),
        (
            "<bndbox><ymax>8</ymax><ymin>4.25</ymin><xmax>60</xmax><xmin>45.7</xmin></bndbox>",
            "",
            "a.xml:14: object 2 has no <bndbox>; expected <bndbox> with <xmin>, <ymin>, <xmax>, <ymax>",
        ),
        ("<ymin>2</ymin>", "", "a.xml:7: object 1: <bndbox> has no <ymin>"),
        ("<xmax>30<", "<xmax>3O<", 'a.xml:10: object 1: <xmax> is "3O"; expected a number'),
        ("<xmax>30<", "<xmax>nan<", 'a.xml:10: object 1: <xmax> is "nan"; expected a number'),
    ],
)
def test_mistakes_in_an_xml(tmp_path, old, new, expected):
    assert message(tmp_path, old, new).startswith(expected)


def test_all_mistakes_of_an_xml_are_told(tmp_path):
    with pytest.raises(UserError) as error:
        read(
            tmp_path,
            XML.replace("<name>cat</name>", "").replace("<xmax>60", "<xmax>?").replace("<width>60", "<width>-1"),
        )
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["3", "4", "16"]


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem, suffix in (("a", ".jpg"), ("b c", ".JPEG"), ("d", ".png")):
        (root / "Annotations" / f"{stem}.xml").write_text(XML)
        (root / "JPEGImages" / f"{stem}{suffix}").write_bytes(b"")
    (root / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbfa\r\nb c\r\n\r\nd\r\n")
    return root


def test_a_list_of_images(voc, monkeypatch):
    monkeypatch.chdir(voc)
    annotations = [entry.annotation() for entry in read_split(".", "train")]
    assert [one.name for one in annotations] == [
        f"VOC2007/JPEGImages/{name}" for name in ("a.jpg", "b c.JPEG", "d.png")
    ]
    assert annotations[1].image.is_file() and annotations[2].path == Path("Annotations/d.xml")


def test_images_and_annotations_that_are_missing(voc):
    main = voc / "ImageSets" / "Main"
    (voc / "JPEGImages" / "a.jpg").unlink()
    (voc / "Annotations" / "d.xml").unlink()
    entries = read_split(voc, "train")
    with pytest.raises(UserError) as error:
        entries[0].annotation()
    assert str(error.value) == f'{main}/train.txt:1: "a" has no image; expected {voc}/JPEGImages/a.jpg (or .jpeg, .png)'
    with pytest.raises(UserError) as error:
        entries[2].annotation()
    assert str(error.value) == (
        f'{main}/train.txt:4: "d" has no annotation; expected {voc}/Annotations/d.xml\n'
        "  fix: if this is a test set without annotations, give --unlabelled"
    )


def test_the_list_of_one_class_is_recognised(voc):
    (voc / "ImageSets/Main/cat_train.txt").write_text("a  1\nd -1\n")
    with pytest.raises(UserError, match="this is the list of one class") as error:
        read_split(voc, "cat_train")[1].annotation()
    assert error.value.where.endswith("cat_train.txt:2")


@pytest.mark.parametrize("folder", ["", "Annotations", "JPEGImages", "ImageSets/Main"])
def test_not_in_vocs_layout(voc, folder):
    missing = voc / folder
    missing.rename(voc.parent / "elsewhere")
    with pytest.raises(UserError, match="Annotations, JPEGImages and ImageSets/Main in one folder") as error:
        read_split(voc, "train")
    assert error.value.found == f"there is no folder {missing}"


def test_lists_that_are_missing_empty_or_no_text(voc):
    main = voc / "ImageSets" / "Main"
    (main / "val.txt").write_text("\n \n")
    (main / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError) as error:
        read_split(voc, "trian")
    assert str(error.value) == (
        f'{main}: there is no list of images called "trian" (did you mean "train"?); expected one of bad, train, val'
    )
    with pytest.raises(UserError, match=r"val\.txt: the list of images is empty"):
        read_split(voc, "val")
    with pytest.raises(UserError, match=r"bad\.txt: the list of images is not UTF-8 text"):
        read_split(voc, "bad")
