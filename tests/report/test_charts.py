"""Pictures of single results: they show the result's own figures, and say in one sentence what they do not find."""

import hashlib
import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis import costs, figures
from compress.analysis.judging import judged
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import trace
from compress.records.result import Point, Result
from compress.records.sample import Sample
from compress.report import write_chart
from compress.report.charts import KINDS, Source, breakeven, layers, points, power, rounds
from tests import factory
from tests.helpers import ROOT
from tests.simulated import Load, session

LOADS = {"bf16 eager": Load(300.0, 0.02, noise=0.01), "ours": Load(200.0, 0.012), "other": Load(280.0, 0.018)}
REFERENCE = ROOT / "results" / "reference" / "minilm-sst2"


@pytest.fixture(scope="module")
def measured_sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Two recipes measured on a simulated board, with their raw samples beside them."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        answer = session(patch, LOADS, rounds=4, averaged_s=0.025)
    trace.write(folder / "my" / "traces" / "s1", answer)
    raw = costs.from_trace(answer)

    def points_of(name: str) -> Any:
        return tuple(replace(p, headline=True) for p in figures.points(raw, name))

    bf16 = replace(factory.reference(), name="bf16 eager", points=points_of("bf16 eager"))
    made = []
    for name in ("ours", "other"):
        result = factory.result(name, energy_source="nvml", workload={"name": "my", "model": "m"}, references=(bf16,))
        assert result.transform is not None
        boundary = points_of(name)[0].energy_boundary
        spent = replace(result.transform, energy_boundary=boundary, energy_uuid="GPU-a")
        result = replace(result, machine=replace(result.machine, uuid="a"))
        whole = replace(result, points=points_of(name), trace="my/traces/s1", transform=spent, breakeven=None)
        path = result_files.write(folder, judged(whole))
        made.append(Source(path, result_files.read(path)))
    return made


def lines(axis: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines}


def test_lines_cross_where_the_result_says_it_pays_back(measured_sources: list[Source]) -> None:
    for source in measured_sources:
        even = source.result.breakeven
        assert even is not None and even.inferences is not None and even.unit == "joules"
        (axis,) = breakeven.draw([source]).axes
        assert axis.get_ylabel() == "total energy, J"
        drawn = lines(axis)
        theirs = drawn["bf16 eager"]
        ours = next(pair for name, pair in drawn.items() if name.startswith(source.name))
        ahead = [n for n, a, b in zip(theirs[0], theirs[1], ours[1], strict=True) if b < a]
        step = ours[0][1] / ours[0][0]
        assert even.inferences.value <= ahead[0] <= even.inferences.value * step
        assert ours[1][0] > 300 and theirs[1][0] < 300  # compressing took 300 J


def test_joules_of_another_boundary_share_no_axis_with_inferences(measured_sources: list[Source]) -> None:
    (source, *_) = measured_sources
    assert source.result.transform is not None
    other = replace(source.result.transform, energy_boundary="CPU packages")
    moved = judged(replace(source.result, transform=other, breakeven=None))
    (axis,) = breakeven.draw([Source(source.path, moved)]).axes
    assert axis.get_ylabel() == "total time, s" and "not all of these energies" in axis.get_xlabel()
    assert any("compressing was metered by nvml (CPU packages)" in name for name in lines(axis))


def test_rounds_are_the_results_and_paired(measured_sources: list[Source]) -> None:
    ours, theirs = measured_sources[0].headline, measured_sources[0].baseline_point(measured_sources[0].headline)
    pairs = rounds.paired(ours, theirs, "energy")
    assert [number for number, _, _ in pairs] == [1, 2, 3, 4]
    assert sum(a for _, a, _ in pairs) / 4 == pytest.approx(1e3 * 2.4, rel=0.01)  # 200 W for 12 ms
    (axis, _) = rounds.draw(measured_sources).axes
    assert lines(axis)["ours"][1] == [a for _, a, _ in pairs]
    assert axis.get_title(loc="left").startswith("ours, batch 1 x length 64: energy ratio 0.399 (")
    lost = replace(theirs, rounds=theirs.rounds[1:3])
    assert [number for number, _, _ in rounds.paired(ours, lost, "latency")] == [2, 3]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("left_out", [None, 2])
def test_rounds_are_numbered_from_1_and_the_caption_names_the_gaps(
    first: int, left_out: int | None, measured_sources: list[Source]
) -> None:
    source = measured_sources[0]
    ours, theirs = (_renumbered(p, first, left_out) for p in (source.headline, source.baseline_point(source.headline)))
    numbers = [number for number in (1, 2, 3, 4) if number != left_out]
    assert [number for number, _, _ in rounds.paired(ours, theirs, "latency")] == numbers
    reference = replace(source.result.references[0], points=(theirs,))
    result = replace(source.result, points=(ours,), references=(reference,))
    (axis,) = rounds.draw([Source(source.path, result)]).axes
    caption = "round (gaps: rounds left out because the processor was slower)"
    assert axis.get_xlabel() == ("round" if left_out is None else caption)
    assert [int(tick) for tick in axis.get_xticks()] == numbers


def _renumbered(point: Point, first: int, left_out: int | None) -> Point:
    """The point with rounds stored from `first` on, without the one that is number `left_out` from 1."""
    kept = [(i, r) for i, r in enumerate(point.rounds) if i + 1 != left_out]
    return replace(point, rounds=tuple(replace(r, index=i + first) for i, r in kept))


def test_the_trace_shows_watts_and_whose_window_it_was(measured_sources: list[Source]) -> None:
    figure = power.draw(measured_sources)
    watts, clocks, _ = figure.axes
    drawn = max(max(pair[1]) for pair in lines(watts).values())
    assert drawn == pytest.approx(300, rel=0.05)
    assert {"SM clock", "memory clock"} <= set(lines(clocks))
    named = [text.get_text() for text in watts.get_legend().get_texts()]
    assert sorted(named) == ["bf16 eager", "other", "ours"]
    assert len(watts.patches) == 3 * 4


def test_a_counter_without_power_gives_watts_between_its_movements() -> None:
    mine = [Sample(i * 10**8, counter_uj=[0, 0, 10**7, 10**7, 3 * 10**7, 0][i]) for i in range(6)]
    watts = [(2 * 10**8, pytest.approx(50.0)), (4 * 10**8, pytest.approx(100.0))]
    assert power.power_w(mine) == watts
    unread = [Sample(i * 10**8 + 1) for i in range(6)]
    assert power.power_w(sorted([*mine, *unread], key=lambda s: s.time_ns)) == watts


def test_points_that_tell_no_difference_stay_white_and_others_have_their_sign(tmp_path: Path) -> None:
    shapes = ((1, 0.5, 0.02), (8, 1.02, 0.05), (32, 1.4, 0.02))
    made = tuple(
        factory.point(factory.ratio(factory.FP32, cost, None, spread), batch_size=batch, headline=batch == 8)
        for batch, cost, spread in shapes
    )
    path = result_files.write(tmp_path, replace(factory.result(), points=made))
    (axis,) = points.draw([Source(path, result_files.read(path))]).axes
    said = [text.get_text() for text in axis.texts]
    assert said == ["-50 %\n(-51 to -49)", "+2 %\n(-3 to +7)", "+40 %\n(+37 to +43)"]
    shade = [row[0] for row in axis.images[0].get_array().tolist()]
    assert shade[0] < 0 and shade[1] == 0 and shade[2] > 0


WIDTHS = {"U8": 1, "F16": 2, "F32": 4}


def tensor_file(path: Path, **tensors: tuple[str, list[int]]) -> None:
    """A safetensors file with a header and no data: nobody reads that here."""
    place, header = 0, {}
    for name, (dtype, shape) in tensors.items():
        end = place + WIDTHS[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header)
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode())


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compressed_source(folder: Path, became: dict[str, Any], **tensors: tuple[str, list[int]]) -> Source:
    artifact = folder / "artifact"
    artifact.mkdir()
    if tensors:
        tensor_file(artifact / "compress.safetensors", **tensors)
    manifest = json.dumps(
        {"layers": became, "plain": False, "files": {p.name: file_digest(p) for p in artifact.iterdir()}}
    ).encode()
    (artifact / "manifest.json").write_bytes(manifest)
    digest = hashlib.sha256(manifest).hexdigest()
    return Source(folder / "x.json", replace(factory.result(), artifact=str(artifact), artifact_sha256=digest))


def test_layers_show_their_bytes_and_changes(tmp_path: Path) -> None:
    became = {
        "": {"runtime": "eager"},
        "encoder.10.dense": {"format": "nf4", "bits": 4, "group_size": 64},
        "encoder.9.dense": {"kind": "lowrank", "rank": 12},
    }
    tensors: dict[str, tuple[str, list[int]]] = {
        "encoder.10.dense.weight.packed": ("U8", [1024, 1]), "encoder.10.dense.bias": ("F32", [16]),
        "encoder.9.dense.first.weight": ("F32", [12, 32]), "encoder.9.norm.weight": ("F16", [32]),
        "embeddings.word.weight": ("F32", [64, 32]),
    }  # fmt: skip
    source = compressed_source(tmp_path, became, **tensors)
    found, in_bytes = layers.layers(source)
    assert in_bytes
    assert [(layer.name, layer.size, layer.words) for layer in found] == [
        ("embeddings.word", 64 * 32 * 4, ""),
        ("encoder.9.dense", 12 * 32 * 4, "rank 12"),
        ("encoder.9.norm", 64, ""),
        ("encoder.10.dense", 1024 + 64, "nf4, 4 bits, groups of 64"),
    ]
    assert [text.get_text() for text in layers.draw([source]).axes[0].texts if text.get_text()] == [
        "rank 12", "nf4, 4 bits, groups of 64",
    ]  # fmt: skip


def test_a_graph_shows_bits_and_a_large_model_sums_up_its_small_layers(tmp_path: Path) -> None:
    graph = compressed_source(tmp_path, {"a.dense": {"format": "int8", "bits": 8}})
    found, in_bytes = layers.layers(graph)
    assert not in_bytes and [(layer.size, layer.words) for layer in found] == [(8, "int8, 8 bits")]
    (tmp_path / "large").mkdir()
    large = compressed_source(tmp_path / "large", {}, **{f"layer.{i}.weight": ("U8", [1000 - i]) for i in range(100)})
    (axis,) = layers.draw([large]).axes
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert len(rows) == layers.MOST_ROWS and rows[-1] == "41 smaller layers"
    kilobytes = [bar.get_width() for bar in axis.patches]
    assert sum(kilobytes) == pytest.approx(sum(1000 - i for i in range(100)) / 1e3)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_data_is_one_error(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(REFERENCE.glob("bert_int8-*.json"))  # no meter, one point, and its artifact is not shipped
    monkeypatch.chdir(tmp_path)  # whoever measured it has it below the checkout
    out = tmp_path / "x.svg"
    if kind in ("break-even", "rounds"):
        assert write_chart([path], kind, out) == out and b"bert_int8" in out.read_bytes()
        return
    words = {
        "points": "single operating point",
        "map": "is not a result of `compress map`",
        "layers": "its manifest.json cannot be read",
        "trace": "no samples of a meter",
    }
    with pytest.raises(InputError, match=words[kind]) as refused:
        write_chart([path], kind, out)
    assert len(refused.value.problems) == 1 and not out.exists()


def test_bad_kinds_names_failed_results_and_mixed_sessions_are_refused(
    measured_sources: list[Source], tmp_path: Path
) -> None:
    path = measured_sources[0].path
    bad = result_files.write(tmp_path, factory.failed())
    far = result_files.write(tmp_path, replace(factory.result("far"), session="s2"))
    for paths, kind, name, said in (
        ([path], "pie", "x.png", "--kind pie: expected one of break-even"),
        ([path], "round", "x.png", r"did you mean rounds\?$"),
        ([path], "rounds", "x.pdf", r"ends in \.png or \.svg"),
        ([bad], "rounds", "x.png", "there is nothing to draw"),
        ([path] * 7, "rounds", "x.png", "6 at most"),
        ([path, far], "break-even", "x.png", "several sessions"),
        ([path], "rounds", "missing/file/x.png", "cannot be written"),
    ):
        if "missing" in name:
            (tmp_path / "missing").write_text("a file, not a folder")
        with pytest.raises(InputError, match=said):
            write_chart(paths, kind, tmp_path / name)
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".png"]


def test_markup_in_a_name_stays_text(measured_sources: list[Source], tmp_path: Path) -> None:
    named = replace(measured_sources[0].result, name="<script>$x_{$")
    path = tmp_path / "my" / "x.json"
    result_files.replace_file(path, named)
    drawn = write_chart([path], "rounds", tmp_path / "x.svg").read_text()
    assert "<script>" not in drawn and "&lt;script&gt;$x_{$" in drawn


def test_pictures_of_real_results_hold_no_figure_that_is_not_theirs() -> None:
    found: list[Result] = [result_files.read(path) for path in sorted(REFERENCE.glob("*.json"))]
    for result in found:
        ours, reference = result.headline, result.verdict_reference
        if result.breakeven is None or result.breakeven.inferences is None or ours is None or reference is None:
            continue
        source = Source(REFERENCE / "x.json", result)
        saved = breakeven.per_inference(source.baseline_point(ours), False) - breakeven.per_inference(ours, False)
        assert result.transform is not None
        assert result.transform.seconds / saved == pytest.approx(result.breakeven.inferences.value, rel=1e-9)


def test_a_picture_never_takes_the_place_of_the_result_that_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "r.png"
    result_files.replace_file(path, factory.result("bert_int8"))
    before = path.read_bytes()
    for out in (path, tmp_path / "r.json", tmp_path):
        with pytest.raises(InputError, match="--out"):
            write_chart([path], "points", out)
    assert path.read_bytes() == before


@pytest.mark.parametrize("without", ["recipe", "reference"])
def test_what_pays_back_needs_rounds_of_both(without: str, tmp_path: Path) -> None:
    made = factory.result("bert_int8")
    if without == "recipe":
        made = replace(made, points=(replace(made.points[0], rounds=()),))
    else:
        bare = replace(made.references[0], points=(replace(made.references[0].points[0], rounds=()),))
        made = replace(made, references=(bare,))
    result_files.replace_file(tmp_path / "r.json", made)
    with pytest.raises(InputError, match="holds no rounds"):
        write_chart([tmp_path / "r.json"], "break-even", tmp_path / "x.svg")
