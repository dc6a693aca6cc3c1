"""The text format: what protobuf writes is read back, what people write is read, and each mistake is pointed at."""

from __future__ import annotations

import math

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prototxt import schema
from prototxt.errors import UserError
from prototxt.text import parse


def layer(text: str):
    return parse(text, schema.LayerParameter()).message


def net(text: str):
    return parse(text, schema.NetParameter()).message


# --- what protobuf writes ---------------------------------------------------------------------------------------

_floats = st.floats(width=32, allow_nan=False)
_SCALARS = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=9),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: _floats,
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_STRING: st.text(max_size=9),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
}


@st.composite
def messages(draw, cls, depth: int = 3):
    message = cls()
    fields = [f for f in cls.DESCRIPTOR.fields if depth or f.message_type is None]
    for field in draw(st.lists(st.sampled_from(fields), max_size=6, unique_by=lambda f: f.name)) if fields else ():
        present = getattr(message, field.name)
        repeated = hasattr(present, "extend")
        if field.message_type is not None:
            inner = schema.message_class(field.message_type.name)
            for _ in range(draw(st.integers(1, 3)) if repeated else 1):
                value = draw(messages(inner, depth - 1))
                present.append(value) if repeated else present.CopyFrom(value)
            continue
        one = st.sampled_from([v.number for v in field.enum_type.values]) if field.enum_type else _SCALARS[field.type]
        if repeated:
            present.extend(draw(st.lists(one, max_size=3)))
        else:
            setattr(message, field.name, draw(one))
    return message


roots = st.sampled_from([schema.NetParameter, schema.SolverParameter, schema.AnnotatedDatum, schema.LayerParameter])
many = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(roots.flatmap(messages), st.booleans(), st.booleans())
def test_what_protobuf_writes_is_read_back(message, one_line, utf8):
    text = text_format.MessageToString(message, as_one_line=one_line, as_utf8=utf8, use_short_repeated_primitives=utf8)
    assert parse(text, type(message)()).message == message


@many
@given(roots.flatmap(messages))
def test_every_top_level_line_is_found(message):
    text = text_format.MessageToString(message)
    parsed = parse(text, type(message)(), "f")
    lines = text.split("\n")
    for path, line in parsed.lines.items():
        name = path[-1] if isinstance(path[-1], str) else path[-2]
        assert lines[line - 1].strip().startswith(name)


# --- what people write ------------------------------------------------------------------------------------------

CLEAN = 'name: "a"\ntype: "b"\n'


@pytest.mark.parametrize(
    "text",
    [
        CLEAN,
        CLEAN.replace("\n", "\r\n"),
        "\ufeff" + CLEAN,
        '# comment\nname: "a" # "not" { this\n#\ntype:"b"#',
        "name: 'a' type: 'b'",
        "name: 'a'; type: 'b',",
        'name : "a"\n\ttype\n:\n"b"',
        'name: "" "a" type: "b"\n\n\'\'',
        r'name: "\x61" type: "\142"',
        r'name: "\u0061" type: "\U00000062"',
    ],
    ids=[
        "unix",
        "windows",
        "bom",
        "comments",
        "quotes",
        "separators",
        "blanks",
        "neighbours",
        "escapes",
        "unicode escapes",
    ],
)
def test_one_message_in_many_spellings(text):
    assert layer(text) == schema.LayerParameter(name="a", type="b")


def test_messages_in_braces_angles_and_lists():
    expected = schema.LayerParameter()
    expected.param.add(lr_mult=1)
    expected.param.add(lr_mult=2)
    for text in (
        "param { lr_mult: 1 } param: { lr_mult: 2 }",
        "param < lr_mult: 1 > param: <lr_mult: 2>",
        "param: [ { lr_mult: 1 }, < lr_mult: 2 > ]",
        "param{lr_mult:1}param{lr_mult:2}",
    ):
        assert layer(text) == expected


def test_lists_of_values():
    assert list(layer('bottom: ["a", "b" "c"] bottom: "d" bottom: []').bottom) == ["a", "bc", "d"]
    assert list(layer("loss_weight: [1, 2.5]loss_weight: 3").loss_weight) == [1, 2.5, 3]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("-1.5", -1.5),
        ("- 1.5", -1.5),
        ("1e-2", 0.01),
        ("1.f", 1.0),
        (".5F", 0.5),
        ("10", 10.0),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("Infinity", math.inf),
    ],
)
def test_floats(text, value):
    assert net(f"layer {{ power_param {{ shift: {text} }} }}").layer[0].power_param.shift == pytest.approx(value)


@pytest.mark.parametrize("text", ["nan", "-nan", "NaN"])
def test_nan(text):
    assert math.isnan(layer(f"power_param {{ shift: {text} }}").power_param.shift)


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("-3", -3), ("0x1F", 31), ("017", 15), ("-0x10", -16), ("0", 0)]
)
def test_integers(text, value):
    assert layer(f"concat_param {{ axis: {text} }}").concat_param.axis == value


@pytest.mark.parametrize(("text", "value"), [("true", True), ("t", True), ("1", True), ("False", False), ("0", False)])
def test_booleans(text, value):
    assert layer(f"scale_param {{ bias_term: {text} }}").scale_param.bias_term is value


def test_enums_by_name_and_number():
    assert layer("pooling_param { pool: AVE }").pooling_param.pool == 1
    assert layer("pooling_param { pool: 2 }").pooling_param.pool == 2


def test_strings_hold_other_alphabets_and_marks():
    text = 'name: "größe \\"中\\" {#}" '
    assert layer(text).name == 'größe "中" {#}'


def test_every_escape_of_cpp():
    assert layer(r"""name: "\a\b\f\n\r\t\v\\\'\"\?\0\x7e" """).name == "\a\b\f\n\r\t\v\\'\"?\0~"


def test_an_empty_file_and_an_empty_message():
    assert layer("") == schema.LayerParameter()
    assert layer("power_param {}").HasField("power_param")


def test_lines_of_fields():
    parsed = parse(
        'name: "n"\nlayer {\n  name: "a"\n  bottom: "x"\n  bottom: "y" }\nlayer {}', schema.NetParameter(), "f"
    )
    assert parsed.lines[("layer", 0, "bottom", 1)] == 5
    assert parsed.where("layer", 1) == "f:6"
    assert parsed.where("layer", 1, "convolution_param", "pad") == "f:6"
    assert parsed.where("state") == "f"


# --- mistakes ---------------------------------------------------------------------------------------------------

POOL = "layer { pooling_param { %s } }"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layer {\n  convolution_param {\n\tnum_outputs: 3 }\n}",
            'f:3:2: ConvolutionParameter has no field "num_outputs" (did you mean "num_output"?)\n'
            "     num_outputs: 3 }\n"
            "     ^",
        ),
        (
            'layer { name: "x" }\r\n  lyer { }\r\n',
            'f:2:3: NetParameter has no field "lyer" (did you mean "layer"?)\n      lyer { }\n      ^',
        ),
        ('name: "a" name: "b"', 'f:1:11: "name" is given twice, first on line 1; it can have one value'),
        ('name "a"', 'f:1:6: "name" needs a value; expected "name: VALUE"'),
        ("name: a", 'f:1:7: "name" cannot be a; expected a string in quotes'),
        ("name: }", 'f:1:7: "name" cannot be }; expected a string in quotes'),
        ("name:", 'f:1:6: "name" cannot be empty; expected a string in quotes'),
        ('name: "a', "f:1:7: this string is not closed on its line"),
        ('name: "a\n"', "f:1:7: this string is not closed on its line"),
        ("layer: 3", 'f:1:8: "layer" is a message; expected "{" after its name'),
        ("layer", 'f:1:6: "layer" is a message; expected "{" after its name'),
        ("layer {\n\n name: 'x'", 'f:3:11: the file ends inside layer opened on line 1; expected "}"'),
        ("state <\n level: 1", 'f:2:10: the file ends inside state opened on line 1; expected ">"'),
        ("layer { name: 'x' >", "f:1:19: unexpected '>'; expected a field of LayerParameter"),
        ("}", "f:1:1: unexpected '}'; expected a field of NetParameter"),
        ('"name"', "f:1:1: unexpected '\"name\"'; expected a field of NetParameter"),
        ("input_dim: [1 2]", 'f:1:15: unexpected \'2\' in the list of input_dim; expected "," or "]"'),
        ("input_dim: [1", 'f:1:14: unexpected end of file in the list of input_dim; expected "," or "]"'),
        ("input_dim: x", 'f:1:12: "input_dim" cannot be "x"; expected a whole number'),
        ("input_dim: 1.5", 'f:1:12: "input_dim" cannot be "1.5"; expected a whole number'),
        ("input_dim: 08", 'f:1:12: "input_dim" cannot be "08"; expected a whole number'),
        ("input_dim: 1_000", 'f:1:12: "input_dim" cannot be "1_000"; expected a whole number'),
        ("input_dim: 0b11", 'f:1:12: "input_dim" cannot be "0b11"; expected a whole number'),
        (
            "input_dim: 2147483648",
            'f:1:12: "input_dim" cannot be 2147483648; expected a number from -2147483648 to 2147483647',
        ),
        ("input_dim: {", "f:1:12: unexpected '{'; expected a value of \"input_dim\""),
        ("input_dim:", 'f:1:11: unexpected end of file; expected a value of "input_dim"'),
        (POOL % "stride: -1", 'f:1:33: "stride" cannot be -1; expected a number from 0 to 4294967295'),
        (
            POOL % "pool: AVG",
            'f:1:31: "pool" cannot be "AVG" (did you mean "AVE"?); expected one of MAX, AVE, STOCHASTIC',
        ),
        (POOL % "pool: 7", 'f:1:31: "pool" cannot be "7"; expected one of MAX, AVE, STOCHASTIC'),
        (POOL % "pool: -1", 'f:1:31: "pool" cannot be "-1"; expected one of MAX, AVE, STOCHASTIC'),
        ("debug_info: yes", 'f:1:13: "debug_info" cannot be "yes"; expected true or false'),
        ("layer { loss_weight: 1.2.3 }", 'f:1:22: "loss_weight" cannot be "1.2.3"; expected a number'),
        ("layer { loss_weight: 1_0 }", 'f:1:22: "loss_weight" cannot be "1_0"; expected a number'),
        ("layer { loss_weight: 1ff }", 'f:1:22: "loss_weight" cannot be "1ff"; expected a number'),
        (r'name: "a\qb"', r"f:1:7: \q is not an escape of strings"),
        (r'name: "a\777"', r"f:1:7: \777 is not an escape of strings"),
        (r'name: "\ud800"', r"f:1:7: \ud800 is not an escape of strings"),
        (r'name: "\Uffffffff"', r"f:1:7: \Uffffffff is not an escape of strings"),
        ("name: 'a\\", "f:1:7: this string is not closed on its line"),
        (r"name: '\xff'", 'f:1:7: "name" is not UTF-8 text'),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(UserError) as caught:
        parse(text, schema.NetParameter(), "f")
    assert str(caught.value).startswith(message)
    assert str(caught.value).count("\n") == 2  # the sentence, the line, the mark below it


FRAGMENTS = ["layer", "name", "pool", "include", "{", "}", "<", ">", "[", "]", ":", ",", ";", "#", "\n", " ", '"', "'"]
FRAGMENTS += ["\\", "\\x", "\\u12", "0x", "-", "1e999", "1e50", "nan", "08", "é", "\0", "input_dim", "loss_weight", "A"]


@many
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_nothing_but_a_user_error_whatever_the_text(text):
    try:
        parse(text, schema.NetParameter())
    except UserError as error:
        assert str(error).startswith("<text>:")


def test_long_lines_are_cut_in_the_message():
    text = f"name: '{'x' * 400}' nam: 3"
    with pytest.raises(UserError) as caught:
        parse(text, schema.NetParameter(), "f")
    found, line, mark = str(caught.value).split("\n")
    assert found.startswith("f:1:410: ")
    assert "nam: 3" in line and line.index("nam") == mark.index("^") and len(line) < 220
