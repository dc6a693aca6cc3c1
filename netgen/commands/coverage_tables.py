"""The tables of what prior boxes cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]
_MAY_WRAP = ("", "Ratios")  # columns that a narrow terminal breaks


def print_report(report: dict[str, Any]) -> None:
    """Print the report of `netgen priors`; where it has a suggestion, its shares stand behind arrows."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe has no width; names stay whole there
        console.width = 1000
    console.print(_heading(report), soft_wrap=True)
    now, suggestion = report["coverage"], report["suggestion"]
    better = suggestion["coverage"] if suggestion else None
    console.print(_shares(now, better))
    console.print(_layers(now["layers"], better["layers"] if better else None))
    console.print(_parameters("Their priors, in pixels", now["layers"]))
    if suggestion:
        console.print(_parameters("Their priors as suggested", better["layers"]))
        console.print("The sizes suggested, for the train, test and deploy net alike:\n", soft_wrap=True)
        console.print(suggestion["prototxt"], soft_wrap=True, end="")


def _heading(report: dict[str, Any]) -> str:
    data = report["annotations"]
    height, width = report["input_hw"]
    layers = _count(len(report["coverage"]["layers"]), "layer")
    lines = [
        f"{report['net']}: {_count(report['priors'], 'prior box', 'prior boxes')} in {layers}, input {height}×{width}",
        f"{data['path']}: {_count(data['boxes'], 'object')} in {_count(data['images'], 'image')}",
    ]
    if data["difficult"]:
        treated = "counted" if data["difficult_counted"] else "left out"
        lines.append(f"    {data['difficult']:,} marked difficult, {treated}")
    if data["without_area"]:
        lines.append(f"    {data['without_area']:,} more without width or height: no prior can cover them")
    if data["labelmap"]:
        lines.append(f"    classes named by {data['labelmap']}")
    return "\n".join(lines) + "\n"


def _shares(now: dict[str, Any], better: dict[str, Any] | None) -> Table:
    """The rows of the classes, of the sizes and of all objects."""
    from converters.coverage import SIZES

    table = _table("Objects that some prior covers, by IoU", ("",), ("Objects", *_thresholds(), "Mean"))
    bounds = {name: f"{name} ({_bound(low, high)})" for name, low, high in SIZES}
    groups = [
        [(one["name"], one) for one in now["classes"]],
        [(bounds[one["name"]], one) for one in now["sizes"]],
        [("all", now["all"])],
    ]
    after = [better["classes"], better["sizes"], [better["all"]]] if better else groups
    for group, others in zip(groups, after):
        for (name, one), other in zip(group, others):
            table.add_row(name, f"{one['boxes']:,}", *_values(one, other if better else None))
        table.add_section()
    return table


def _layers(now: list[Row], better: list[Row] | None) -> Table:
    table = _table("Objects that each layer alone covers", ("",), ("Best here", *_thresholds(), "Mean"))
    for one, other in zip(now, better or now):
        here = [f"{each['best_here']:,}" for each in (one, other)]
        table.add_row(one["name"], " → ".join(here) if better else here[0], *_values(one, other if better else None))
    return table


def _parameters(title: str, rows: list[Row]) -> Table:
    table = _table(title, ("", "Map", "Step", "Min", "Max", "Ratios"), ("Priors",))
    for row in rows:
        table.add_row(
            row["name"],
            "×".join(map(str, row["map_hw"])),
            "×".join(f"{step:.3g}" for step in dict.fromkeys(row["step_hw"])),
            *(", ".join(map(str, row[name])) for name in ("min_sizes", "max_sizes")),
            ", ".join(f"{ratio:.2g}" for ratio in row["ratios"]),
            f"{row['priors']:,}",
        )
    return table


def _table(title: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in texts:
        table.add_column(name, overflow="fold", no_wrap=name not in _MAY_WRAP)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _thresholds() -> list[str]:
    from converters.coverage import THRESHOLDS

    return [f"% ≥ {threshold}" for threshold in THRESHOLDS]


def _values(row: Row, better: Row | None) -> list[str]:
    """The shares at each threshold and the mean IoU; `better` behind arrows."""
    befores, afters = (
        [*(_percent(share) for share in each["covered"].values()), _iou(each["mean_iou"])] if each else []
        for each in (row, better)
    )
    if row["boxes"] == 0 or not afters:
        return befores
    return [f"{before} → {after}" for before, after in zip(befores, afters)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _iou(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _bound(low: float, high: float) -> str:
    """Bounds of an area as people write them: `32²–96²`."""
    ends = [f"{value**0.5:.0f}²" for value in (low, high) if 0 < value < float("inf")]
    return "–".join(ends) if len(ends) == 2 else f"{'from' if low else 'below'} {ends[0]}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
