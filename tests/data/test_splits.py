"""Which files form a split, and which pictures a class: the split that was asked for, whole, or one error."""

import gzip
import os
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from compress.base.config import InputError
from compress.data import split_files as files
from compress.data import tables
from compress.data.dataset import Dataset
from compress.data.source import Source
from compress.data.workload import Workload


def source(folder: Path, task: str = "image-classification", **spec: Any) -> Source:
    """A workload on this data, resolved as far as its data goes."""
    own = Workload(name="own", task=task, model="m", dataset=Dataset(path=str(folder), **spec))
    if problems := tables.location_problems(folder, own):
        raise InputError(problems)
    return Source(own, "m", str(folder), "", {"dataset_revision": None})


def labelled_pictures(folder: Path, **spec: Any) -> list[tuple[str, str]]:
    """Picture, relative to the data, and label of every example of the test split."""
    raw = tables.load(source(folder, **spec), "test")
    return [(Path(row["image"]["path"]).relative_to(folder).as_posix(), row["label"]) for row in raw]


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, format="PNG")


def write_files(folder: Path, **contents: str | bytes) -> None:
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("root", ["", "data/"])
def test_pictures_belong_to_the_first_folder_below_their_split(tmp_path: Path, root: str) -> None:
    names = ["train/a.PNG", "test/train_1.png", "val/my_val_2.JPEG", "cat/2020/x.gif", "cat/2021/deep/x.tif"]
    pictures(tmp_path, f"{root}test/dog/.hidden.png", *(f"{root}test/{name}" for name in names))
    pictures(tmp_path, f"{root}train/cat/1.png", f"{root}test_old/cat/1.png")
    (tmp_path / f"{root}test/empty").mkdir()
    assert labelled_pictures(tmp_path) == [
        (f"{root}test/cat/2020/x.gif", "cat"),
        (f"{root}test/cat/2021/deep/x.tif", "cat"),
        (f"{root}test/test/train_1.png", "test"),
        (f"{root}test/train/a.PNG", "train"),
        (f"{root}test/val/my_val_2.JPEG", "val"),
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_table_in_each_split_names_the_pictures_beside_it(tmp_path: Path, kind: str) -> None:
    for split, count in (("train", 3), ("test", 2)):
        pictures(tmp_path, *(f"{split}/{number}.png" for number in range(count)))
        rows = [{"file_name": f"{number}.png", "label": f"{split}{number}"} for number in range(count)]
        table = datasets.Dataset.from_list(rows)
        path = tmp_path / split / f"metadata.{kind}"
        table.to_json(path) if kind == "jsonl" else table.to_csv(path, sep="," if kind == "csv" else "\t")
    assert labelled_pictures(tmp_path) == [("test/0.png", "test0"), ("test/1.png", "test1")]


def test_a_table_may_lie_beside_the_folder_of_its_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, "test/0.png", "test/1.png", "train/0.png")
    write_files(tmp_path, **{"test.csv": "file_name,label\ntest/1.png,b\ntest/0.png,a\n"})
    assert labelled_pictures(tmp_path) == [("test/1.png", "b"), ("test/0.png", "a")]
    pictures(tmp_path, "test/2.png")
    with pytest.raises(InputError, match=r"test.csv: 1 of 3 pictures beside it have no row \(2.png\)"):
        labelled_pictures(tmp_path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0.png,a", "1 of 2 pictures beside it have no row"),
        ("0.png,a\n1.png,b\n0.png,a", "names pictures more than once"),
        ("0.png,a\n1.png,b\n2.png,b", "row 2 of column 'file_name': no image file '2.png'"),
        ("0.png,a\n1.png,b\n../../out.png,b", "lies outside of"),
        ("0.png,a\n1.png,b\nlink.png,b", "lies outside of"),
        ("0.png,a\n1.png,b\n.hidden.png,b", "is a hidden file"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_name_every_picture_once_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    data = tmp_path / "data"
    pictures(data, "test/0.png", "test/1.png", "test/.hidden.png", "../out.png")
    if "link" in rows:
        (data / "test" / "link.png").symlink_to(tmp_path / "out.png")
    write_files(data, **{"test__metadata.csv": f"file_name,label\n{rows}\n"})
    with pytest.raises(InputError, match=said):
        labelled_pictures(data)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"test__0.png": ""}, "1 pictures are outside of class folders \\(0.png\\)"),
        ({"test__cat__a.npy": ""}, "cat/a.npy are neither pictures nor a table"),
        ({"test__cat__a.heic": ""}, "cat/a.heic are neither"),
        ({"test__a.csv": "", "test__b.csv": ""}, "a.csv, b.csv are several tables"),
        ({"data__test__cat__1.png": ""}, "split 'test' is ambiguous: test/, data/test/"),
        ({"test.csv": "", "test.jsonl": ""}, "split 'test' is ambiguous: test.csv, test.jsonl, test/"),
    ],
)  # fmt: skip
def test_pictures_that_are_of_no_split_or_class_are_refused(tmp_path: Path, extra: dict[str, str], said: str) -> None:
    pictures(tmp_path, "test/cat/0.png", "test/dog/0.png")
    write_files(tmp_path, **extra)
    with pytest.raises(InputError, match=said):
        labelled_pictures(tmp_path)


def test_links_to_folders_are_refused_for_their_content_is_not_hashed(tmp_path: Path) -> None:
    pictures(tmp_path, "data/test/cat/0.png", "elsewhere/dog/0.png")
    (tmp_path / "data/test/dog").symlink_to(tmp_path / "elsewhere/dog")
    with pytest.raises(InputError, match="dog: is a link to a folder"):
        labelled_pictures(tmp_path / "data")
    (tmp_path / "data/test/dog").unlink()
    (tmp_path / "data/val").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="val: is a link to a folder"):
        labelled_pictures(tmp_path / "data", test="val")


SHARDS = ["test-00000-of-00002.csv", "test-00001-of-00002.csv"]
NAMED_SO = ["test/deep/readme.csv", "test/licence_plates.csv", "test/license.csv", "test/readme_reviews.csv"]
ROW = "text,label\na film,1\n"
ROWS = "text,label\na,1\nb,0\n"


@pytest.mark.parametrize(
    ("contents", "found"),
    [
        (["test.csv", "test_old.csv", "train.csv", "test-2019.csv", "test.md"], ["test.csv"]),
        (SHARDS, SHARDS),
        (["data/test-0.csv", "data/test-1.csv"], ["data/test-0.csv", "data/test-1.csv"]),
        (["test/b.csv", "test/a.csv", "test/README.md"], ["test/a.csv", "test/b.csv"]),
        (["TEST.csv", "tests.csv"], None),
        (["test.CSV.GZ"], ["test.CSV.GZ"]),
        (["data/test.tsv"], ["data/test.tsv"]),
        (NAMED_SO, NAMED_SO),
        (["test/a.csv", "test/README", "test/LICENSE.txt", "test/readme.txt", "test/_SUCCESS"], ["test/a.csv"]),
        (["test/a.csv", "test/.a.csv.crc", "test/deep/Thumbs.db"], ["test/a.csv"]),
        (["test/a.txt", "test/deep/readme.txt", "test/readme.txt"], ["test/a.txt", "test/deep/readme.txt"]),
        (["test-00000-of-00001-b42a775f407cee45.csv"], ["test-00000-of-00001-b42a775f407cee45.csv"]),
        (["test/test-00000-of-00001-b42a775f407cee45.csv"], ["test/test-00000-of-00001-b42a775f407cee45.csv"]),
        ([SHARDS[0], f"{SHARDS[1]}.gz"], [SHARDS[0], f"{SHARDS[1]}.gz"]),
        (["test-0.csv", "test-1.csv.gz"], ["test-0.csv", "test-1.csv.gz"]),
        (["test-2019.zip", "test.csv", "train-0.csv.zip"], ["test.csv"]),
    ],
)  # fmt: skip
def test_a_split_is_all_files_of_its_name_and_no_others(
    tmp_path: Path, contents: list[str], found: list[str] | None
) -> None:
    write_files(tmp_path, **{name.replace("/", "__"): ROW for name in contents})
    split = files.split_files(tmp_path, "test")
    named = None if split is None else [path.relative_to(tmp_path).as_posix() for path in split.tables]
    assert named == found


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (["test.csv", "test.tsv"], "ambiguous: test.csv, test.tsv"),
        (["test.csv", "data/test.csv"], "ambiguous: test.csv, data/test.csv"),
        (["test.csv", "test.csv.gz"], "ambiguous: test.csv, test.csv.gz"),
        (["test.csv", "test/a.csv"], "ambiguous: test.csv, test/"),
        (["test-00000-of-00003.csv", "test-00002-of-00003.csv"], "2 of 3 shards; missing: 1"),
        (["test/a-00000-of-00002.csv"], "1 of 2 shards; missing: 1"),
        (["test-00000-of-00001.csv", "test-00000-of-00002.csv", "test-00001-of-00002.csv"], "ambiguous"),
        (["test/a.csv", "test/b.tsv"], "several kinds: a.csv, b.tsv"),
        (["test/a.npy"], "files of kind .npy are not supported"),
        (["test/a.csv", "test/b.csv.bz2", "test/c.csv.zip"], "b.csv.bz2, c.csv.zip are not supported"),
        (["test/a.csv", "test/b.arrow"], "b.arrow are not supported"),
        (["test/a.csv", "test/b.csv.zst"], "b.csv.zst are not supported"),
        (["test/a.csv", "test/deep/README.md"], "README.md are not supported"),
        (["test-0.csv", "test-1.csv.bz2"], "test-1.csv.bz2: is a shard of an unsupported kind"),
        (["test-0.csv", "test-0.csv.gz"], "a shard occurs twice"),
        (["test-00000-of-00001-b42a775f407cee45.csv", "test-00000-of-00001-0123456789abcdef.csv"], "2 of 1 shards"),
        (["test-00000-of-00002-b42a775f407cee45.csv"], "1 of 2 shards; missing: 1"),
        (["other.csv"], "no test split 'test'; the folder holds other.csv"),
    ],
)  # fmt: skip
def test_a_split_that_is_ambiguous_or_not_whole_is_refused(tmp_path: Path, contents: list[str], said: str) -> None:
    write_files(tmp_path, **{name.replace("/", "__"): ROW for name in contents})
    with pytest.raises(InputError, match=said):
        source(tmp_path, task="text-classification")


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("split", ["test", "dev"])
def test_a_folder_of_save_to_disk_is_named_with_how_to_export_it(tmp_path: Path, several: bool, split: str) -> None:
    data = datasets.Dataset.from_dict({"text": ["a film"], "label": [1]})
    (datasets.DatasetDict({"test": data}) if several else data).save_to_disk(tmp_path)
    with pytest.raises(InputError, match=r"save_to_disk, which is not supported; .*load_from_disk\(.*\.to_parquet\("):
        source(tmp_path, task="text-classification", test=split)


def test_pictures_count_whatever_they_are_called(tmp_path: Path) -> None:
    names = ["test/licence/readme.png", "test/plate/license_0.png", "test/plate/readme.jpg"]
    pictures(tmp_path, *names)
    write_files(tmp_path, **{"test__plate__Thumbs.db": "", "test__README.md": "", "test__LICENSE": ""})
    assert [name for name, _ in labelled_pictures(tmp_path)] == names
    write_files(tmp_path, **{"test__license_plates.txt": "a"})
    with pytest.raises(InputError, match=r"license_plates.txt are neither pictures"):
        labelled_pictures(tmp_path)


NAMELESS = ["", " ", ".", "..", "/abs", "../other", "a/../b", "test ", "te\nst", "\0", "~me", "a\\b"]


@pytest.mark.parametrize("name", NAMELESS)
@pytest.mark.parametrize("field", ["train", "test"])
def test_a_split_name_that_names_none_is_refused(field: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^Dataset {field}: .*expected the (name of a split|path)"):
        Dataset(**{"path": "d", "train": "training", "test": "dev", field: name})


def test_patterns_match_no_local_files(tmp_path: Path) -> None:
    write_files(tmp_path, **{"test.csv": ROW, "train.csv": ROW + "b,0\n"})
    for pattern in ("te*", "*", "**", "t[er]*"):
        with pytest.raises(ValueError, match="not a pattern"):
            Dataset(path=str(tmp_path), test=pattern)
    for pattern in ("test*.csv", "te?t.csv"):
        with pytest.raises(InputError, match="no test split"):
            source(tmp_path, task="text-classification", test=pattern)


def test_train_and_test_data_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train and test are the same split 'test'"):
        Dataset(path="d", train="test")
    write_files(tmp_path, **{"test.csv": ROW, "train.csv": ROW})
    same = "train and test are the same data"
    for spec in ({}, {"train": "test.csv"}, {"test": "train.csv"}):
        with pytest.raises(InputError, match=same):
            source(tmp_path, task="text-classification", **spec)
    assert source(tmp_path, task="text-classification", train=None)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.csv").symlink_to(tmp_path / "test.csv")
    with pytest.raises(InputError, match=same):
        source(tmp_path, task="text-classification")
    pictures(tmp_path / "pictures", "test/cat/1.png", "train/cat/1.png")
    with pytest.raises(InputError, match=same):
        source(tmp_path / "pictures")


@pytest.mark.parametrize(
    "train",
    [
        {"train.csv.gz": gzip.compress(ROWS.encode())},
        {"train.csv": ROWS.replace("\n", "\r\n")},
        {"train.tsv": ROWS.replace(",", "\t")},
        {"train-0.csv": "text,label\na,1\n", "train-1.csv": "text,label\nb,0\n"},
        {"train.jsonl": '{"label": 0, "text": "b"}\n{"label": 5, "text": "a"}\n'},
    ],
    ids=["gzip", "line ends", "tsv", "shards", "other order and labels"],
)
def test_the_same_examples_in_other_bytes_are_the_same_data(tmp_path: Path, train: dict[str, Any]) -> None:
    write_files(tmp_path, **{"test.csv": ROWS}, **train)
    with pytest.raises(InputError, match="train and test hold the same 2 examples; expected a test split"):
        tables.load(source(tmp_path, task="text-classification"), "train")
    write_files(tmp_path, **{"test.csv": ROWS.replace("b,0", "c,0")})
    assert len(tables.load(source(tmp_path, task="text-classification"), "train")) == 2


def test_the_same_pictures_under_other_names_are_the_same_data(tmp_path: Path) -> None:
    pictures(tmp_path, "test/cat/1.png", "test/cat/2.png", "train/dog/1.png", "train/dog/2.png")
    for name in ("test/cat/1.png", "train/dog/2.png"):
        Image.new("RGB", (5, 5)).save(tmp_path / name)
    with pytest.raises(InputError, match="train and test hold the same 2 examples"):
        tables.load(source(tmp_path), "train")
    Image.new("RGB", (6, 6)).save(tmp_path / "train/dog/2.png")
    assert len(tables.load(source(tmp_path), "train")) == 2


@pytest.mark.parametrize(
    ("contents", "split", "said"),
    [
        (
            ["data/train.csv", "data/test.csv"],
            "data",
            r"several splits \(test.csv, train.csv\); .* such as data/test.csv",
        ),
        (["test/train.csv", "test/test.csv"], "test", r"test: its files name several splits \(test.csv, train.csv\)"),
        (["test/train-00000-of-00001.csv"], "test", r"name another split \(train-00000-of-00001.csv\)"),
        (["test/a.csv", "test/sub/news_dev.csv"], "test", r"name another split \(sub/news_dev.csv\)"),
        (["data/a/train/x.csv", "data/b/test/x.csv"], "data", "its files name several splits"),
        (["validation/val-0.csv", "validation/valid.csv"], "validation", None),
        (["data/test.csv"], "data", None),
        (["test/training_day.csv", "test/contest.csv", "test/latest.csv"], "test", None),
    ],
)
def test_a_folder_with_files_of_other_splits_is_refused(
    tmp_path: Path, contents: list[str], split: str, said: str | None
) -> None:
    write_files(tmp_path, **dict.fromkeys(contents, ROW))
    if said is None:
        data_files = files.split_files(tmp_path, split)
        assert data_files is not None and len(data_files.tables) == len(contents)
        return
    with pytest.raises(InputError, match=said):
        files.split_files(tmp_path, split)


def test_a_name_in_another_unicode_normalization_is_explained(tmp_path: Path) -> None:
    write_files(tmp_path, **{"cafe\u0301.csv": ROW})
    with pytest.raises(InputError, match="look equal, but differ in Unicode normalization"):
        source(tmp_path, task="text-classification", test="caf\u00e9.csv", train=None)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"text": "label"}, "dataset.text and dataset.label are the same column 'label'"),
        ({"text_pair": "text"}, "dataset.text and dataset.text_pair are the same column 'text'"),
        ({"text_pair": "label"}, "dataset.text_pair and dataset.label are the same column 'label'"),
    ],
)
def test_a_column_has_one_role(spec: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Workload(name="own", task="text-classification", model="m", dataset=Dataset(path="d", **spec))
    assert Workload(name="own", task="causal-lm", model="m", dataset=Dataset(path="d", text="label"))


def test_a_place_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="path"):
        Dataset(path="")
    with pytest.raises(ValueError, match="model"):
        Workload(task="causal-lm", model="", dataset=Dataset(path="d"))


@pytest.mark.parametrize("test", ["all", "train+test", "train[:10%]"])
def test_a_hub_split_that_holds_the_train_split_is_refused(test: str) -> None:
    own = Workload(name="own", task="causal-lm", model="m", dataset=Dataset(path="a/b", test=test))
    with pytest.raises(InputError, match="holds the train split"):
        tables.load(Source(own, "m", "a/b", "", {"dataset_revision": "0" * 40}), "test")


@pytest.mark.parametrize("name", ["test.csv", "test-00000-of-00001.csv", "test/a.csv", "test/cat/a.png"])
def test_a_fifo_is_refused_and_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is a fifo; expected a regular file"):
        labelled_pictures(tmp_path)
