"""The classes of a data set, gathered without reading every annotation: the same as if each were read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annoset.formats import plain
from annoset.formats.voc import Entry, names_in, read_split
from annoset.writing.record import Gatherer, Labeller
from prototxt.errors import UserError
from tests.annoset.test_creation import IMAGE, Voc, encode, run

BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"


def xml(*objects: str) -> str:
    size = "<size><width>60</width><height>40</height></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def thing(name: str, more: str = "") -> str:
    return f"<object><name>{name}</name>{more}{BOX}</object>"


ODD = {
    "two": (xml(thing("cat"), thing("dog")), {"cat", "dog"}),
    "spaces": (xml(thing(" cat\t")), set()),
    "blanks": (xml(thing(" cat ")), {"cat"}),
    "a part": (xml(thing("cat", "<part><name>head</name></part>")), {"cat", "head"}),
    "a comment": (xml("<!-- <name>dog</name> -->", thing("cat")), set()),
    "a reference": (xml(thing("c&#97;t")), set()),
    "CDATA": (xml(thing("<![CDATA[cat]]>")), set()),
    "an entity": ('<!DOCTYPE a [<!ENTITY x "cat">]>' + xml(thing("&x;")), set()),
    "an attribute": (xml(thing("cat").replace("<name>", '<name of="it">')), set()),
    "a space in the tag": (xml(thing("cat").replace("<name>", "<name >")), set()),
    "another script": (xml(thing("кот")), set()),
    "none": (xml(), set()),
    "an element in it": (xml(thing("<b>cat</b>")), set()),
    "another tag": (xml(thing("cat"), "<names>x</names>"), set()),
}


@pytest.mark.parametrize("name", ODD)
def test_names(tmp_path, name):
    text, names = ODD[name]
    (tmp_path / "a.xml").write_text(text, "utf-8")
    assert names_in(tmp_path / "a.xml") == names


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_names_in_wide_characters(tmp_path, encoding):
    (tmp_path / "a.xml").write_bytes(xml(thing("cat")).encode(encoding))
    assert names_in(tmp_path / "a.xml") == set()


def test_names_of_nothing(tmp_path):
    assert names_in(tmp_path / "a.xml") == set()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["cat", "dog", " cat", "bird", "c&#97;t", "кот", "head"]), max_size=3)))
def test_the_same_classes(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("voc")
    data = Voc(root / "data")
    for number, names in enumerate(files):
        data.add(f"{number}.jpg", encode(".jpg", IMAGE))
        part = "<part><name>head</name></part>"
        (data.root / f"Annotations/{number}.xml").write_text(xml(*(thing(name, part) for name in names)), "utf-8")
    sources = read_split(data.root, "train") if files else []
    label, gather = Labeller(None), Gatherer(Labeller(None))
    wanted = [set(one.classes) for one in map(label, sources) if not isinstance(one, UserError)]
    found = [one for one in map(gather, sources) if not isinstance(one, UserError)]
    assert set().union(*found) == set().union(*wanted)


def test_what_can_have_no_new_class_is_not_read(tmp_path, monkeypatch):
    data = Voc(tmp_path / "data")
    for number in range(5):
        data.add(f"{number}.jpg", encode(".jpg", IMAGE))
    read: list[str] = []
    whole = Entry.annotation
    monkeypatch.setattr(Entry, "annotation", lambda self: (read.append(self.stem), whole(self))[1])
    gather = Gatherer(Labeller(None))
    assert [gather(one) for one in read_split(data.root, "train")] == [{"cat"}, set(), set(), set(), set()]
    assert read == ["0"]


def test_a_mistake_where_no_class_is_new_is_told_all_the_same(tmp_path):
    data = Voc(tmp_path / "data").add("a.jpg", encode(".jpg", IMAGE))
    data.add("b.jpg", encode(".jpg", IMAGE), (0, 1, 1, 30, 300))
    with pytest.raises(UserError, match=r"b\.xml:\d+") as error:
        run(data.root, "--split", "train", "-o", tmp_path / "out")
    assert "nothing was written" in str(error.value) and not (tmp_path / "out").exists()
    text = run(data.root, "--split", "train", "-o", tmp_path / "out", "--skip-bad")
    assert "1 image, 1 box\n" in text


def test_lists(tmp_path):
    (tmp_path / "a b.xml").write_text(xml(thing("cat")))
    for line, kind, names in (
        ("a.jpg\ta b.xml", "xml", {"cat"}),
        ("a.jpg\ta b.xml", "json", set()),
        ("", "xml", set()),
    ):
        assert plain.Entry(Path(tmp_path), line, "list:1", kind, None, False).names() == names


def test_classes_by_the_alphabet_from_the_last_image_too(tmp_path):
    data = Voc(tmp_path / "data")
    for number in range(40):
        data.add(f"{number}.jpg", encode(".jpg", IMAGE))
    last = data.root / "Annotations/39.xml"
    last.write_text(last.read_text().replace("cat", "ant"))
    text = run(data.root, "--split", "train", "-o", tmp_path / "out")
    assert "40 images" in text
    labelmap = (tmp_path / "labelmap.prototxt").read_text()
    assert labelmap.index('"ant"') < labelmap.index('"cat"')
