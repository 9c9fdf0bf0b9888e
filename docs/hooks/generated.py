"""What pages of the documentation take from the code and from results while the site is built: it cannot go stale.

    <!-- fields: quantize rounding damping -->      a table of these fields of a step, or of all of them
    <!-- measured: bert_int8 bert_int4 -->          rows of the reference results, each with its verdict and its file
    <!-- measured: test-split/bert_int8 -->         the same of the labelled test split
    <!-- measured: amx/validation/bert_int8 -->     the same of a CPU with a matrix unit, where bf16 is native
    <!-- measured: gpu/WORKLOAD/graphs_bf16 -->     the same of a GPU's session, with energy
    <!-- session: minilm-sst2 -->                  the table of a session: every recipe, the references, the verdicts
    <!-- batches: bert_int8 -->                     how much of its answers depends on the batch size
    <!-- recipe: bert_int8 -->                      a shipped recipe, as it is written
    <!-- recipes: stdlib-bert -->                   all shipped recipes of a workload, and what to expect of them
    <!-- formats: int8 fp8 -->                      which library executes a format where
    <!-- commands -->                               every command with its options
    <!-- picture: verdicts Words below it. -->      a picture drawn from the reference results
    <!-- picture: rooms Words below it. -->         the rooms of the package, drawn from its imports

A marker that names what does not exist stops the build.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import drawn
import rooms
from mkdocs.structure.files import File, Files

import recipes as shipped
from compress.analysis import reading as result_files
from compress.analysis.among import all_among, read_among
from compress.analysis.pareto import group
from compress.analysis.verdict import MEASURED
from compress.base.config import Config
from compress.data.dataset import Csv, Dataset
from compress.data.point import OperatingPoint
from compress.data.workload import Workload
from compress.records.result import Point, Result
from compress.report import listing, text
from compress.report.charts import write_chart
from compress.report.table import labels, rows
from compress.spec.formats import ROWS
from compress.spec.measure import Measure
from compress.spec.recipe import Recipe
from compress.spec.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
CONFIGURATIONS: dict[str, type[Config]] = {
    **{step.model_fields["method"].default: step for step in STEPS},
    "recipe": Recipe,
    "measure": Measure,
    "workload": Workload,
    "dataset": Dataset,
    "csv": Csv,
    "point": OperatingPoint,
}
SHOWN = ("recipe", "accuracy", "difference", "latency / ref", "energy / ref", "energy", "stored", "kernels", "verdict")
"""Columns of a session's table on a page; the others are in its pareto.md."""
MARKER = re.compile(r"^<!-- (\w+)(?:: (.*?))? -->$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """The files of the site, with the pictures among them."""
    files.append(File.generated(config, "pictures/pareto.png", abs_src_path=str(REFERENCE / "pareto.png")))
    for name, draw in drawn.PICTURES.items():
        files.append(File.generated(config, f"pictures/{name}.svg", content=draw(_judged("minilm-sst2"))))
    files.append(File.generated(config, "pictures/rooms.svg", content=rooms.draw()))
    files.append(File.generated(config, "pictures/trace.svg", content=_trace("gpu/minilm-sst2-b32-l64/graphs_student")))
    return files


@cache
def _trace(name: str) -> str:
    """Power, clocks and temperature of the session of a result, as `plot --kind trace` draws them."""
    with tempfile.TemporaryDirectory() as folder:
        return write_chart([_named(name)[0]], "trace", Path(folder) / "trace.svg").read_text(encoding="utf-8")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page with its markers replaced."""
    depth = page.file.src_uri.count("/")

    def replaced(found: re.Match[str]) -> str:
        word, rest = found.group(1), found.group(2) or ""
        if word not in MARKERS:
            raise ValueError(f"{page.file.src_uri}: unknown marker {word}; there are {', '.join(MARKERS)}")
        made = MARKERS[word](rest.split())
        return made.replace("](pictures/", f"]({'../' * depth}pictures/")

    return MARKER.sub(replaced, markdown)


def fields(words: Sequence[str]) -> str:
    """A table of a step's fields, or of those that are named."""
    configuration, *names = words
    known = {row[0]: row for row in listing.fields(CONFIGURATIONS[configuration])}
    chosen = [known[name] for name in names] if names else known.values()
    return _table(
        ("field", "type", "default", "what it does"),
        ([f"`{name}`", *(text.markdown(cell).replace("\\`", "`") for cell in rest)] for name, *rest in chosen),
    )


def measured(names: Sequence[str]) -> str:
    """Rows of the reference results: figures with their intervals, the verdicts in words, and where they come from."""
    found = [(name, *_named(name)) for name in names]
    rows = [_row(result) for _, _, result in found]
    if len({tuple(row) for row in rows}) > 1:
        raise ValueError(f"measured: {', '.join(names)} have other columns; put them into tables of their own")
    said = []
    for _, file, result in found:
        assert result.verdict is not None
        why = f" Why: {text.markdown(result.verdict.cause)}." if result.verdict.cause else ""
        source = file.relative_to(ROOT).as_posix()
        said.append(f"- **{result.name}** {text.markdown(result.verdict.sentence)}.{why}{_other(result)} (`{source}`)")
    return _table(tuple(rows[0]), (row.values() for row in rows)) + "\n\n" + "\n".join(said)


def _other(result: Result) -> str:
    """What the measured recipe sets otherwise than the shipped one of its name, as a sentence."""
    today = Recipe.load(result.name).model_dump(mode="json")["steps"]
    pairs = zip(result.recipe["steps"], today, strict=False)
    changed = [
        f"{key} {then[key]}" for then, now in pairs for key in now if then.get(key, now[key]) not in (None, now[key])
    ]
    changed += ["other steps"] if len(result.recipe["steps"]) != len(today) else []
    return f" Measured with {', '.join(changed)}; the shipped recipe is bolder now." if changed else ""


def _row(result: Result) -> dict[str, str]:
    point, accuracy = result.headline, result.accuracy
    assert point is not None
    assert accuracy is not None
    assert accuracy.flip_rate is not None
    measured_energy = point.energy_source in MEASURED  # modelled joules stand in no table beside measured ones
    against = {
        f"latency / {name}": text.joined(text.ratio(ratio.latency))
        for name in ("bf16 eager", "fp32 eager")
        if (ratio := point.ratio(name)) is not None
    }
    return {
        "recipe": f"`{result.name}`",
        "accuracy": text.joined(text.metric(accuracy)),
        "difference": text.joined(text.difference(accuracy)),
        "answers that changed": f"{100 * accuracy.flip_rate:.1f} %",
        **against,
        **({"energy / bf16 eager": _energy(point), "energy, one inference": _joules(point)} if measured_energy else {}),
        "stored": text.joined(text.megabytes(result.size.stored_bytes if result.size else None)),
        "kernels": result.kernel.label if result.kernel else text.DASH,
    }


def _energy(point: Point) -> str:
    ratio = point.ratio("bf16 eager")
    return f"{text.joined(text.ratio(ratio.energy if ratio else None))}, grade {ratio.grade if ratio else text.DASH}"


def _joules(point: Point) -> str:
    return text.joined(text.energy(point.energy_j, point.energy_source))


def session(names: Sequence[str]) -> str:
    """Return the table of the reference results in these folders, the cheapest recipe first, then the references."""
    made = []
    for name in names:
        tables = group(_results(name))
        if not tables:
            raise ValueError(f"session: no results in {REFERENCE / name}")
        for table in tables:
            named = {
                **labels(table),
                "latency / ref": f"latency / {table.reference}",
                "energy / ref": f"energy / {table.reference}",
            }
            metered = table.meter in MEASURED  # modelled joules stand in no table beside measured ones
            shown = [h for h in SHOWN if metered or not h.startswith("energy")]
            cells = ({**row.cells, "verdict": row.cells["verdict"][:1]} for row in rows(table))  # the word alone
            made.append(_table([named[h] for h in shown], ([text.joined(each[h]) for h in shown] for each in cells)))
    return "\n\n".join(made)


def batches(names: Sequence[str]) -> str:
    """How much of their answers depends on the batch size, in the reference results."""
    lines = []
    for name in names:
        file, result = _named(name)
        assert result.accuracy is not None
        assert result.accuracy.batch_sensitivity is not None
        part = 100 * result.accuracy.batch_sensitivity
        where = file.relative_to(ROOT).as_posix()
        lines.append(f"- **{name}** {part:.1f} % of its answers differ between batch 1 and batch 32 (`{where}`).")
    return "\n".join(lines)


def recipe(names: Sequence[str]) -> str:
    """Shipped recipes as they are written."""
    return "\n\n".join(f"```yaml title='recipes/{name}.yaml'\n{_source(name)}```" for name in names)


def recipes(workloads: Sequence[str]) -> str:
    """All shipped recipes of these workloads, with the words at their head."""
    names = [name for name in shipped.names() if Recipe.load(name).workload in workloads]
    if not names:
        raise ValueError(f"no shipped recipe of {' or '.join(workloads)}")
    heads = {name: re.findall(r"^# ?(.*)$", _source(name), re.MULTILINE) for name in names}
    return _table(
        ("recipe", "what it is, and what to expect"),
        ((f"`{name}`", text.markdown(" ".join(head).removeprefix(f"{name}: "))) for name, head in heads.items()),
    )


def _source(name: str) -> str:
    file = shipped.path(name)
    if file is None:
        raise ValueError(f"no shipped recipe {name}")
    return file.read_text(encoding="utf-8")


def formats(names: Sequence[str]) -> str:
    """Who executes these formats where, the first choice first."""
    unknown = set(names) - {row.format for row in ROWS}
    if unknown:
        raise ValueError(f"no format {', '.join(unknown)}")
    rows = [row for row in ROWS if row.format in names or not names]
    return _table(
        ("format", "device", "library", "runtime", "products", "how, and from which GPU on"),
        ((f"`{r.format}`", r.device, r.backend, r.runtime, r.kernels, r.why + _from(r.capability)) for r in rows),
    )


def _from(capability: tuple[int, int]) -> str:
    return f"; compute capability {capability[0]}.{capability[1]} on" if capability > (0, 0) else ""


def commands(_: Sequence[str]) -> str:
    """Every command with its arguments and options."""
    import typer

    from compress.cli import app

    made = []
    for name, command in sorted(typer.main.get_command(app).commands.items()):  # type: ignore[attr-defined]
        made.append(f"## {name}\n\n{command.help}\n")
        rows = []
        for option in command.params:
            names = " / ".join(f"`{word}`" for word in (*option.opts, *option.secondary_opts))
            if option.param_type_name == "argument":
                names = f"`{option.metavar or option.name.upper()}`"
            rows.append((names, text.markdown(option.help or ""), _default(option.default)))
        made.append(_table(("option", "what it says", "unless given"), rows) if rows else "It has no options.")
    return "\n\n".join(made)


def _default(value: Any) -> str:
    if callable(value) or value is None:
        return ""
    return f"`{value}`"


def picture(words: Sequence[str]) -> str:
    """A picture with the words below it."""
    name, *caption = words
    file = "pareto.png" if name == "pareto" else f"{name}.svg"
    known = ("pareto", "trace", "rooms", *drawn.PICTURES)
    if name not in known:
        raise ValueError(f"no picture {name}; there are {', '.join(known)}")
    said = " ".join(caption)
    return f"![{said}](pictures/{file})\n\n*{said}*"


MARKERS: dict[str, Callable[[Sequence[str]], str]] = {
    made.__name__: made for made in (fields, measured, session, batches, recipe, recipes, formats, commands, picture)
}


def _named(name: str) -> tuple[Path, Result]:
    folder, _, recipe_name = name.rpartition("/")
    on_gpu = folder.startswith("gpu/")
    place = REFERENCE / folder if on_gpu else REFERENCE / folder / "minilm-sst2"
    files = sorted(place.glob(f"{recipe_name}-{'cuda' if on_gpu else 'cpu'}-*.json"))
    if not files:
        raise ValueError(f"measured: no result of {name} in {place}")
    found = [(file, read_among(file).result) for file in files]  # of several machines the newest
    return max(found, key=lambda each: each[1].created)


@cache
def _results(workload: str) -> tuple[Result, ...]:
    return tuple(map(result_files.read, sorted((REFERENCE / workload).glob("*.json"))))


def _judged(workload: str) -> list[Result]:
    """The results with the verdicts that their table states."""
    files = sorted((REFERENCE / workload).glob("*.json"))
    return [found.result for found in all_among(list(zip(files, _results(workload), strict=True)))]


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
