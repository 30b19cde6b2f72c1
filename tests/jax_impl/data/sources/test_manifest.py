"""Lists of pairs, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.jax_impl.data.sources.places import DAWN, DUSK, colours, find, names, paint


def test_csv_and_jsonl_manifests_say_the_same(tmp_path: Path) -> None:
    for stem in "abc":
        paint(tmp_path / "dawn" / f"{stem}.png", DAWN)
        paint(tmp_path / "dusk" / f"{stem}.png", DUSK)
    splits = {"a": "train", "b": "valid", "c": "test"}
    rows = [(f"dawn/{stem}.png", f"dusk/{stem}.png", split) for stem, split in splits.items()]
    lines = [",".join(row) for row in rows]
    (tmp_path / "pairs.csv").write_text("\ufeffSource, target ,split\n" + "\n\n".join(lines))
    keys = ("source", "target", "split")
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    by_folder, by_csv, by_jsonl = find(tmp_path), find(tmp_path / "pairs.csv"), find(tmp_path / "list.jsonl")
    assert by_folder == by_csv == by_jsonl
    assert by_csv.layout == "manifest"
    assert [names(by_csv, split) for split in ("train", "val", "test")] == [["a"], ["b"], ["c"]]
    assert colours(by_csv) == {(DAWN, DUSK)}
    assert colours(find(tmp_path, direction="reverse")) == {(DUSK, DAWN)}


def test_a_manifest_may_use_a_picture_often_and_names_stay_unique(tmp_path: Path) -> None:
    for name in "pqrs":
        paint(tmp_path / f"{name}.png", DAWN)
    (tmp_path / "pairs.csv").write_text("source,target\np.png,q.png\np.png,r.png\ns.png,q.png\n")
    source = find(tmp_path, val_share=0.0)
    assert names(source, "train") == ["p--q", "p--r", "s--q"]


MANIFESTS = [
    ("", "is empty"),
    ("source,target\n", "lists no pairs"),
    ("src,target\na.png,b.png\n", "line 1 has no column 'source'; rename 'src' to 'source'"),
    ("source,tarjet\na.png,b.png\n", "rename 'tarjet' to 'target'"),
    ("source,target\na.png,b.png\na.png,gone.png\n", r"line 3: .*gone\.png"),
    ("source,target\na.png,b.png\nb.png,a.png\na.png,b.png\n", "line 4 repeats the pair of line 2"),
    ("source,target\na.png,b.png\na.png,../secret.png\n", r"line 3: target '\.\./secret\.png' lies outside"),
    ("source,target\n/etc/hostname,b.png\n", "line 2: source '/etc/hostname' lies outside"),
    ("source,target\nlink.png,b.png\n", r"line 2: source 'link\.png' lies outside"),
    ("source,target\na.png\n", "line 2 has 1 values for 2 columns"),
    ("source,target\na.png,\n", "line 2: target is ''"),
    ("source,target\n\0,b.png\n", "line 2"),
    ("source,target,split\na.png,b.png,holdout\n", "line 2: split is 'holdout'"),
    ('source,target\n"a.png,b.png\n', "is not CSV"),
]


@pytest.mark.parametrize(("text", "message"), MANIFESTS)
def test_a_faulty_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    root = tmp_path / "data"
    for name in ("a", "b"):
        paint(root / f"{name}.png", DAWN)
    paint(tmp_path / "secret.png", DUSK)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "pairs.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        find(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]\n", "entry 1 is not a JSON object"),
        ('{"source": "a.png"', "line 1 is not a JSON object"),
        ('\n{"source": "a.png"}\n', "line 2 has no column 'target'"),
        ('{"source": "a.png", "target": 3}\n', "line 1: target is 3"),
        ('{"source": "a.png", "target": "a.png", "split": 3}\n', "line 1: split is 3"),
        ('{"source": "a.png", "source": "b.png", "target": "a.png"}\n', "line 1 is not a JSON object"),
        ('{"source": ' + 100_000 * "[", "line 1 is not a JSON object"),
        ('{"source": "' + 300 * "x" + '", "target": "a.png"}\n', "names a file that does not exist, line 1"),
        ('{"source": "a\\u0000.png", "target": "a.png"}\n', "is not a path"),
    ],
)
def test_a_faulty_jsonl_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    paint(tmp_path / "a.png", DAWN)
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        find(tmp_path)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"source,target\n\xe9\0.png,b.png", b"a\x81b"], ids=["wide", "nul", "no"]
)
def test_a_manifest_that_is_not_text_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pairs.csv").write_bytes(data)
    with pytest.raises(UserError, match="not UTF-8"):
        find(tmp_path)


PAIRS = [("a/K\u00fcste 0.png", "b/0.png"), ("a/1.png", "b/1.png")]
PLAIN = "source,target\n" + "".join(f"{a},{b}\n" for a, b in PAIRS)
BACK = PLAIN.replace("/", "\\")
WINDOWS = BACK.replace("a\\", "C:\\My photos\\x\\a\\").replace("b\\", "C:\\My photos\\x\\b\\")
RECORDS = [{"source": a, "target": b} for a, b in PAIRS]


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("semicolons.csv", PLAIN.replace(",", ";"), "utf-8"),
        ("semicolons.csv", PLAIN.replace(",", ";"), "cp1252"),
        ("excel.csv", "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"), "utf-8-sig"),
        ("tabs.tsv", PLAIN.replace(",", "\t"), "utf-8"),
        ("unicode.csv", PLAIN.replace(",", "\t"), "utf-16"),
        ("pandas.csv", BACK, "utf-8"),
        ("dots.csv", BACK.replace("a\\", ".\\a\\").replace("b\\", ".\\b\\"), "utf-8"),
        ("windows.csv", WINDOWS, "utf-8"),
        ("quoted.csv", '"source";"target";"split"\n' + "".join(f'"{a}";"{b}";\n' for a, b in PAIRS), "utf-8"),
        ("array.jsonl", json.dumps(RECORDS), "utf-8"),
        ("array.json", json.dumps(RECORDS, indent=2), "utf-8"),
        ("lines.json", "".join(json.dumps(one).replace("/", "\\\\") + "\n" for one in RECORDS), "utf-8"),
    ],
)
def test_manifests_as_programs_write_them_say_the_same(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    for a, b in PAIRS:
        paint(tmp_path / a, DAWN)
        paint(tmp_path / b, DUSK)
    (tmp_path / name).write_bytes(text.encode(encoding))
    source = find(tmp_path / name, val_share=0.0)
    assert sorted(names(source, "train")) == ["1", "K\u00fcste 0"]
    assert colours(source) == {(DAWN, DUSK)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pairs.csv", "source;tarjet\na.png;b.png\n", "line 1 has no column 'target'; rename 'tarjet' to 'target'"),
        ("pairs.csv", "sep=;\nsource;target\na.png;gone.png\n", r"line 3: .*gone\.png"),
        ("pairs.csv", "source,target\na.png,..\\secret.png\n", "lies outside"),
        ("pairs.csv", "source,target\na.png,D:\\x\\..\\..\\secret.png\n", "lies outside|does not exist"),
        ("pairs.json", '[{"source": "a.png"}]', "entry 1 has no column 'target'"),
        ("pairs.json", '[{"source": "a.png",]', "is not JSON"),
        ("pairs.json", "[]", "lists no pairs"),
    ],
)
def test_their_faults_are_named_too(tmp_path: Path, name: str, text: str, message: str) -> None:
    paint(tmp_path / "data" / "a.png", DAWN)
    paint(tmp_path / "secret.png", DAWN)
    (tmp_path / "data" / name).write_text(text)
    with pytest.raises(UserError, match=message):
        find(tmp_path / "data")


def test_two_manifests_are_one_too_many(tmp_path: Path) -> None:
    for name in ("pairs.csv", "manifest.jsonl"):
        (tmp_path / name).write_text("source,target\n")
    with pytest.raises(UserError, match="several manifests"):
        find(tmp_path)


def test_absolute_paths_inside_the_folder_are_fine(tmp_path: Path) -> None:
    a, b = paint(tmp_path / "a.png", DAWN), paint(tmp_path / "b.png", DUSK)
    (tmp_path / "pairs.csv").write_text(f"source,target\n{a},{b}\n")
    assert names(find(tmp_path), "train") == ["a"]


def test_a_name_in_another_unicode_form_or_letter_case_is_found(tmp_path: Path) -> None:
    paint(tmp_path / "Dawn" / "Ku\u0308ste.png", DAWN)
    paint(tmp_path / "b.PNG", DUSK)
    (tmp_path / "pairs.csv").write_text("source,target\ndawn/K\u00fcste.png,B.png\n", encoding="utf-8")
    assert colours(find(tmp_path, val_share=0.0)) == {(DAWN, DUSK)}
