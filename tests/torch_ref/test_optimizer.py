"""AdamW's state goes in and out with the weights: exactly, to where it belongs, or not at all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from export.edge.errors import UserError
from tests.torch_ref.original_network import Held, Original, Script, assert_same, batch, convert, trained
from torch_ref.optimizer import read_training, write_training
from torch_ref.weights import load_bundle, save_bundle

Make = Callable[[str], Any]


@pytest.fixture(scope="module")
def script() -> Script:
    """A training of the original; don't change it."""
    return trained()


@pytest.fixture
def held(script: Script) -> Held:
    """A checkpoint of it, to be changed at will."""
    return copy.deepcopy(script.checkpoint())


@pytest.fixture
def pair(held: Held, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle and the moments that belong to it, from a checkpoint."""
    torch.save(held, tmp_path / "original.pth")
    paths = tmp_path / "m.safetensors", tmp_path / "o.safetensors"
    convert(tmp_path / "original.pth", paths[0], "--optimizer", paths[1])
    return paths


def test_in_and_out_again_is_exact(held: Held, tmp_path: Path) -> None:
    # A parameter group as another version of torch, or another hand, would have written it.
    held["optimizer_state_dict"]["param_groups"][0] |= {"foreach": False, "weight_decay": 0.05}
    held["scheduler_state_dict"] |= {"verbose": False}
    torch.save(held, tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "m.safetensors", "--optimizer", tmp_path / "o.safetensors")
    convert(tmp_path / "m.safetensors", tmp_path / "again.pth", "--optimizer", tmp_path / "o.safetensors")
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert_same({**again, "model_state_dict": dict(again["model_state_dict"])},
                {**held, "model_state_dict": dict(held["model_state_dict"])})  # fmt: skip
    assert list(again["model_state_dict"]) == list(held["model_state_dict"])


def test_the_original_goes_on_as_if_it_had_never_left(script: Script, held: Held, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "m.safetensors", "--optimizer", tmp_path / "o.safetensors")
    convert(tmp_path / "m.safetensors", tmp_path / "again.pth", "--optimizer", tmp_path / "o.safetensors")
    unbroken, resumed = copy.deepcopy(script), Script.resume(Original(8), tmp_path / "again.pth")
    for each in (unbroken, resumed):
        each.step(*batch(7))
        each.end_epoch()
        each.step(*batch(8))
    assert_same(resumed.checkpoint(), unbroken.checkpoint())


def test_the_order_of_parameters_is_that_of_a_checkpoint_given(script: Script, held: Held, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "m.safetensors", "--optimizer", tmp_path / "o.safetensors")
    # A training that was never in a checkpoint of the script knows no order of its own.
    training = read_training(tmp_path / "o.safetensors")
    facts = {name: value for name, value in training.facts.items() if name != "original"}
    write_training(tmp_path / "o.safetensors", replace(training, facts=facts))
    model = Original(8)
    model.outc, model.time_mlp = model._modules.pop("outc"), model._modules.pop("time_mlp")
    assert next(iter(model.state_dict())).startswith("inc.")
    torch.save(model.state_dict(), tmp_path / "like.pth")
    words = [tmp_path / "m.safetensors", tmp_path / "model.pth", "--optimizer", tmp_path / "o.safetensors"]
    for like, resumed in (([], Original(8)), (["--like", tmp_path / "like.pth"], model)):
        convert(*words, *like)
        back = Script.resume(resumed, tmp_path / "model.pth")
        assert_same(back.scheduler.state_dict(), script.scheduler.state_dict())
        assert back.optimizer.param_groups[0]["lr"] == 5e-5
        theirs = dict(script.model.named_parameters())
        for name, parameter in resumed.named_parameters():
            assert_same(back.optimizer.state[parameter], script.optimizer.state[theirs[name]], name)


def doubled(times: int) -> list:
    """A list of few lists that is as good as 2^times numbers long."""
    made: list = [0]
    for _ in range(times):
        made = [made, made]
    return made


def within(part: str, **values: object) -> Callable[[Held], None]:
    """Put values into AdamW's group, its first entry, or StepLR's state; None takes one out."""

    def change(held: Held) -> None:
        optimizer = held["optimizer_state_dict"]
        places = {"group": optimizer["param_groups"][0], "entry": optimizer["state"][0], "optimizer": optimizer}
        place = (places | {"scheduler": held["scheduler_state_dict"], "held": held})[part]
        for name, value in values.items():
            if value is None:
                del place[name]
            else:
                place[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (within("held", optimizer_state_dict=None), "it has no optimizer_state_dict"),
        (within("held", scheduler_state_dict=None), "it has no scheduler_state_dict"),
        (within("held", epoch="ten"), "epoch is 'ten', expected a number"),
        (within("held", optimizer_state_dict=[]), "no moments to keep"),
        (within("optimizer", param_groups=[]), "is not one AdamW over 78 parameters"),
        (within("group", params=[1, 0, *range(2, 78)]), "is not one AdamW over 78 parameters"),
        (within("group", betas=None), "is not one AdamW"),
        (within("group", lr=torch.tensor([1e-4, 1e-4])), "lr is tensor"),
        (within("group", lr=math.inf), "lr is inf"),
        (within("group", more=torch.zeros(1)), "holds more than plain numbers"),
        (within("group", more=doubled(60)), "holds more than plain numbers"),
        (within("entry", max_exp_avg_sq=torch.zeros(256, 1)), "expected AdamW's step, exp_avg, exp_avg_sq"),
        (within("entry", exp_avg=None), "expected AdamW's"),
        (within("entry", exp_avg=torch.zeros(1, 256)), r"exp_avg of time_mlp.0.weight is torch.float32 \(1, 256\)"),
        (within("entry", exp_avg=torch.zeros(256, 1, device="meta")), "exp_avg of time_mlp.0.weight is no plain"),
        (within("entry", exp_avg=[0.0]), "exp_avg of time_mlp.0.weight is no plain"),
        (within("entry", exp_avg=torch.full((256, 1), math.inf)), "exp_avg of time_mlp.0.weight is not finite"),
        (within("entry", exp_avg_sq=torch.full((256, 1), -1.0)), "a negative exp_avg_sq"),
        (within("entry", step=torch.tensor(9.0)), r"different steps, \[3.0, 9.0\]"),
        (within("scheduler", step_size=None), "not that of a StepLR"),
        (within("scheduler", gamma="half"), "gamma is 'half'"),
    ],
)
def test_trainings_that_cannot_be_kept(
    change: Callable[[Held], object], message: str, held: Held, tmp_path: Path
) -> None:
    change(held)
    torch.save(held, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=f"{message}.*leave out --optimizer"):
        convert(tmp_path / "bad.pth", tmp_path / "model.safetensors", "--optimizer", tmp_path / "o.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


def test_weights_come_without_a_training_that_cannot_be_kept(held: Held, tmp_path: Path) -> None:
    held["optimizer_state_dict"]["param_groups"] = []
    torch.save(held, tmp_path / "bad.pth")
    convert(tmp_path / "bad.pth", tmp_path / "model.safetensors")
    assert load_bundle(tmp_path / "model.safetensors").config["model"]["width"] == 8


def test_moments_of_other_or_averaged_weights_are_refused(
    pair: tuple[Path, Path], make_bundle: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"belongs to the weights [0-9a-f]{16}, and .*tanh.safetensors holds"):
        convert(make_bundle("tanh"), tmp_path / "model.pth", "--optimizer", pair[1])
    bundle = load_bundle(pair[0])
    bundle.config["optim"]["ema_decay"] = 0.9
    save_bundle(pair[0], bundle.model.state_dict(), bundle.alphas_cumprod, bundle.config)
    with pytest.raises(UserError, match="holds averaged weights, and AdamW's moments belong to the raw ones"):
        convert(pair[0], tmp_path / "model.pth", "--optimizer", pair[1])
    assert not (tmp_path / "model.pth").exists()


@pytest.mark.parametrize("original", [[], {"order": 3}, {"param_group": {}}, 1e300])
def test_facts_of_another_shape(original: object, pair: tuple[Path, Path], tmp_path: Path) -> None:
    training = read_training(pair[1])
    write_training(tmp_path / "o.safetensors", replace(training, facts=training.facts | {"original": original}))
    with pytest.raises(UserError, match="is not complete"):
        convert(pair[0], tmp_path / "model.pth", "--optimizer", tmp_path / "o.safetensors")


@pytest.mark.parametrize("change", ["moment", "fact"])
def test_moments_that_do_not_fit_their_digest(change: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    tensors = load_file(pair[1])
    with safe_open(pair[1], framework="numpy") as file:
        metadata = file.metadata()
    if change == "moment":
        tensors["mu.outc.bias"] = tensors["mu.outc.bias"] * 1.001
    else:
        metadata["training"] = metadata["training"].replace('"step": 3', '"step": 4')
    save_file(tensors, pair[1], metadata)
    with pytest.raises(UserError, match="does not match its digest"):
        convert(pair[0], tmp_path / "model.pth", "--optimizer", pair[1])


@pytest.mark.parametrize("change", ["bundle", "cut", "missing", "moment", "fact", "order"])
def test_files_that_are_no_moments(change: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    training = read_training(pair[1])
    message = {"bundle": "is of format 'dawn2dusk'", "cut": "not a whole safetensors", "missing": "does not exist"}
    if change == "bundle":
        pair[1].write_bytes(pair[0].read_bytes())
    elif change == "cut":
        pair[1].write_bytes(pair[1].read_bytes()[:999])
    elif change == "missing":
        pair[1].unlink()
    elif change == "moment":
        training.nu.pop("outc.bias")
        write_training(pair[1], training)
    elif change == "order":
        training.facts["original"]["order"].pop()
        write_training(pair[1], training)
    else:
        training.facts.pop("step")
        write_training(pair[1], training)
    expected = message | {"moment": "lacks outc.bias", "fact": "is not complete", "order": "is not complete"}
    with pytest.raises(UserError, match=expected[change]):
        convert(pair[0], tmp_path / "model.pth", "--optimizer", pair[1])
    assert not (tmp_path / "model.pth").exists()


@pytest.mark.parametrize(("schedule", "rate"), [("cosine", 4e-5), ("warm-up", 4e-5), ("cosine", 0.0)])
def test_step_lr_takes_over_from_another_schedule_or_says_why_not(
    schedule: str, rate: float, pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = read_training(pair[1])
    training.facts.pop("original")
    write_training(pair[1], replace(training, facts=training.facts | {"schedule": schedule, "learning_rate": rate}))
    words = [pair[0], tmp_path / "model.pth", "--optimizer", pair[1]]
    if rate == 0.0:
        with pytest.raises(UserError, match="from the end of a cosine schedule, at a learning rate of 0"):
            convert(*words)
        return
    convert(*words)
    assert f"the script has no {schedule} schedule; it goes on by its StepLR" in capsys.readouterr().out
    script = Script.resume(Original(8), tmp_path / "model.pth")
    assert script.optimizer.param_groups[0]["lr"] == 4e-5
    for _ in range(200 - script.epoch):
        script.end_epoch()
    assert script.optimizer.param_groups[0]["lr"] == 2e-5
