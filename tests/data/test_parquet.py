"""Parquet shards agree on types and class names, or one error names the shard; metadata is read or refused."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compress.base.config import InputError
from compress.data.formats import parquet


def shards(folder: Path, *tables: Any) -> list[Path]:
    files = [folder / f"test-{index:05}-of-{len(tables):05}.parquet" for index in range(len(tables))]
    for file, table in zip(files, tables, strict=True):
        pq.write_table(table, file)
    return files


def named(names: list[str]) -> Any:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    return datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features).data.table


def column(values: list[Any], kind: Any = None) -> Any:
    return pa.table({"x": pa.array(values, kind)})


def test_classes_in_another_order_are_refused_with_the_shard(tmp_path: Path) -> None:
    same = parquet.read(shards(tmp_path, named(["bad", "good"]), named(["bad", "good"])))
    assert same["label"] == [0, 1, 0, 1]
    with pytest.raises(
        InputError,
        match=r"test-00001-of-00002.parquet: column 'label' holds classes good, bad, that of "
        r"test-00000-of-00002.parquet classes bad, good; expected the same",
    ):
        parquet.read(shards(tmp_path, named(["bad", "good"]), named(["good", "bad"])))
    with pytest.raises(InputError, match=r"column 'label' holds int64, that of .* classes bad, good"):
        plain = named(["bad", "good"]).replace_schema_metadata(None)
        parquet.read(shards(tmp_path, named(["bad", "good"]), plain))


def test_lists_of_classes_in_another_order_are_refused_too(tmp_path: Path) -> None:
    def tagged(names: list[str]) -> Any:
        tags = datasets.List(datasets.ClassLabel(names=names))
        return datasets.Dataset.from_dict({"tags": [[0, 1]]}, features=datasets.Features({"tags": tags})).data.table

    assert parquet.read(shards(tmp_path, tagged(["O", "B-A"]), tagged(["O", "B-A"])))["tags"] == [[0, 1], [0, 1]]
    with pytest.raises(InputError, match=r"column 'tags' holds classes B-A, O, that of .* classes O, B-A; expected"):
        parquet.read(shards(tmp_path, tagged(["O", "B-A"]), tagged(["B-A", "O"])))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (column([True, False]), column([2, 1]), "holds int64, that of test-00000-of-00002.parquet bool"),
        (column(["1"]), column([3]), "holds int64, that of test-00000-of-00002.parquet string"),
        (column([1]), column(["3"]), "holds string, that of test-00000-of-00002.parquet int64"),
        (column([b"a"]), column(["a"]), "holds string, that of test-00000-of-00002.parquet binary"),
        (column([["a"]]), column(["a"]), "column 'x' holds string"),
        (column([None]), pa.concat_tables([column([1]), column([2])]), None),
    ],
    ids=["bool, int", "text, int", "int, text", "bytes, text", "list, text", "null, int"],
)
def test_shards_of_unlike_types_are_refused_with_both_types(
    tmp_path: Path, first: Any, second: Any, said: str | None
) -> None:
    files = shards(tmp_path, first, second)
    if said is None:
        assert parquet.read(files)["x"] == [None, 1, 2]
        return
    with pytest.raises(InputError, match=f"test-00001-of-00002.parquet: .*{said}"):
        parquet.read(files)


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        ([column([1], pa.int8()), column([300], pa.int64())], [1, 300]),
        ([column([1]), column([0.5])], [1.0, 0.5]),
        ([column(["a"]), column(["b"], pa.large_string()), column(["c"]).select([])], ["a", "b"]),
        ([column(["a"]), pa.table({"x": pa.array(["b"]).dictionary_encode()})], ["a", "b"]),
        ([column([7]).slice(0, 0), column(["a"]), column([True]).slice(0, 0)], ["a"]),
    ],
    ids=["widths", "int, float", "text", "dictionary", "no rows"],
)
def test_types_of_one_kind_are_joined_and_shards_without_rows_have_no_say(
    tmp_path: Path, parts: list[Any], values: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert [value for value in parquet.read(shards(tmp_path, *parts))["x"] if value is not None] == values
    assert "Failed to read" not in "".join(capfd.readouterr())


def test_texts_that_are_not_utf_8_are_refused_with_their_column(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"a \xff\x89 film"], pa.binary()).view(pa.string())
    with pytest.raises(InputError, match=r"column 'x' holds text that is not UTF-8 \(ArrowInvalid.*string index 1"):
        parquet.read(shards(tmp_path, pa.table({"x": texts, "y": [1, 2]})))


def test_a_first_row_group_without_rows_is_none(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "test.parquet", pa.schema({"x": pa.int64()})) as out:
        for values in ([], [5, 6], [], [7]):
            out.write_table(column(values, pa.int64()))
    assert parquet.read([tmp_path / "test.parquet"])["x"] == [5, 6, 7]


def test_a_file_without_rows_is_empty_and_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"test-00000-of-00001.parquet is empty"):
        parquet.read(shards(tmp_path, column([1]).slice(0, 0)))
    with pytest.raises(InputError, match=r"cannot be read as parquet \(ArrowInvalid"):
        parquet.read(shards(tmp_path, pa.table([[1], [2]], names=["x", "x"])))
    assert "Failed to read" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("metadata", ['{"info": null}', "{bad", '{"info": {"features": {"x": {"_type": "No"}}}}'])
def test_metadata_that_cannot_be_read_is_one_error(tmp_path: Path, metadata: str) -> None:
    with pytest.raises(InputError, match=r"test-00000-of-00001.parquet: its metadata 'huggingface' cannot be read"):
        parquet.read(shards(tmp_path, column([1]).replace_schema_metadata({"huggingface": metadata})))
    (whole,) = shards(tmp_path, column([1]).replace_schema_metadata({"huggingface": "{}"}))
    assert parquet.read([whole])["x"] == [1]


def test_thousands_of_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1001 columns; expected 1000 at most"):
        parquet.read(shards(tmp_path, pa.table({f"c{index}": [1] for index in range(1001)})))
