"""The model's file is opened while a command does other things; what is wrong with it is said to who waits for it."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from export.edge.arguments import make_parser
from export.edge.errors import UserError
from export.edge.model.sealed import open_sealed
from export.edge.opening import begun

MakeModel = Callable[..., Path]


def told(*words: object) -> argparse.Namespace:
    return make_parser().parse_intermixed_args([*map(str, words), "photo.jpg", "out.jpg"])


def test_it_is_open_before_anybody_waits(make_model: MakeModel) -> None:
    model = make_model()
    _, metadata = open_sealed(model, 1)
    others = threading.active_count()
    with begun(told(model, "--threads", 1)) as opening:
        assert opening is not None
        deadline = time.monotonic() + 60
        while threading.active_count() > others and time.monotonic() < deadline:
            time.sleep(0.01)
        model.unlink()
        session, found = opening()
        assert found == metadata and session.get_session_options().intra_op_num_threads == 1
        assert opening()[0] is session


def test_the_folder_the_variant_and_the_digest_that_were_named_are_used(make_model: MakeModel, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    (folder / "onnx").mkdir(parents=True)
    make_model(precision="int8").rename(folder / "onnx/model_int8.onnx")
    with begun(told(folder, "--variant", "int8")) as opening:
        assert opening is not None and opening()[1]["precision"] == "int8"
    with begun(told(folder, "--variant", "int8", "--expect-sha256", 64 * "0")) as opening:
        assert opening is not None
        with pytest.raises(UserError, match="not the expected 0000"):
            opening()


def test_an_error_is_raised_where_it_is_waited_for_each_time(tmp_path: Path) -> None:
    with begun(told(tmp_path / "none.onnx")) as opening:
        assert opening is not None
        for _ in range(2):
            with pytest.raises(UserError, match=r"none\.onnx"):
                opening()
    with begun(told(tmp_path / "none.onnx")):
        pass


def test_its_thread_has_ended_when_the_command_goes_on_or_fails(make_model: MakeModel) -> None:
    arguments, others = told(make_model()), threading.active_count()
    with begun(arguments):
        pass
    assert threading.active_count() == others
    with pytest.raises(ZeroDivisionError), begun(arguments):
        raise ZeroDivisionError
    assert threading.active_count() == others


def test_a_whole_translation_in_one_graph_is_opened_elsewhere(tmp_path: Path) -> None:
    others = threading.active_count()
    with begun(told(tmp_path / "none.onnx", "--graph")) as opening:
        assert opening is None and threading.active_count() == others


@pytest.mark.usefixtures("no_more_threads")
def test_without_another_thread_it_is_opened_by_who_waits(make_model: MakeModel) -> None:
    model = make_model()
    with begun(told(model, "--threads", 1)) as opening:
        assert opening is not None and opening()[1]["format"] == "dawn2dusk"
        assert opening()[0] is opening()[0]
