import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE, AdapterStore
from storage.errors import AdapterError
from storage.models.adapter_checks import require_base
from storage.models.base_model import BaseModel, load_model, load_on_device, load_tokenizer
from storage.models.chat_format import load_chat_format
from storage.models.hardware import cpu_threads
from storage.settings.sections import TrainingSettings
from tests.trainer.training.logps import answer_logp, log_ratio
from trainer.errors import TrainerError, TrainingDiverged
from trainer.progress import Phase, RoundProgress
from trainer.training.memory_plan import micro_batch
from trainer.training.recipes import DPO, MOST_PASSES, TrainingSplit, for_so_many, warmup_share
from trainer.training.rows import PreferencePair, pair_row
from trainer.training.train import FEWEST_WATCHED, TrainingJob, TrainingMetrics, thin, train_adapter

SETTINGS = TrainingSettings(patience=0, min_steps=0, dtype="float32", learning_rate=5e-3, epochs=3, lora_rank=4)
PROMPT = "<|im_start|>user\nHow are you, {}?<|im_end|>\n<|im_start|>assistant\n"
PAIRS = [
    PreferencePair(PROMPT.format(name), "Yes, of course.", "No, sorry.") for name in ("Ana", "Bo", "Cy", "Di", "Eve")
]


def train(
    base: BaseModel,
    output: Path,
    *,
    train=PAIRS[:4],
    validation=(),
    starter=None,
    settings=SETTINGS,
    report=None,
) -> TrainingMetrics:  # type: ignore[no-untyped-def]
    return train_adapter(
        TrainingJob(DPO, TrainingSplit(train, validation), settings, base, output, starter=starter),
        report or (lambda _progress: None),
    )


@pytest.fixture(scope="module")
def plain(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingMetrics]:
    """An adapter of the four pairs, which no test changes, and what its training measured."""
    folder = tmp_path_factory.mktemp("plain") / "out"
    return folder, train(base, folder)


@pytest.fixture(scope="module")
def trained(plain: tuple[Path, TrainingMetrics]) -> Path:
    return plain[0]


def margin(base: BaseModel, policy: Path, reference: Path | None, pair: PreferencePair) -> float:
    chosen, rejected = (
        log_ratio(base, policy, reference, pair.prompt, answer) for answer in (pair.chosen, pair.rejected)
    )
    return SETTINGS.beta * (chosen - rejected)


def test_the_adapter_moves_and_can_be_published_and_the_base_stays(base, tmp_path):
    before = (base.path / "model.safetensors").read_bytes()
    store = AdapterStore(tmp_path / "store")
    with store.stage() as staging:
        train(base, staging)
        digest = store.publish(staging)
    require_base(store.path(digest), base)  # it raises otherwise
    weights = load_file(store.path(digest) / WEIGHTS_FILE)
    assert all("lora_" in name for name in weights)
    assert all(tensor.abs().sum() > 0 for name, tensor in weights.items() if "lora_B" in name)
    assert (base.path / "model.safetensors").read_bytes() == before


def test_adapter_does_not_fit_another_base(base, trained):
    other = BaseModel("other", base.path, "0" * 16, "GemmaForCausalLM")
    with pytest.raises(AdapterError, match="not on other"):
        require_base(trained, other)


def test_easy_preference_is_learnt_and_carries_to_other_prompts(base, tmp_path):
    losses = []
    metrics = train(
        base,
        tmp_path / "out",
        validation=PAIRS[4:],
        report=lambda progress: losses.append(progress.loss) if progress.loss is not None else None,
    )
    assert losses[-1] < losses[0]
    assert metrics.train_loss == pytest.approx(sum(losses) / len(losses), rel=1e-3)
    assert (metrics.pairs, metrics.validation_pairs, metrics.steps, metrics.left_out) == (4, 1, 3, 0)
    assert metrics.validation_accuracy == 1.0
    assert metrics.validation_margin is not None
    assert metrics.validation_margin == pytest.approx(margin(base, tmp_path / "out", None, PAIRS[4]), abs=1e-4)


def test_the_starter_is_the_reference_and_is_left_as_it_was(base, trained, tmp_path):
    before = (trained / WEIGHTS_FILE).read_bytes()
    metrics = train(base, tmp_path / "second", validation=PAIRS[4:], starter=trained)
    assert (trained / WEIGHTS_FILE).read_bytes() == before
    assert (tmp_path / "second" / WEIGHTS_FILE).read_bytes() != before
    to_starter = margin(base, tmp_path / "second", trained, PAIRS[4])
    to_base = margin(base, tmp_path / "second", None, PAIRS[4])
    assert metrics.validation_margin == pytest.approx(to_starter, abs=1e-4)
    assert to_base > to_starter + 0.01
    assert sorted(path.name for path in (tmp_path / "second").iterdir() if path.is_dir()) == []


def test_same_pairs_and_seed_give_the_same_bytes(base, trained, tmp_path):
    torch.rand(3)  # earlier random numbers must not matter
    train(base, tmp_path / "b")
    train(base, tmp_path / "c", settings=SETTINGS.model_copy(update={"seed": 18}))
    first, again, other = ((folder / WEIGHTS_FILE).read_bytes() for folder in (trained, tmp_path / "b", tmp_path / "c"))
    assert first == again != other


def test_loss_is_hand_computed_dpo_plus_likelihood(base, tmp_path):
    losses = []
    pair = PAIRS[0]
    train(
        base,
        tmp_path / "out",
        train=[pair],
        settings=SETTINGS.model_copy(update={"epochs": 1, "sft_weight": 0.5}),
        report=lambda progress: losses.append(progress.loss),
    )
    tokens = len(load_tokenizer(base.path)(pair.chosen)["input_ids"]) + 1
    # At the start policy and reference agree, so the DPO term is -log(sigmoid(0)) = log 2.
    expected = 0.6931 - 0.5 * answer_logp(base, None, pair.prompt, pair.chosen) / tokens
    assert next(loss for loss in losses if loss is not None) == pytest.approx(expected, abs=1e-3)


def test_every_pair_of_a_step_counts_by_its_own_weight(base, tmp_path):
    """Prompts and answers of unequal length share batches, and the last step of a pass is shorter than the others."""
    settings = SETTINGS.model_copy(update={"epochs": 1, "batch_size": 4, "learning_rate": 1e-9})
    pairs = [
        PreferencePair(PROMPT.format("Ana " * (1 + index)), "Yes. " * (1 + 2 * index), "No.", weight)
        for index, weight in enumerate((0.25, 1.0, 2.0, 0.5, 3.0))
    ]
    expected = []
    for pair in pairs:
        tokens = len(load_tokenizer(base.path)(pair.chosen)["input_ids"]) + 1
        expected.append(pair.weight * (math.log(2) - answer_logp(base, None, pair.prompt, pair.chosen) / tokens))
    first, second = train(base, tmp_path / "out", train=pairs, settings=settings).loss_curve
    assert 4 * first + second == pytest.approx(sum(expected), rel=1e-4)


def test_long_pairs_are_computed_one_by_one_with_the_same_result(base, tmp_path):
    """The longest row decides how many pairs are computed at once, so that memory stays within bounds."""
    long = PreferencePair(PAIRS[4].prompt, "Yes. " * 130, "No.")
    patient = SETTINGS.model_copy(update={"patience": 9})
    at_once = train(base, tmp_path / "at once", validation=PAIRS[4:] * 8, settings=patient)
    one_by_one = train(base, tmp_path / "one by one", validation=[*PAIRS[4:] * 8, long], settings=patient)
    assert one_by_one.left_out == 0
    assert one_by_one.loss_curve == pytest.approx(at_once.loss_curve, rel=1e-4)


def test_as_many_items_are_computed_at_once_as_divide_the_step_and_fit():
    assert [micro_batch(4, tokens, 1024) for tokens in (1, 256, 257, 512, 513, 5000)] == [4, 4, 2, 2, 1, 1]
    assert [micro_batch(6, tokens, 1024) for tokens in (200, 400, 600)] == [3, 2, 1]


ENOUGH = PAIRS[4:] * FEWEST_WATCHED
AGAINST = [PreferencePair(pair.prompt, pair.rejected, pair.chosen) for pair in ENOUGH]


def learned(folder: Path, strength: float = 1.0) -> dict[str, torch.Tensor]:
    """Return what an adapter learned, without its strength."""
    weights = load_file(folder / WEIGHTS_FILE)
    return {name: weight / strength for name, weight in weights.items() if "lora_B" in name}  # it starts at 0


@pytest.fixture(scope="module")
def one_pass(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one pass") / "out"
    train(base, folder, settings=SETTINGS.model_copy(update={"epochs": 1, "sft_weight": 0}))
    return folder


@pytest.mark.parametrize(("patience", "steps"), [(2, 3), (9, 4)])
def test_training_ends_when_validation_gets_worse_and_the_best_pass_is_kept(base, one_pass, tmp_path, patience, steps):
    """Every pass makes pairs that ask for the opposite worse, so the first pass is the best."""
    long = SETTINGS.model_copy(update={"epochs": 4, "sft_weight": 0, "patience": patience})
    metrics = train(base, tmp_path / "stopped", validation=AGAINST, settings=long)
    assert (metrics.steps, metrics.epochs_trained) == (steps, 1.0)
    torch.testing.assert_close(learned(tmp_path / "stopped", metrics.strength), learned(one_pass))
    kept = margin(base, tmp_path / "stopped", None, PAIRS[4])
    assert metrics.validation_margin == pytest.approx(-kept, abs=1e-4), "the margins are of that pass"


def test_a_few_pairs_get_enough_steps(base, tmp_path):
    few = SETTINGS.model_copy(update={"epochs": 1, "min_steps": 6})
    metrics = train(base, tmp_path / "out", settings=few)
    assert (metrics.pairs, metrics.steps, metrics.epochs_trained) == (4, 6, 6.0)
    assert for_so_many(4, few.model_copy(update={"epochs": 8})).epochs == 8
    assert for_so_many(4, few.model_copy(update={"min_steps": 48})).epochs == MOST_PASSES


def test_pairs_of_our_own_are_trained_on_and_counted_apart(base, tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 1})
    job = TrainingJob(DPO, TrainingSplit(PAIRS[:4], ours=PAIRS[4:6] * 2), settings, base, tmp_path / "out")
    metrics = train_adapter(job, lambda _progress: None)
    assert (metrics.pairs, metrics.steps) == (4, 2)


def test_the_first_of_many_steps_are_smaller_ones():
    assert [warmup_share(examples, SETTINGS) for examples in (2, 8, 40)] == [0.0, 0.0, 0.1]


@pytest.mark.parametrize(("wanted", "strength"), [(ENOUGH, 1.5), (AGAINST, 0.5)])
def test_peoples_pairs_choose_the_strength(base, trained, tmp_path, wanted, strength):
    """The validation pairs ask for more of what was learned, or for its opposite."""
    metrics = train(base, tmp_path / "out", validation=wanted)
    assert metrics.strength == strength
    assert (metrics.steps, metrics.epochs_trained) == (3, 3.0), "without patience, training runs to its end"
    sign = 1 if strength > 1 else -1
    kept = sign * margin(base, tmp_path / "out", None, PAIRS[4])
    assert metrics.validation_margin == pytest.approx(kept, abs=1e-4)
    everything = margin(base, trained, None, PAIRS[4])
    assert (margin(base, tmp_path / "out", None, PAIRS[4]) > everything) == (strength > 1)


def test_pairs_that_disagree_choose_no_strength(base, tmp_path):
    assert train(base, tmp_path / "out", validation=[*ENOUGH[:3], *AGAINST[:1] * 5]).strength == 1.0


def test_training_continues_while_validation_improves(base, trained, tmp_path):
    patient = SETTINGS.model_copy(update={"patience": 1})
    metrics = train(base, tmp_path / "b", validation=ENOUGH, settings=patient)
    assert (metrics.steps, metrics.epochs_trained) == (3, 3.0)
    torch.testing.assert_close(learned(tmp_path / "b", metrics.strength), learned(trained))


@pytest.mark.parametrize("validation", [[], AGAINST[1:]])
def test_too_few_validation_pairs_neither_end_training_nor_choose_a_strength(base, tmp_path, validation):
    settings = SETTINGS.model_copy(update={"patience": 1})
    metrics = train(base, tmp_path / "out", validation=validation, settings=settings)
    assert (metrics.steps, metrics.epochs_trained, metrics.strength) == (3, 3.0, 1.0)
    assert metrics.validation_accuracy == (0.0 if validation else None)


def test_the_curve_holds_the_loss_of_every_step(plain):
    _, metrics = plain
    assert len(metrics.loss_curve) == metrics.steps
    assert sum(metrics.loss_curve) / metrics.steps == pytest.approx(metrics.train_loss, rel=1e-3)


def test_a_long_curve_becomes_means_of_equal_stretches():
    assert thin([1.0, 3.0, 5.0, 7.0, 9.0], most=5) == (1.0, 3.0, 5.0, 7.0, 9.0)
    assert thin([1.0, 3.0, 5.0, 7.0], most=2) == (2.0, 6.0)
    assert thin([1.0, 3.0, 5.0, 7.0, 9.0], most=2) == (2.0, 7.0)
    assert len(thin([0.5] * 1001)) == 200


def test_completions_get_the_log_probabilities_of_the_plain_model(base):
    """Rows of unequal prompts and answers; TRL's own head says the same, but computes the prompt as well."""
    from trl.trainer.utils import add_fused_lm_head

    from trainer.training.scorers import IGNORED, CompletionScorer

    model = load_model(base, "float32")
    add_fused_lm_head(model)
    ids = torch.arange(24).view(2, 12) + 5
    labels = ids.clone()
    labels[0, :4] = labels[1, :7] = labels[1, 10:] = IGNORED
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with torch.no_grad():
        scored = CompletionScorer(model)(**inputs, fused_lm_head=True).log_probs
        of_trl = model(**inputs, fused_lm_head=True).log_probs
        plain = model(ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    is_completion = labels[:, 1:] != IGNORED
    assert torch.allclose(scored, plain.where(is_completion, torch.tensor(0.0)), atol=1e-5)
    assert torch.allclose(scored, of_trl, atol=1e-5)


def test_an_answer_that_brings_its_end_token_trains_the_same(base):
    chat, pair = load_chat_format(base.path, {}), PAIRS[0]
    ended = PreferencePair(pair.prompt, f"{pair.chosen}<|im_end|>", f"{pair.rejected}<|im_end|>")
    assert pair_row(ended, chat) == pair_row(pair, chat)


def test_pairs_longer_than_the_limit_are_left_out_and_counted(base, tmp_path):
    long = PreferencePair(PAIRS[0].prompt, "Yes. " * 400, "No.")
    turned = PreferencePair(PAIRS[4].prompt, PAIRS[4].rejected, PAIRS[4].chosen)
    metrics = train(base, tmp_path / "out", train=[*PAIRS[:2], long], validation=[turned, long, PAIRS[4]])
    assert (metrics.pairs, metrics.validation_pairs, metrics.left_out) == (2, 2, 2)
    assert metrics.validation_accuracy == 0.5
    assert metrics.validation_margin == pytest.approx(0.0, abs=1e-4)


def test_round_in_which_no_pair_fits_is_refused(base, tmp_path):
    with pytest.raises(TrainerError, match=r"training\.max_tokens"):
        train(base, tmp_path / "out", train=[PreferencePair("Hi " * 900, "Yes.", "No.")])


def test_nan_loss_stops_at_once_and_writes_no_adapter(base, tmp_path):
    broken = PreferencePair(PAIRS[0].prompt, PAIRS[0].chosen, PAIRS[0].rejected, weight=float("nan"))
    with pytest.raises(TrainingDiverged, match="step 1"):
        train(base, tmp_path / "out", train=[broken])
    assert not (tmp_path / "out" / CONFIG_FILE).exists()


def test_progress_goes_through_the_phases_and_training_prints_nothing(base, tmp_path, capfd):
    said: list[RoundProgress] = []
    train(base, tmp_path / "out", validation=PAIRS[4:], report=said.append)
    of_phase = {phase: [progress for progress in said if progress.phase is phase] for phase in Phase}
    phases = [Phase.LOADING, Phase.REFERENCE, Phase.TRAINING, Phase.VALIDATING]
    assert list(dict.fromkeys(progress.phase for progress in said)) == phases
    # The pairs to train on, in one run, then the validation pair.
    assert [(each.step, each.steps) for each in of_phase[Phase.REFERENCE]] == [(0, 4), (4, 4), (0, 1), (1, 1)]
    assert [(each.step, each.steps) for each in of_phase[Phase.TRAINING]] == [(step, 3) for step in range(4)]
    assert [(each.step, each.steps) for each in of_phase[Phase.VALIDATING]] == [(0, 1), (1, 1)]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_threads_are_set_for_the_round_only():
    before = torch.get_num_threads()
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
    with cpu_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_an_answer_cut_at_the_length_limit_is_not_taught_to_end_there(base, tmp_path):
    seen: list[list[int]] = []
    chat = load_chat_format(base.path, {})
    for is_cut in (False, True):
        pair = PreferencePair(PAIRS[0].prompt, "Yes, of", "No.", chosen_is_cut=is_cut)
        seen.append(pair_row(pair, chat)["chosen_ids"])
    assert seen[0] == [*seen[1], chat.tokenizer.eos_token_id]


@pytest.mark.parametrize("name", ["_prepare_dataset", "_precompute_ref_logps", "_send_telemetry"])
def test_trl_still_has_the_private_methods_that_are_overridden(name):
    """Renamed in TRL, they would run again: special tokens twice, cache files, and telemetry to the hub."""
    from trl import DPOTrainer

    from trainer.training.trl_trainers import PreferenceTrainer

    assert callable(getattr(DPOTrainer, name))
    assert getattr(PreferenceTrainer, name) is not getattr(DPOTrainer, name)


def test_on_a_quantised_base_a_starter_keeps_its_own_numbers(base, trained, tmp_path, monkeypatch):
    """TRL rounds the adapter that it trains to bfloat16, but not its reference: the parent would lean from itself."""

    def load_marked(*arguments, **setting):
        model = load_on_device(*arguments, **setting)
        model.is_loaded_in_8bit = True  # TRL treats both alike; 4 bits would need bitsandbytes here
        return model

    monkeypatch.setattr("trainer.training.train.load_on_device", load_marked)
    untouched = SETTINGS.model_copy(update={"learning_rate": 1e-12})
    metrics = train(base, tmp_path / "out", starter=trained, validation=PAIRS[:1], settings=untouched)
    assert metrics.validation_margin == pytest.approx(0.0, abs=1e-6)
    begun, kept = (load_file(folder / WEIGHTS_FILE) for folder in (trained, tmp_path / "out"))
    assert all(torch.allclose(kept[name], weight, rtol=0, atol=1e-7) for name, weight in begun.items())
    assert {weight.dtype for weight in kept.values()} == {torch.float32}
