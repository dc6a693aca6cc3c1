"""The report of a comparison as one HTML page that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --ok: #2a8; --known: #c80; --above: #d33; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.verdict { padding: .6rem 1rem; border-left: .5rem solid var(--ok); background: #8881; }
.verdict.above { border-color: var(--above); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
td.ok { color: var(--ok); } td.known { color: var(--known); } td.above { color: var(--above); font-weight: 600; }
td.bar { min-width: 8rem; background: linear-gradient(#48c6 0 0) no-repeat 0 50% / var(--part) 60%; }
code { font-size: .85em; overflow-wrap: anywhere; }
"""
_LOWEST, _HIGHEST = 1e-8, 1.0  # ends of the bars' logarithmic scale


def page(report: Mapping[str, Any]) -> str:
    """The page of `converters.proof.report.as_report`."""
    name = report["net"]["name"] or report["files"][0]["path"]
    parts = [
        f"<h1>{escape(name)}: the same net everywhere?</h1>",
        _verdict(report),
        _section("Outputs", _table(_OUTPUTS, map(_output, report["outputs"]))),
        _section("Inputs", _table(_INPUTS, _inputs(report))),
        _section("Layers", _layers(report)),
        _section("Known misreadings", _list(report["known misreadings"])),
        _section("Notes", _list(report["notes"])),
        _section("Backends", _table(_BACKENDS, map(_backend, report["backends"]))),
        _section("Net", _facts({**_net(report), **report["onnx"]})),
        _section("Files", _table(("", "File", "Bytes", "SHA-256"), map(_file, report["files"]))),
        _section("Settings", _facts({**report["settings"], **report["machine"], "made": report["made"]})),
    ]
    title = f"netgen verify: {escape(name)}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>\n{body}" if body else ""


def _verdict(report: Mapping[str, Any]) -> str:
    wrong = [row for row in report["outputs"] if row["verdict"] == "above"]
    first = report["first layers apart"]
    lines = [f"{backend} first differs in layer {one['layer']}" for backend, one in first.items()]
    if wrong:
        found = "; ".join(dict.fromkeys(f"{row['value']} in {row['backend']}" for row in wrong))
        lines.insert(0, f"Outputs differ by more than the tolerance: {found}")
    if not lines:
        return '<p class="verdict">Every output is the same, within the tolerance.</p>'
    return f'<p class="verdict above">{"<br>".join(map(escape, lines))}</p>'


_OUTPUTS = ("Output", "Backend", "Compared", "Values or boxes", "Scores", "Unpaired", "Worst input", "")
_BACKENDS = ("Backend", "Version", "Precision", "Tolerance", "Seconds", "")


def _output(row: Mapping[str, Any]) -> list[str]:
    is_detections = row["scores"] is not None
    return [
        _cell(row["value"]),
        _cell(row["backend"]),
        _cell(f"{row['compared']:,} {'detections' if is_detections else 'values'}", "number"),
        _cell(number(row["difference"]), "number"),
        _cell(number(row["scores"]) if is_detections else "", "number"),
        _cell(row["unpaired"] if is_detections else "", "number"),
        _cell(row["input"]),
        _cell(row["reason"] or row["verdict"], row["verdict"]),
    ]


_INPUTS = ("Input", "Sizes", "Backend", "Largest difference", "in", "")


def _inputs(report: Mapping[str, Any]) -> Iterable[list[str]]:
    """The worst output of each input in each backend."""
    sizes = {one["name"]: ", ".join("×".join(map(str, s)) for s in one["shapes"].values()) for one in report["inputs"]}
    for row in report["worst of each input"]:
        yield [
            _cell(row["input"]),
            _cell(sizes.get(row["input"], "")),
            _cell(row["backend"]),
            _cell(number(largest(row)), "number"),
            _cell(row["value"]),
            _cell(row["reason"] or row["verdict"], row["verdict"]),
        ]


def largest(row: Mapping[str, Any]) -> float:
    """The largest difference of values, boxes and scores."""
    return max(float(row["difference"]), float(row["scores"] or 0))


def _layers(report: Mapping[str, Any]) -> str:
    """A row for each value of the net, a column for each backend; the bars' scale is logarithmic."""
    shown = {row["backend"] for row in report["layers"]}
    backends = [one["name"] for one in report["backends"] if one["name"] in shown]
    values: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in report["layers"]:
        values.setdefault(row["value"], {})[row["backend"]] = row
    rows = []
    for value, found in values.items():
        any_row = next(iter(found.values()))
        cells = [_cell(value), _cell(any_row["layer"]), _cell(any_row["type"])]
        rows.append(cells + [_bar(found[name]) if name in found else _cell("") for name in backends])
    return _table(("Value", "Layer", "Type", *backends), rows) if rows else ""


def _bar(row: Mapping[str, Any]) -> str:
    apart = largest(row)
    part = 100 * math.log(min(max(apart, _LOWEST), _HIGHEST) / _LOWEST) / math.log(_HIGHEST / _LOWEST)
    title = f' title="{escape(row["reason"])}"' if row["reason"] else ""
    return f'<td class="number bar {row["verdict"]}" style="--part: {part:.0f}%"{title}>{number(apart)}</td>'


def number(value: float | str) -> str:
    """A difference for people: `8.2e-07`."""
    return f"{float(value):.1e}"


def _backend(one: Mapping[str, Any]) -> list[str]:
    if "skipped" in one:
        return [_cell(one["name"]), *[_cell("")] * 4, _cell(f"skipped: {one['skipped']}")]
    cells = [
        _cell(one["name"]),
        _cell(one["version"]),
        _cell(one["precision"]),
        _cell(f"{one['tolerance']:g}", "number"),
    ]
    return [*cells, _cell(f"{one['seconds']:.2f}", "number"), _cell("the reference" if one["reference"] else "")]


def _net(report: Mapping[str, Any]) -> dict[str, Any]:
    net = report["net"]
    shapes = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in net["inputs"].items())
    return {"name": net["name"], "layers": net["layers"], "inputs": shapes, "outputs": ", ".join(net["outputs"])}


def _file(one: Mapping[str, Any]) -> list[str]:
    return [
        _cell(one["what"]),
        _cell(one["path"]),
        _cell(f"{one['bytes']:,}", "number"),
        f"<td><code>{one['sha256']}</code></td>",
    ]


def _facts(facts: Mapping[str, Any]) -> str:
    return _table((), [[f"<th>{escape(str(name))}</th>", _cell(value)] for name, value in facts.items()])


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _cell(value: object, kind: str = "") -> str:
    return f"<td{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(str(value))}</td>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = f"<tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>" if heads else ""
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{top}\n{body}</table></div>'
