from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE
from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.chat_format import load_chat_format
from storage.settings.sections import DemonstrationSettings, TrainingSettings
from tests.trainer.training.logps import answer_logp, log_ratio
from trainer.errors import TrainerError, TrainingDiverged
from trainer.progress import Phase, RoundProgress
from trainer.training.memory_plan import SMALLER
from trainer.training.recipes import SFT, TrainingSplit, as_demonstrated
from trainer.training.rows import Demonstration, demonstration_row
from trainer.training.train import TrainingJob, TrainingMetrics, train_adapter

SETTINGS = TrainingSettings(
    patience=0,
    min_steps=0,
    dtype="float32",
    learning_rate=5e-3,
    epochs=3,
    lora_rank=4,
    batch_size=2,
)
PROMPT = "<|im_start|>user\nHow are you, {}?<|im_end|>\n<|im_start|>assistant\n"
NAMES = ("Ana", "Bo", "Cy", "Di", "Eve", "Flo")
SHOWN = [Demonstration(PROMPT.format(name), "Yes, of course.") for name in NAMES]
TURNED = [Demonstration(PROMPT.format(name), "No, sorry, I do not know that one.") for name in NAMES]
LONG = Demonstration(PROMPT.format("Ana"), "Yes. " * 400)


def train(
    base: BaseModel,
    output: Path,
    *,
    train=SHOWN[:4],
    validation=(),
    starter=None,
    settings=SETTINGS,
    report=None,
    recipe=SFT,
) -> TrainingMetrics:  # type: ignore[no-untyped-def]
    return train_adapter(
        TrainingJob(recipe, TrainingSplit(train, validation), settings, base, output, starter=starter),
        report or (lambda _progress: None),
    )


def tokens(base: BaseModel, demonstration: Demonstration) -> int:
    """Length of the answer with its end token."""
    return len(load_tokenizer(base.path)(demonstration.answer, add_special_tokens=False)["input_ids"]) + 1


def loss(base: BaseModel, adapter: Path | None, *shown: Demonstration) -> float:
    """Of all answer tokens, in nats per token."""
    total = sum(answer_logp(base, adapter, each.prompt, each.answer) for each in shown)
    return -total / sum(tokens(base, each) for each in shown)


@pytest.fixture(scope="module")
def trained(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the four demonstrations, which no test changes."""
    folder = tmp_path_factory.mktemp("trained") / "out"
    train(base, folder)
    return folder


def test_demonstrations_become_likelier_than_with_the_starter(base, trained, tmp_path):
    train(base, tmp_path / "child", starter=trained)
    for output, parent in ((trained, None), (tmp_path / "child", trained)):
        assert log_ratio(base, output, parent, SHOWN[4].prompt, SHOWN[4].answer) > 0.01
    assert sorted(path.name for path in (tmp_path / "child").iterdir() if path.is_dir()) == []


def test_a_child_starts_where_its_starter_ended(base, trained, tmp_path):
    still = SETTINGS.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    train(base, tmp_path / "child", starter=trained, settings=still)
    starter, child = (load_file(folder / WEIGHTS_FILE) for folder in (trained, tmp_path / "child"))
    assert all(torch.allclose(starter[name], child[name], atol=1e-9) for name in starter)


def test_loss_is_the_hand_computed_one(base, tmp_path):
    """The mean over the answers' tokens and their end tokens; the prompts' tokens count nothing."""
    shown = [SHOWN[0], TURNED[1]]
    metrics = {
        steps: train(base, tmp_path / f"{steps}", train=shown, settings=SETTINGS.model_copy(update={"epochs": steps}))
        for steps in (1, 2)
    }
    expected = [loss(base, None, *shown), loss(base, tmp_path / "1", *shown)]
    assert expected[0] > expected[1] + 0.01
    assert metrics[2].loss_curve == pytest.approx(expected, abs=1e-4)


def test_loss_does_not_depend_on_how_many_are_computed_at_once(base, tmp_path):
    shown, once = [SHOWN[0], TURNED[1]], SETTINGS.model_copy(update={"epochs": 1})
    together = train(base, tmp_path / "together", train=shown, settings=once)
    apart = train(base, tmp_path / "apart", train=shown, settings=once, recipe=replace(SFT, plan=SMALLER[-1]))
    assert apart.steps == together.steps == 1
    assert apart.train_loss == pytest.approx(together.train_loss, abs=1e-5)


def test_an_answer_that_brings_its_end_token_trains_the_same(base):
    chat = load_chat_format(base.path, {})
    ended = Demonstration(SHOWN[0].prompt, f"{SHOWN[0].answer}<|im_end|>")
    assert demonstration_row(ended, chat) == demonstration_row(SHOWN[0], chat)


def test_margins_of_demonstrations_are_per_token(base, tmp_path):
    train(base, tmp_path / "starter", train=TURNED[:4])
    metrics = train(base, tmp_path / "out", starter=tmp_path / "starter", validation=[TURNED[4], LONG, SHOWN[5]])
    expected = [
        log_ratio(base, tmp_path / "out", tmp_path / "starter", each.prompt, each.answer) / tokens(base, each)
        for each in (TURNED[4], SHOWN[5])
    ]
    assert expected[1] > expected[0] + 0.01
    assert (metrics.validation_pairs, metrics.strength) == (2, 1.0)
    assert metrics.validation_margin == pytest.approx(sum(expected) / 2, abs=1e-4)


def test_same_demonstrations_and_seed_give_the_same_bytes(base, trained, tmp_path):
    torch.rand(3)  # earlier random numbers must not matter
    train(base, tmp_path / "b")
    train(base, tmp_path / "c", settings=SETTINGS.model_copy(update={"seed": 18}))
    first, again, other = ((folder / WEIGHTS_FILE).read_bytes() for folder in (trained, tmp_path / "b", tmp_path / "c"))
    assert first == again != other


def test_training_ends_when_validation_gets_worse_and_the_best_pass_is_kept(base, tmp_path):
    other = [Demonstration(each.prompt, "zzz 77 qqq") for each in SHOWN[4:]]
    whole = SETTINGS.model_copy(update={"batch_size": 4})  # one step in a pass
    metrics = train(
        base,
        tmp_path / "stopped",
        validation=other,
        settings=whole.model_copy(update={"epochs": 4, "patience": 1, "learning_rate": 5e-2}),
    )
    train(base, tmp_path / "one pass", settings=whole.model_copy(update={"epochs": 1, "learning_rate": 5e-2}))
    assert (metrics.steps, metrics.epochs_trained) == (2, 1.0)
    kept, best = ((tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("stopped", "one pass"))
    assert kept == best


def test_too_long_demonstrations_are_left_out_and_counted(base, tmp_path):
    metrics = train(base, tmp_path / "out", train=[*SHOWN[:4], LONG], validation=[LONG])
    assert (metrics.objective, metrics.pairs, metrics.left_out) == ("sft", 4, 2)
    assert (metrics.validation_pairs, metrics.validation_margin) == (0, None)


def test_round_in_which_no_demonstration_fits_is_refused(base, tmp_path):
    with pytest.raises(TrainerError, match=r"none of 1 example answers fits into training\.max_tokens"):
        train(base, tmp_path / "out", train=[LONG])
    assert not (tmp_path / "out" / CONFIG_FILE).exists()


def test_nan_loss_ends_training_and_writes_no_adapter(base, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"step 2: lower training\.learning_rate"):
        train(base, tmp_path / "out", settings=SETTINGS.model_copy(update={"learning_rate": 1e30}))
    assert not (tmp_path / "out" / CONFIG_FILE).exists()


def test_progress_goes_through_the_phases_and_training_prints_nothing(base, tmp_path, capfd):
    said: list[RoundProgress] = []
    train(base, tmp_path / "out", validation=SHOWN[4:5], report=said.append)
    phases = [Phase.LOADING, Phase.REFERENCE, Phase.TRAINING, Phase.VALIDATING]
    assert list(dict.fromkeys(each.phase for each in said)) == phases
    assert [(each.step, each.steps) for each in said if each.phase is Phase.REFERENCE] == [(0, 1), (1, 1)]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_demonstration_settings_stand_in_for_those_of_rounds():
    training = TrainingSettings(lora_rank=7, epochs=1.0)
    used = as_demonstrated(training, DemonstrationSettings(epochs=9.0))
    assert (used.epochs, used.lora_rank) == (9.0, 7)


@pytest.mark.parametrize("name", ["_prepare_dataset", "_send_telemetry"])
def test_trl_still_has_the_private_methods_that_are_overridden(name):
    """Renamed in TRL, they would run again: special tokens twice, and telemetry to the hub."""
    from trl import SFTTrainer

    from trainer.training.trl_trainers import DemonstrationTrainer

    assert callable(getattr(SFTTrainer, name))
    assert getattr(DemonstrationTrainer, name) is not getattr(SFTTrainer, name)
