"""What a model says of itself for people."""

from __future__ import annotations

import json

import pytest

from export.edge.errors import UserError
from export.edge.info import describe
from export.edge.model import artifact
from export.edge.model.words import LONGEST, NO_WORDS, Words, read_words
from tests.edge.conftest import MakeModel


def test_a_file_says_them_or_not(make_model: MakeModel) -> None:
    assert artifact.open_artifact(make_model()).words == NO_WORDS
    model = artifact.open_artifact(make_model(title="Façades", input_name="label map"))
    assert model.words == Words("Façades", "label map")
    assert read_words(model.words.entries(), "") == model.words
    assert model.words.entries().keys() == {"title", "input_name"}


def test_they_are_part_of_what_is_known_of_a_file(make_model: MakeModel) -> None:
    known = describe(make_model(title="Winter", input_name="summer", target_name="winter"))
    assert (known["title"], known["input_name"], known["target_name"]) == ("Winter", "summer", "winter")
    assert json.loads(json.dumps(known)) == known


@pytest.mark.parametrize("name", ["title", "input_name", "target_name"])
@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "\x1b[31m", "\u202egnp", (LONGEST + 1) * "a"])
def test_what_is_no_short_line_is_refused(make_model: MakeModel, name: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        artifact.open_artifact(make_model(**{name: text}))
    said = str(caught.value)
    assert f"model.onnx: {name} " in said and said.endswith(
        "is not one line of 1 to 60 characters; name a shorter one at export"
    )
    assert said.isprintable() and len(said) < 400
