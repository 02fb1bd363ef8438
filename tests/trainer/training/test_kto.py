import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storage.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from storage.models.base_model import BaseModel, resolve_base_model
from storage.settings.sections import TrainingSettings
from tests.tiny_model import build_tiny_base
from tests.trainer.training.logps import log_ratio
from trainer.errors import TrainerError, TrainingDiverged
from trainer.progress import ReportProgress
from trainer.training.common import TrainingMetrics
from trainer.training.dpo import PreferencePair
from trainer.training.kto import Balance, RatedAnswer, _shuffle, balance_kinds, train_kto

SETTINGS = TrainingSettings(
    objective="kto", dtype="float32", learning_rate=5e-3, epochs=3, lora_rank=4, lora_alpha=8, sft_weight=1.0
)
PROMPT = "<|im_start|>user\nHow are you, {}?<|im_end|>\n<|im_start|>assistant\n"
NAMES = ("Ana", "Bo", "Cy", "Di", "Eve", "Flo")
LIKED = [RatedAnswer(PROMPT.format(name), "Yes, of course.", liked=True) for name in NAMES]
DISLIKED = [RatedAnswer(PROMPT.format(name), "No, sorry.", liked=False) for name in NAMES]
ANSWERS = [*LIKED[:4], *DISLIKED[:4]]
LONG = RatedAnswer(PROMPT.format("Ana"), "Yes. " * 400, liked=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> BaseModel:
    folder = tmp_path_factory.mktemp("base")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


def train(
    base: BaseModel,
    output: Path,
    *,
    train=ANSWERS,
    validation=(),
    holdout=(),
    holdout_single=(),
    parent=None,
    settings=SETTINGS,
    report=None,
) -> TrainingMetrics:  # type: ignore[no-untyped-def]
    return train_kto(
        train,
        validation,
        holdout,
        holdout_single,
        base=base,
        parent=parent,
        output=output,
        settings=settings,
        report=report or (lambda _progress: None),
    )


def reward(base: BaseModel, policy: Path, parent: Path | None, answer: RatedAnswer) -> float:
    return SETTINGS.beta * log_ratio(base, policy, parent, answer.prompt, answer.answer)


def sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def test_liked_answers_become_likelier_than_with_the_parent_and_disliked_ones_less_likely(base, tmp_path):
    train(base, tmp_path / "parent")
    train(base, tmp_path / "child", parent=tmp_path / "parent")
    for output, parent in (("parent", None), ("child", tmp_path / "parent")):
        assert reward(base, tmp_path / output, parent, LIKED[4]) > 0.01
        assert reward(base, tmp_path / output, parent, DISLIKED[4]) < -0.01
    assert sorted(path.name for path in (tmp_path / "child").iterdir() if path.is_dir()) == []


def test_loss_is_the_hand_computed_one(base, tmp_path):
    """Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 7, on the second step, where policy and reference differ."""
    disliked = RatedAnswer(PROMPT.format("Cy"), "No, sorry.", liked=False, weight=0.5)
    answers = _shuffle([LIKED[0], LIKED[1], disliked], SETTINGS.seed)
    metrics = {
        steps: train(
            base,
            tmp_path / f"{steps} steps",
            train=[LIKED[0], LIKED[1], disliked],
            settings=SETTINGS.model_copy(update={"epochs": steps, "learning_rate": 5e-2}),
        )
        for steps in (1, 2)
    }
    after_one = tmp_path / "1 steps"
    mismatched = [
        log_ratio(base, after_one, None, answer.prompt, before.answer)
        for before, answer in zip([answers[-1], *answers], answers, strict=False)
    ]
    divergence = SETTINGS.beta * sum(mismatched) / 3
    losses = [
        1 - sigmoid(reward(base, after_one, None, LIKED[0]) - divergence),
        1 - sigmoid(reward(base, after_one, None, LIKED[1]) - divergence),
        # Half a disliked answer stands against two liked ones, so its kind's factor is 4.
        4 * 0.5 * (1 - sigmoid(divergence - reward(base, after_one, None, disliked))),
    ]
    assert divergence > 0.01
    assert metrics[2].loss_curve == (pytest.approx(4 * 0.5 / 3), pytest.approx(sum(losses) / 3, abs=1e-4))


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_weight_scales_the_loss(base, tmp_path, weight):
    answers = [RatedAnswer(each.prompt, each.answer, each.liked, weight) for each in ANSWERS]
    settings = SETTINGS.model_copy(update={"epochs": 1})
    assert train(base, tmp_path / "out", train=answers, settings=settings).train_loss == pytest.approx(weight * 0.5)


def test_an_answer_without_weight_teaches_nothing(base, tmp_path):
    """It stands at every place of a batch in turn, so each weight must go with its own answer."""
    once = SETTINGS.model_copy(update={"epochs": 1})
    for place in range(3):
        adapters = []
        for liked in (True, False):
            answers = [LIKED[0], DISLIKED[1]]
            answers.insert(place, RatedAnswer(LIKED[2].prompt, "Try the soup.", liked, weight=0.0))
            train(base, tmp_path / f"{place} {liked}", train=answers, settings=once)
            adapters.append(load_file(tmp_path / f"{place} {liked}" / WEIGHTS_FILE))
        one, other = adapters
        assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_the_rarer_kind_is_raised_until_both_weigh_the_same():
    def rows(*weights: tuple[bool, float]):  # type: ignore[no-untyped-def]
        return [{"label": liked, "weight": weight} for liked, weight in weights]

    assert balance_kinds(rows((True, 1.0), (False, 1.0))) == Balance(1.0, 1.0)
    assert balance_kinds(rows((True, 1.0), (False, 1.0), (False, 2.0))) == Balance(3.0, 1.0)
    assert balance_kinds(rows((True, 1.0), (True, 1.0), (False, 0.5))) == Balance(1.0, 4.0)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (LIKED, "liked"),
        (DISLIKED, "disliked"),
        ([*DISLIKED, LONG], "disliked"),
        ([*LIKED, RatedAnswer(PROMPT.format("Ana"), "No.", liked=False, weight=0.0)], "liked"),
    ],
)
def test_votes_of_one_kind_are_refused_with_a_sentence(base, tmp_path, answers, kind):
    with pytest.raises(TrainerError, match=rf"needs both liked and disliked answers.* were {kind}: .*objective"):
        train(base, tmp_path / "out", train=answers)
    assert not (tmp_path / "out" / CONFIG_FILE).exists()


def test_round_in_which_no_answer_fits_is_refused(base, tmp_path):
    with pytest.raises(TrainerError, match=r"none of 1 answers fits into training\.max_tokens"):
        train(base, tmp_path / "out", train=[LONG])


def test_too_long_answers_are_left_out_and_counted(base, tmp_path):
    metrics = train(base, tmp_path / "out", train=[*ANSWERS, LONG], validation=[LONG], holdout_single=[LONG])
    assert (metrics.objective, metrics.pairs, metrics.left_out) == ("kto", 8, 3)
    assert (metrics.holdout_pairs, metrics.holdout_margins, metrics.holdout_accuracy) == (0, (None,), None)


def test_margins_of_held_out_pairs_come_in_their_order(base, tmp_path):
    pair = PreferencePair(LIKED[4].prompt, LIKED[4].answer, DISLIKED[4].answer)
    turned = PreferencePair(pair.prompt, pair.rejected, pair.chosen)
    long = PreferencePair(pair.prompt, LONG.answer, "No.")
    metrics = train(base, tmp_path / "out", holdout=[turned, long, pair], holdout_single=[LIKED[5]])
    expected = reward(base, tmp_path / "out", None, LIKED[4]) - reward(base, tmp_path / "out", None, DISLIKED[4])
    assert expected > 0.01
    assert metrics.holdout_margins == (pytest.approx(-expected, abs=1e-4), None, pytest.approx(expected, abs=1e-4))


def test_margins_of_single_answers_are_measured_from_their_mean(base, tmp_path):
    held_out = [DISLIKED[4], LONG, LIKED[4], LIKED[5]]
    metrics = train(base, tmp_path / "out", holdout_single=held_out)
    rewards = [reward(base, tmp_path / "out", None, answer) for answer in (DISLIKED[4], LIKED[4], LIKED[5])]
    mean = sum(rewards) / 3
    assert metrics.holdout_margins == (
        pytest.approx(mean - rewards[0], abs=1e-4),
        None,
        pytest.approx(rewards[1] - mean, abs=1e-4),
        pytest.approx(rewards[2] - mean, abs=1e-4),
    )
    assert (metrics.holdout_pairs, metrics.holdout_accuracy) == (3, 1.0)


def test_same_answers_and_seed_give_the_same_bytes(base, tmp_path):
    train(base, tmp_path / "a")
    torch.rand(3)  # whatever ran before must not matter
    train(base, tmp_path / "b")
    train(base, tmp_path / "c", settings=SETTINGS.model_copy(update={"seed": 18}))
    first, again, other = ((tmp_path / name / WEIGHTS_FILE).read_bytes() for name in "abc")
    assert first == again != other


def test_training_ends_when_validation_gets_worse_and_the_best_pass_is_kept(base, tmp_path):
    turned = [RatedAnswer(answer.prompt, answer.answer, not answer.liked) for answer in (LIKED[4], DISLIKED[4])]
    stopping = SETTINGS.model_copy(update={"epochs": 4, "patience": 1})
    metrics = train(base, tmp_path / "stopped", validation=turned, settings=stopping)
    train(base, tmp_path / "one pass", settings=SETTINGS.model_copy(update={"epochs": 1}))
    assert (metrics.steps, metrics.epochs_trained) == (2, 1.0)
    kept, best = ((tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("stopped", "one pass"))
    assert kept == best


def test_a_step_takes_as_many_answers_as_dpo_does(base, tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 1, "batch_size": 2})
    assert train(base, tmp_path / "out", train=[*LIKED[:3], *DISLIKED[:2]], settings=settings).steps == 2


def test_loss_that_is_no_number_ends_training_and_writes_no_adapter(base, tmp_path):
    with pytest.raises(TrainingDiverged, match="step 2"):
        train(base, tmp_path / "out", settings=SETTINGS.model_copy(update={"learning_rate": 1e30}))
    assert not (tmp_path / "out" / CONFIG_FILE).exists()


def test_progress_goes_through_the_phases_and_training_prints_nothing(base, tmp_path, capfd):
    said: list[ReportProgress] = []
    train(base, tmp_path / "out", validation=[LIKED[4]], holdout_single=[LIKED[5]], report=said.append)
    assert list(dict.fromkeys(each.phase for each in said)) == ["loading", "reference", "training", "evaluating"]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
